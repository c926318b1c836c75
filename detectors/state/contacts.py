"""Distinct (group, element, step) triples, such as who contacted whom when; indexed by group.

The entries of a group are linked, so that those of a few groups are read without a sort.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.hashing import ABSENT, HashMap
from detectors.kernels.running import group_sizes, group_starts, stable_order
from detectors.state.chunks import ChunkLog
from detectors.state.columns import grown
from schemas.hashing import mix
from schemas.units import Hashes, Ints, Mask

ENTRY = np.dtype([("group", "<u8"), ("element", "<u8"), ("expiry", "<i4"), ("is_gone", "?")])
"""In a chunk, an entry with `is_gone` takes back the same entry of an earlier chunk."""

NONE = -1
GONE = 1
"""Value of a triple that was taken back; the value of the others is zero."""

CLEARED_MIN = 32

LINKS_MAX = 1_024
"""A group of more entries is not searched for distinct elements."""


class Contacts:
    """Distinct elements by group and step, bounded in number.

    Parameters
    ----------
    entries_max
        Upper bound of entries; beyond it the oldest are dropped early, and `evicted` counts them.
    slack
        Steps by which the floor has to rise before entries below it are dropped.
    """

    def __init__(self, entries_max: int, slack: int = 0) -> None:
        self.entries_max = entries_max
        self.slack = slack
        self.evicted = 0
        self.lost_step = NONE
        """The last step of which entries were dropped early."""
        self._taken: list[NDArray] = []
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
        self._has_gone = False

    def add(self, group: Hashes, element: Hashes, step: Ints) -> tuple[Mask, Ints]:
        """Remember contacts.

        Returns
        -------
        Whether each row is new, and how many entries its group holds, both of shape (n,). Of equal
        rows only the first is new. For a while the count includes entries that were taken back.
        """
        place, new = self._triples.claim(mix(group, element, step.astype(np.uint64)))
        if self._has_gone:
            new = np.sort(np.r_[new, self._claim_again(place)])
        first = np.zeros(len(group), bool)
        first[new] = True
        number = self._number_groups(group)
        self._append(group[new], element[new], step[new], number[new])
        return first, self._count[number].astype(np.int64)

    def _claim_again(self, place: Ints) -> Ints:
        """The first row of each triple that was taken back and is added again."""
        rows = np.flatnonzero(self._triples.values[place] == GONE)
        again, first = np.unique(place[rows], return_index=True)
        self._triples.values[again] = 0
        return rows[first]

    def remove(self, group: int, element: int, step: int) -> None:
        """Take a contact back, if it is there."""
        (place,) = self._triples.find(mix(*np.array([[group], [element], [step]], np.uint64)))
        if place == ABSENT or self._triples.values[place] == GONE:
            return
        self._triples.values[place] = GONE
        (at,) = (
            at
            for at in self._chain(group)
            if self._entries["element"][at] == element and self._entries["expiry"][at] == step
        )
        self._entries["is_gone"][at] = self._has_gone = True
        if at < self._stored:
            self._taken.append(self._entries[at : at + 1].copy())

    def of(self, group: int) -> tuple[Hashes, Ints]:
        """Elements and steps of a group, in the order they were added."""
        entries = self._entries[self._chain(group)]
        return entries["element"], entries["expiry"].astype(np.int64)

    def _chain(self, group: int) -> list[int]:
        """Numbers of a group's entries that were not taken back, in the order they were added."""
        (number,) = self._groups.get(np.array([group], np.uint64)).tolist()
        chain = []
        at = int(self._head[number]) if number != ABSENT else NONE
        while at != NONE:
            chain.append(at)
            at = int(self._previous[at])
        is_gone = self._entries["is_gone"]
        return [at for at in reversed(chain) if not is_gone[at]] if self._has_gone else chain[::-1]

    def distinct(self, group: Hashes) -> Ints:
        """Upper bound of the distinct elements that each group holds, shape (n,).

        Repeated elements are left out in groups of up to `LINKS_MAX` entries only.
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
        """Drop entries of steps before `floor`, but only once they may be half of all entries.

        In a full log the oldest entries go as well.
        """
        full = self.size > self.entries_max
        is_worth_it = floor - self._floor > self.slack and self.size > 2 * self._cleared
        if full or is_worth_it:
            steps = self._entries["expiry"][: self.size]
            keep = (steps >= floor) & ~self._entries["is_gone"][: self.size]
            if keep.sum() > self.entries_max:
                # Half of the room becomes free; of the entries of one step the later ones stay.
                oldest = np.argsort(steps, kind="stable")
                oldest = oldest[: self.size - max(1, self.entries_max // 2)]
                early = oldest[keep[oldest]]
                self.evicted += len(early)
                self.lost_step = max(self.lost_step, int(steps[early].max(initial=NONE)))
                keep[oldest] = False
                floor = int(steps[keep].min())
            self._floor = floor
            unsaved = np.arange(self.size) >= self._stored
            if not keep.all():
                self._rebuild(self._entries[: self.size][keep], int((~unsaved & keep).sum()))
            self._cleared = max(CLEARED_MIN, self.size)

    def changes(self) -> list[tuple[int, bytes]]:
        """Number and content of each chunk that changed since the last call."""
        stored = self._log.restart() if self._rewrite else []
        start, taken = (0, []) if self._rewrite else (self._stored, self._taken)
        new = self._entries[start : self.size]
        written = np.concatenate([*taken, new[~new["is_gone"]]])
        stored += self._log.write(written, self._floor)
        self._stored, self._taken, self._rewrite = self.size, [], False
        return stored

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored chunk."""
        entries = self._log.take(number, stored)
        turns = np.flatnonzero(entries["is_gone"][1:] != entries["is_gone"][:-1]) + 1
        for run in np.split(entries, turns):
            if run["is_gone"].any():
                for entry in run.tolist():
                    self.remove(*entry[:3])
            else:
                self._add(run)
        self._stored, self._taken = self.size, []

    def rewrite(self, number: int | None = None) -> None:
        """Store everything again at the next checkpoint; empty chunk `number` if it is not used."""
        self._rewrite = True
        if number is not None:
            self._log.disown(number)

    def arrays(self) -> dict[str, NDArray]:
        """Everything that the last checkpoint holds, for a snapshot."""
        entries = self._entries[: self.size]
        return {"entries": entries[~entries["is_gone"]], **self._log.arrays()}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        entries = np.array(arrays["entries"])
        self._rebuild(entries, len(entries))
        self._log.take_arrays(arrays)

    def _rebuild(self, entries: NDArray, stored: int) -> None:
        self._clear()
        self._add(entries)
        self._stored = stored

    def _add(self, entries: NDArray) -> None:
        columns = (entries["group"].astype(np.uint64), entries["element"].astype(np.uint64))
        self.add(*columns, entries["expiry"].astype(np.int64))

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
