"""An open-addressing map from 64-bit hashes to numbers, over columns."""

import numpy as np
from numpy.typing import NDArray

from schemas.units import Hashes, Ints, Mask

ABSENT = -1
"""Place or number of a key that is not in the map."""

SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""Fibonacci hashing: the top bits of a hash times this number choose a place."""


class HashMap:
    """Map from non-zero hashes to numbers, in two columns that grow by doubling.

    Looking up or inserting n keys takes a few passes over shrinking columns, and no loop over rows.
    A place takes 12 bytes and at most half of the places are used: 24 to 48 bytes for each entry.
    """

    def __init__(self, expected: int = 32) -> None:
        capacity = 1 << int(2 * expected - 1).bit_length()
        self.keys: Hashes = np.zeros(capacity, np.uint64)
        self.values = np.zeros(capacity, np.int32)
        self.size = 0

    def find(self, key: Hashes) -> Ints:
        """Place of each key, or ABSENT, shape (n,)."""
        mask = len(self.keys) - 1
        place = self._home(key)
        there = self.keys[place]
        found = np.where(there == key, place, ABSENT)
        open_rows = np.flatnonzero((there != key) & (there != 0))
        while len(open_rows):
            place[open_rows] = (place[open_rows] + 1) & mask
            there = self.keys[place[open_rows]]
            hit = there == key[open_rows]
            found[open_rows[hit]] = place[open_rows[hit]]
            open_rows = open_rows[~hit & (there != 0)]
        return found

    def get(self, key: Hashes) -> Ints:
        """Number of each key, or ABSENT, shape (n,)."""
        place = self.find(key)
        return np.where(place == ABSENT, ABSENT, self.values[place])

    def add(self, key: Hashes, value: NDArray) -> None:
        """Insert keys that are distinct and not in the map yet."""
        self._reserve(len(key))
        self.values[self._place(key)] = value
        self.size += len(key)

    def claim(self, key: Hashes) -> tuple[Ints, Ints]:
        """Find keys, and insert those that are missing.

        Returns
        -------
        Place of each key, shape (n,), and the first row of each new key. The value of a new key is
        zero until the caller sets it.
        """
        self._reserve(len(key))
        place = self.find(key)
        new = np.flatnonzero(place == ABSENT)
        if len(new):
            place[new] = claimed = self._place(key[new])
            new = new[self.first_rows(claimed)]
            self.values[claimed] = 0
            self.size += len(new)
        return place, new

    def first_rows(self, place: Ints) -> Mask:
        """Whether each row is the first of its place, shape (n,); overwrites the places' values."""
        rows = np.arange(len(place), dtype=np.int32)
        self.values[place[::-1]] = rows[::-1]
        return self.values[place] == rows

    def keep(self, rows: Mask) -> None:
        """Keep the entries of the marked places only, and shrink the map to them."""
        used = np.flatnonzero((self.keys != 0) & rows)
        keys, values = self.keys[used], self.values[used]
        self.__init__(max(32, len(keys)))
        self.add(keys, values)

    def _reserve(self, more: int) -> None:
        if 2 * (self.size + more) > len(self.keys):
            self._grow(1 << (2 * (self.size + more) - 1).bit_length())

    def _place(self, key: Hashes) -> Ints:
        """Put keys that are not in the map into free places; equal keys share a place."""
        mask = len(self.keys) - 1
        place = self._home(key)
        rows = np.arange(len(key))
        while len(rows):
            free = self.keys[place[rows]] == 0
            self.keys[place[rows[free]]] = key[rows[free]]
            # Of several keys that wrote to one place the last one has it; the others go on looking.
            rows = rows[self.keys[place[rows]] != key[rows]]
            place[rows] = (place[rows] + 1) & mask
        return place

    def _grow(self, capacity: int) -> None:
        used = np.flatnonzero(self.keys)
        keys, values = self.keys[used], self.values[used]
        self.keys = np.zeros(capacity, np.uint64)
        self.values = np.zeros(len(self.keys), np.int32)
        self.values[self._place(keys)] = values

    def _home(self, key: Hashes) -> Ints:
        shift = np.uint64(64 - (len(self.keys).bit_length() - 1))
        return ((key * SPREAD) >> shift).astype(np.int64)
