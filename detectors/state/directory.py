"""The customers of one partition, each in a slot: the number of their row in the columns."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.hashing import HashMap
from detectors.state.columns import SLOTS_FIRST, grown
from schemas.hashing import hash_strings
from schemas.units import Hashes, Ints, Texts


class Directory:
    """Numbers the customers of one partition; a slot stays the same while the partition is held."""

    def __init__(self) -> None:
        self._slots = HashMap()
        self._hashes = np.zeros(SLOTS_FIRST, np.uint64)
        self._ends = np.zeros(SLOTS_FIRST, np.int64)
        self._names = bytearray()
        self.size = 0

    def find(self, customer_id: Sequence[bytes]) -> Ints:
        """Slot of each customer, ABSENT for one never seen, shape (n,)."""
        return self.find_hashes(hash_strings(customer_id))

    def find_hashes(self, hashes: Hashes) -> Ints:
        """Slot of the customer with each hash, ABSENT for one never seen, shape (n,)."""
        return self._slots.get(hashes)

    def admit(self, customer_id: Sequence[bytes] | Texts, hashes: Hashes | None = None) -> Ints:
        """Slot of each customer, shape (n,); new customers get the next slots in order of rows."""
        hashes = hash_strings(customer_id) if hashes is None else hashes
        place, new = self._slots.claim(hashes)
        if len(new):
            self._slots.values[place[new]] = np.arange(self.size, self.size + len(new))
            self._append(hashes[new], [bytes(customer_id[row]) for row in new.tolist()])
        return self._slots.values[place].astype(np.int64)

    def name(self, slot: int) -> bytes:
        """Customer id of a slot, UTF-8."""
        start = int(self._ends[slot - 1]) if slot else 0
        return bytes(self._names[start : int(self._ends[slot])])

    def names(self, slots: Ints) -> list[bytes]:
        """Customer ids of slots, UTF-8."""
        ends = self._ends[slots].tolist()
        starts = np.where(slots > 0, self._ends[slots - 1], 0).tolist()
        names = self._names
        return [bytes(names[start:end]) for start, end in zip(starts, ends, strict=True)]

    def hashes(self, slots: Ints) -> Hashes:
        """Hash of the customer in each slot, shape (n,)."""
        return self._hashes[slots]

    def hash(self, slot: int) -> int:
        """Hash of the customer in a slot."""
        return int(self._hashes[slot])

    def arrays(self) -> dict[str, NDArray]:
        """All slots and customer ids, for a snapshot."""
        names = np.frombuffer(bytes(self._names), np.uint8)
        return {
            "hashes": self._hashes[: self.size],
            "ends": self._ends[: self.size],
            "names": names,
        }

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        self._hashes = np.array(arrays["hashes"])
        self._ends = np.array(arrays["ends"])
        self._names = bytearray(arrays["names"].tobytes())
        self.size = len(self._hashes)
        self._slots.add(self._hashes, np.arange(self.size))

    def _append(self, hashes: Hashes, names: list[bytes]) -> None:
        start, end = self.size, self.size + len(names)
        self._hashes = grown(self._hashes, end)
        self._ends = grown(self._ends, end)
        lengths = np.cumsum([len(name) for name in names])
        self._ends[start:end] = len(self._names) + lengths
        self._names += b"".join(names)
        self._hashes[start:end] = hashes
        self.size = end
