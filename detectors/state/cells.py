"""Amounts by group and step, in a bounded number of cells that are stored page by page."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, convert
from numpy.typing import NDArray

from detectors.kernels.hashing import HashMap
from detectors.kernels.running import group_starts, running_totals
from detectors.state.columns import grown
from schemas.hashing import mix
from schemas.units import Hashes, Ints, Mask

PAGE_CELLS = 1_024
FEW = 64
ABSENT = -1


class Added(NamedTuple):
    """Result of `Cells.add`, row by row.

    Parameters
    ----------
    total
        What the row's cell holds after the row, zero if `held` is False, shape (n, amounts).
    held
        Whether there was room for the row, shape (n,).
    floor
        The oldest step whose cells were not dropped when the row came, shape (n,).
    """

    total: Ints
    held: Mask
    floor: Ints


class CellsMemory(Struct, frozen=True):
    """What `Cells` store beside their pages, see there."""

    floor: int
    evicted: int


class Cells:
    """Amounts by group and step, in a bounded number of cells.

    When there is no room for a new cell, all cells of the oldest step are dropped; rows of that
    step or an earlier one get no cell from then on (`floor` is the oldest step that may have
    cells). One step takes at most half of the room, so that the step before it stays; a row that
    needs a new cell beyond that is left out. `evicted` counts dropped cells and rows left out.
    Which cells are dropped depends on the order of rows alone, not on where batches end.

    Parameters
    ----------
    cells_max
        Upper bound of the number of cells, two or more.
    amounts
        How many amounts a cell holds.
    """

    def __init__(self, cells_max: int, amounts: int) -> None:
        self.cells_max = cells_max
        self.step_max = cells_max // 2
        self.evicted = 0
        self.floor = 0
        self.dtype = np.dtype([("key", "<u8"), ("step", "<i4"), ("amounts", "<i8", (amounts,))])
        self._entries = np.zeros(FEW, self.dtype)
        self._dirty = np.zeros(1, bool)
        self._forgotten = 0
        self._gone: list[NDArray] = []
        self._index = HashMap()
        self.size = 0

    def add(self, group: Hashes, step: Ints, amount: Ints, needed: Ints) -> Added:
        """Add amounts to cells, in the order of rows.

        Parameters
        ----------
        group, step
            The cell of each row, shape (n,).
        amount
            What each row adds, >= 0, shape (n, amounts).
        needed
            Oldest step that is needed from each row on, which never falls, shape (n,).
        """
        self._gone = []
        key = mix(group, step.astype(np.uint64))
        total = np.zeros(amount.shape, np.int64)
        held = np.zeros(len(key), bool)
        floor = np.full(len(key), self.floor)
        for start, end in self._stretches(key, step, needed):
            rows = slice(start, end)
            found = self._find(key[rows], step[rows])
            held[rows], floor[rows] = found != ABSENT, self.floor
            self.evicted += int((found == ABSENT).sum())
            there, found = start + np.flatnonzero(found != ABSENT), found[found != ABSENT]
            total[there] = running_totals(found, amount[there], self._entries["amounts"][found])
            self._entries["amounts"][found] = total[there]
            self._dirty[found // PAGE_CELLS] = True
        return Added(total, held, floor)

    def get(self, group: Hashes, step: Ints) -> Ints:
        """What each cell holds, zeros for no cell, shape (n, amounts).

        Cells that the last `add` dropped are still found.
        """
        key = mix(group, step.astype(np.uint64))
        found = self._index.get(key)
        amounts = self._entries["amounts"][np.maximum(found, 0)]
        amounts = np.where((found == ABSENT)[:, None], 0, amounts)
        for gone in self._gone:
            _, asked, there = np.intersect1d(key, gone["key"], return_indices=True)
            amounts[asked] = gone["amounts"][there]
        return amounts

    def forget(self, needed: int) -> None:
        """Drop the cells of steps before `needed`, unless there are only few cells."""
        if needed > self._forgotten and self.size > FEW:
            self._drop(needed)
        self._gone = []

    def changes(self) -> list[tuple[int, bytes]]:
        """Number and content of each page that changed since the last call."""
        pages = np.flatnonzero(self._dirty).tolist()
        self._dirty[:] = False
        bounds = ((page * PAGE_CELLS, (page + 1) * PAGE_CELLS) for page in pages)
        stored = [self._entries[start : min(end, self.size)].tobytes() for start, end in bounds]
        return list(zip(pages, stored, strict=True))

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored page; `recall` has to follow before the next batch."""
        page = np.zeros(PAGE_CELLS, self.dtype)
        entries = np.frombuffer(stored, self.dtype)
        page[: len(entries)] = entries
        end = (number + 1) * PAGE_CELLS
        self._entries = grown(self._entries, end)
        self._dirty = grown(self._dirty, number + 1)
        self._entries[end - PAGE_CELLS : end] = page

    def rewrite(self, number: int | None = None) -> None:
        """Store every page, or page `number`, again at the next checkpoint."""
        if number is None:
            self._dirty[:] = True
        else:
            self._dirty = grown(self._dirty, number + 1)
            self._dirty[number] = True

    def arrays(self) -> dict[str, NDArray]:
        """Everything that the last checkpoint holds, for a snapshot."""
        return {"cells": self._entries[: self.size], "pages": self._dirty}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        self._entries = grown(np.array(arrays["cells"]), FEW)
        self._dirty = np.zeros(len(arrays["pages"]), bool)
        self._index_all()

    def remember(self) -> CellsMemory:
        """What is stored beside the pages, for `recall`."""
        return CellsMemory(self.floor, self.evicted)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave, after the pages."""
        kept = convert(memory, CellsMemory)
        self.floor, self.evicted = kept.floor, kept.evicted
        self._index_all()

    def _stretches(self, key: Hashes, step: Ints, needed: Ints) -> Iterator[tuple[int, int]]:
        """Runs of rows that fit without dropping cells, which happens between them; often one."""
        if self.size + len(key) <= self.step_max:
            yield 0, len(key)
            return
        for start, end in pairwise([*group_starts(needed).tolist(), len(key)]):
            self._drop(int(needed[start]))
            at = start
            while at < end:
                stop = at + self._fitting(key[at:end], step[at:end])
                yield at, stop
                at = stop
                if at < end:
                    self._evict()

    def _fitting(self, key: Hashes, step: Ints) -> int:
        """How many rows can be added before one needs the room of cells of an older step."""
        new = self._new(key, step)
        room = self.cells_max - self.size
        if len(new) <= room:
            return len(key)
        oldest = min([*self._entries["step"][: self.size].tolist(), *step[new[:room]].tolist()])
        later = new[room:][step[new[room:]] > oldest]
        return int(later[0]) if len(later) else len(key)

    def _new(self, key: Hashes, step: Ints) -> Ints:
        """First row of each key that has no cell yet and whose step may have one more."""
        missing = np.flatnonzero((self._index.get(key) == ABSENT) & (step >= self.floor))
        if len(missing) == 0:
            return missing
        _, first = np.unique(key[missing], return_index=True)
        new = missing[np.sort(first)]
        if self.size + len(new) <= self.step_max:
            return new
        held = np.sort(self._entries["step"][: self.size])
        wanted = step[new].astype(held.dtype)
        count = np.searchsorted(held, wanted, "right") - np.searchsorted(held, wanted, "left")
        return new[running_totals(step[new], np.ones_like(new), count) <= self.step_max]

    def _find(self, key: Hashes, step: Ints) -> Ints:
        """Number of each row's cell, which is made if there is room; ABSENT if not, shape (n,)."""
        new = self._new(key, step)[: self.cells_max - self.size]
        start, end = self.size, self.size + len(new)
        self._entries = grown(self._entries, end)
        self._dirty = grown(self._dirty, end // PAGE_CELLS + 1)
        self._entries["key"][start:end], self._entries["step"][start:end] = key[new], step[new]
        self._index.add(key[new], np.arange(start, end))
        self.size = end
        return self._index.get(key)

    def _evict(self) -> None:
        """Drop the cells of the oldest step."""
        steps = self._entries["step"][: self.size]
        oldest = int(steps.min())
        self.evicted += int((steps == oldest).sum())
        self.floor = oldest + 1
        self._drop(self.floor)

    def _drop(self, before: int) -> None:
        """Drop the cells of steps before this one."""
        self._forgotten = max(self._forgotten, before)
        keep = self._entries["step"][: self.size] >= before
        if not keep.all():
            self._gone.append(self._entries[: self.size][~keep])
            self._dirty[:] = True
            self._entries = grown(self._entries[: self.size][keep], FEW)
            self._index_all()

    def _index_all(self) -> None:
        """Count the cells and index them by key."""
        used = self._entries["key"] != 0
        self.size = int(used.sum())
        assert used[: self.size].all(), "pages of two checkpoints"
        self._dirty = grown(self._dirty, self.size // PAGE_CELLS + 1)
        self._index = HashMap(max(32, self.size))
        self._index.add(self._entries["key"][: self.size], np.arange(self.size))
