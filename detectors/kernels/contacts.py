"""Who was contacted when: distinct (group, element, step) triples, found again by group.

Entries of a group are chained, so that the few groups worth a closer look are read without a sort.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.chunks import ChunkLog
from detectors.kernels.hashing import HashMap
from detectors.kernels.running import group_sizes, group_starts, stable_order
from detectors.state import grown
from schemas.hashing import Hashes, mix

Ints = NDArray[np.int64]

ENTRY = np.dtype([("group", "<u8"), ("element", "<u8"), ("expiry", "<i4")])
NONE = -1
CLEARED_MIN = 32

LINKS_MAX = 1_024
"""Entries of a group that are looked through together with those of other groups."""


class Contacts:
    """Distinct elements by group and step, bounded in number.

    Parameters
    ----------
    entries_max
        Entries remembered at most; past it the oldest steps go early, and `evicted` counts them.
    slack
        Steps by which the floor has to rise before what is below it is cleared away.
    """

    def __init__(self, entries_max: int, slack: int = 0) -> None:
        self.entries_max = entries_max
        self.slack = slack
        self.evicted = 0
        self._log = ChunkLog(ENTRY)
        self._rewrite = False
        self._floor = 0
        self._cleared = CLEARED_MIN
        self._clear()

    def _clear(self) -> None:
        self._groups, self._triples = HashMap(), HashMap()
        self._entries = np.zeros(64, ENTRY)
        self._previous = np.full(64, NONE, np.int32)
        self._head = np.full(64, NONE, np.int32)
        self._count = np.zeros(64, np.int32)
        self.size = self._stored = 0

    def add(self, group: Hashes, element: Hashes, step: Ints) -> tuple[NDArray[np.bool_], Ints]:
        """Remember contacts; tell which rows are new, and how many entries each row's group holds.

        All columns have shape (n,); of equal rows only the first is new.
        """
        _, new = self._triples.claim(mix(group, element, step.astype(np.uint64)))
        first = np.zeros(len(group), bool)
        first[new] = True
        number = self._number_groups(group)
        self._append(group[new], element[new], step[new], number[new])
        return first, self._count[number].astype(np.int64)

    def of(self, group: int) -> tuple[Hashes, Ints]:
        """Elements and steps of a group, in the order they were added."""
        number = int(self._groups.get(np.array([group], np.uint64))[0])
        chain = []
        at = int(self._head[number])
        while at != NONE:
            chain.append(at)
            at = int(self._previous[at])
        entries = self._entries[chain[::-1]]
        return entries["element"], entries["expiry"].astype(np.int64)

    def distinct(self, group: Hashes) -> Ints:
        """How many distinct elements each group holds at most, shape (n,).

        A group of more than `LINKS_MAX` entries is not looked through: as many as its entries.
        """
        number = self._groups.get(group)
        count = self._count[number].astype(np.int64)
        owner = np.flatnonzero(count <= LINKS_MAX)
        at = self._head[number[owner]]
        owners, entries = [owner[:0]], [at[:0]]
        while len(at):
            owners.append(owner)
            entries.append(at)
            at = self._previous[at]
            owner, at = owner[at != NONE], at[at != NONE]
        of, element = np.concatenate(owners), self._entries["element"][np.concatenate(entries)]
        order = np.lexsort((element, of))
        of, element = of[order], element[order]
        again = of[1:][(of[1:] == of[:-1]) & (element[1:] == element[:-1])]
        return count - np.bincount(again, minlength=len(group))

    def forget(self, floor: int) -> None:
        """Entries of steps before `floor` are not needed; they go once they may be half of all."""
        full = self.size > self.entries_max
        is_worth_it = floor - self._floor > self.slack and self.size > 2 * self._cleared
        if full or is_worth_it:
            steps = self._entries["expiry"][: self.size]
            keep = steps >= floor
            if keep.sum() > self.entries_max:
                # Half of the room is made free; of one step's entries the later ones stay.
                oldest = np.argsort(steps, kind="stable")
                oldest = oldest[: self.size - max(1, self.entries_max // 2)]
                self.evicted += int(keep[oldest].sum())
                keep[oldest] = False
                floor = int(steps[keep].min())
            self._floor = floor
            unsaved = np.arange(self.size) >= self._stored
            if not keep.all():
                self._rebuild(self._entries[: self.size][keep], int((~unsaved & keep).sum()))
            self._cleared = max(CLEARED_MIN, self.size)

    def changes(self) -> list[tuple[int, bytes]]:
        """Chunks to store so that everything remembered so far survives a restart."""
        stored = self._log.restart() if self._rewrite else []
        start = 0 if self._rewrite else self._stored
        stored += self._log.write(self._entries[start : self.size].copy(), self._floor)
        self._stored, self._rewrite = self.size, False
        return stored

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored chunk."""
        entries = self._log.take(number, stored)
        self.add(
            entries["group"].astype(np.uint64),
            entries["element"].astype(np.uint64),
            entries["expiry"].astype(np.int64),
        )
        self._stored = self.size

    def rewrite(self, number: int | None = None) -> None:
        """Store everything anew at the next checkpoint, over chunk `number` too."""
        self._rewrite = True
        if number is not None:
            self._log.disown(number)

    def arrays(self) -> dict[str, NDArray]:
        """Everything that the last checkpoint holds, for a snapshot."""
        return {"entries": self._entries[: self.size], **self._log.arrays()}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        entries = np.array(arrays["entries"])
        self._rebuild(entries, len(entries))
        self._log.take_arrays(arrays)

    def _rebuild(self, entries: NDArray, stored: int) -> None:
        self._clear()
        columns = (entries["group"].astype(np.uint64), entries["element"].astype(np.uint64))
        self.add(*columns, entries["expiry"].astype(np.int64))
        self._stored = stored

    def _number_groups(self, group: Hashes) -> Ints:
        place, new = self._groups.claim(group)
        if len(new):
            size = self._groups.size
            self._groups.values[place[new]] = np.arange(size - len(new), size)
            self._head = _grown_filled(self._head, self._groups.size)
            self._count = grown(self._count, self._groups.size)
        return self._groups.values[place].astype(np.int64)

    def _append(self, group: Hashes, element: Hashes, step: Ints, number: Ints) -> None:
        start, end = self.size, self.size + len(group)
        self._entries = grown(self._entries, end)
        self._previous = _grown_filled(self._previous, end)
        fresh = self._entries[start:end]
        fresh["group"], fresh["element"], fresh["expiry"] = group, element, step
        order = stable_order(number)
        ranked = number[order]
        first = group_starts(ranked)
        previous = np.r_[NONE, order[:-1] + start]
        previous[first] = self._head[ranked[first]]
        self._previous[start + order] = previous
        self._head[ranked] = start + order
        self._count[ranked[first]] += group_sizes(first, len(ranked))
        self.size = end


def _grown_filled(column: NDArray, rows: int) -> NDArray:
    larger = grown(column, rows)
    if larger is not column:
        larger[len(column) :] = NONE
    return larger
