"""Amounts by group and step: a bounded number of cells, stored in pages when they change."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
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
    """What adding rows led to.

    `total` is what each row's cell holds after it, shape (n, amounts); `held` is False, and the
    total zero, for a row that found no room, shape (n,); `floor` is the oldest step that still had
    its cells when the row came, shape (n,).
    """

    total: Ints
    held: Mask
    floor: Ints


class Cells:
    """Amounts by group and step, as many cells as there is room for.

    When a row needs one cell too many, the oldest step's cells go, and the step with them: no later
    row brings it back. One step never takes more than half of the room, so that the one before it
    stays: past that, a row that needs a new cell is left out. `evicted` counts both. What goes when
    is a matter of the rows' order alone, not of where batches end.

    Parameters
    ----------
    cells_max
        Cells held at most, two or more.
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
        """What each cell holds, zeros where there is none, shape (n, amounts).

        A cell that went while the last rows were added is still told of.
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
        """Drop the cells of steps before `needed`, unless they are few."""
        if needed > self._forgotten and self.size > FEW:
            self._drop(needed)
        self._gone = []

    def changes(self) -> list[tuple[int, bytes]]:
        """Pages to store so that everything survives a restart."""
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
        self._number()

    def remember(self) -> list[int]:
        """What is not in the pages."""
        return [self.floor, self.evicted]

    def recall(self, memory: list[int]) -> None:
        """Take back what `remember` gave, after the pages."""
        self.floor, self.evicted = memory
        self._number()

    def _stretches(self, key: Hashes, step: Ints, needed: Ints) -> Iterator[tuple[int, int]]:
        """Runs of rows between which cells have to go; there is one while there is room."""
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
        """How many rows can be added before a row needs room that an older step takes up."""
        new = self._new(key, step)
        room = self.cells_max - self.size
        if len(new) <= room:
            return len(key)
        oldest = min([*self._entries["step"][: self.size].tolist(), *step[new[:room]].tolist()])
        later = new[room:][step[new[room:]] > oldest]
        return int(later[0]) if len(later) else len(key)

    def _new(self, key: Hashes, step: Ints) -> Ints:
        """First rows of keys that have no cell yet and whose step has room for one more."""
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
        """Number of each row's cell, made where it is missing and there is room."""
        new = self._new(key, step)[: self.cells_max - self.size]
        start, end = self.size, self.size + len(new)
        self._entries = grown(self._entries, end)
        self._dirty = grown(self._dirty, end // PAGE_CELLS + 1)
        self._entries["key"][start:end], self._entries["step"][start:end] = key[new], step[new]
        self._index.add(key[new], np.arange(start, end))
        self.size = end
        return self._index.get(key)

    def _evict(self) -> None:
        """Give up the oldest step."""
        steps = self._entries["step"][: self.size]
        oldest = int(steps.min())
        self.evicted += int((steps == oldest).sum())
        self.floor = oldest + 1
        self._drop(self.floor)

    def _drop(self, before: int) -> None:
        """Let go of the cells of steps before this one."""
        self._forgotten = max(self._forgotten, before)
        keep = self._entries["step"][: self.size] >= before
        if not keep.all():
            self._gone.append(self._entries[: self.size][~keep])
            self._dirty[:] = True
            self._entries = grown(self._entries[: self.size][keep], FEW)
            self._number()

    def _number(self) -> None:
        """Find every cell again by its key."""
        used = self._entries["key"] != 0
        self.size = int(used.sum())
        assert used[: self.size].all(), "pages of two checkpoints"
        self._dirty = grown(self._dirty, self.size // PAGE_CELLS + 1)
        self._index = HashMap(max(32, self.size))
        self._index.add(self._entries["key"][: self.size], np.arange(self.size))
