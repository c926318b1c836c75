"""Stable 64-bit hashes of strings, and an open-addressing map from hashes to numbers, over columns.

Two of ten million customers share a hash with a probability of about 3 in a million; hashes are the
same in every process, so they may be stored.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pandas.util import hash_array

Hashes = NDArray[np.uint64]

SPREAD = np.uint64(0x9E3779B97F4A7C15)
ABSENT = -1


def hash_strings(values: Sequence[str] | Sequence[bytes]) -> Hashes:
    """SipHash of each string (its UTF-8 bytes), shape (n,); zero is never returned.

    Examples
    --------
    >>> bool(hash_strings(["a"])[0] == hash_strings([b"a"])[0])
    True
    """
    column = np.empty(len(values), object)
    column[:] = values
    return np.maximum(hash_array(column, categorize=False), np.uint64(1))


def mix(*columns: Hashes) -> Hashes:
    """One hash of several columns, shape (n,); zero is never returned."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        mixed = (mixed ^ column.astype(np.uint64)) * SPREAD
        mixed ^= mixed >> np.uint64(29)
    return np.maximum(mixed, np.uint64(1))


class HashMap:
    """Map from non-zero hashes to numbers, in two columns that grow by doubling.

    Looking up or inserting n keys takes a few passes over shrinking columns, no loop over rows.
    12 bytes an entry at half load at most: 24 to 48 bytes.
    """

    def __init__(self, size_max_hint: int = 64) -> None:
        capacity = 1 << max(6, int(2 * size_max_hint - 1).bit_length())
        self.keys: Hashes = np.zeros(capacity, np.uint64)
        self.values = np.zeros(capacity, np.int32)
        self.size = 0

    def find(self, key: Hashes) -> NDArray[np.int64]:
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

    def get(self, key: Hashes) -> NDArray[np.int64]:
        """Number of each key, or ABSENT, shape (n,)."""
        place = self.find(key)
        return np.where(place == ABSENT, ABSENT, self.values[place])

    def add(self, key: Hashes, value: NDArray) -> None:
        """Insert keys that are distinct and not in the map yet."""
        while 2 * (self.size + len(key)) > len(self.keys):
            self._grow()
        self._place(key, value)
        self.size += len(key)

    def _place(self, key: Hashes, value: NDArray) -> None:
        mask = len(self.keys) - 1
        place = self._home(key)
        rows = np.arange(len(key))
        while len(rows):
            free = self.keys[place[rows]] == 0
            self.keys[place[rows[free]]] = key[rows[free]]
            # Of several keys that wrote to one place the last stays; the others go on looking.
            won = free & (self.keys[place[rows]] == key[rows])
            self.values[place[rows[won]]] = value[rows[won]]
            rows = rows[~won]
            place[rows] = (place[rows] + 1) & mask

    def _grow(self) -> None:
        used = np.flatnonzero(self.keys)
        keys, values = self.keys[used], self.values[used]
        self.keys = np.zeros(2 * len(self.keys), np.uint64)
        self.values = np.zeros(len(self.keys), np.int32)
        self._place(keys, values)

    def _home(self, key: Hashes) -> NDArray[np.int64]:
        shift = np.uint64(64 - (len(self.keys).bit_length() - 1))
        return ((key * SPREAD) >> shift).astype(np.int64)
