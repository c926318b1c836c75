"""State of one partition: customers in slots, and columns by slot that are written row by row.

A row of a column group is packed as the little-endian bytes of its columns, one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.hashing import HashMap
from schemas.hashing import hash_strings

SLOTS_FIRST = 64

Slots = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a group: `width` cells of `dtype` for each customer.

    It is written when events of `kind` come; a rule that reads one kind need not name it.
    """

    name: str
    dtype: str
    width: int = 1
    kind: str = ""

    @property
    def row_bytes(self) -> int:
        """Bytes of one customer's cells."""
        return np.dtype(self.dtype).itemsize * self.width


class Directory:
    """Customers of one partition, each in a slot that stays while the partition is held."""

    def __init__(self) -> None:
        self._slots = HashMap()
        self._hashes = np.zeros(SLOTS_FIRST, np.uint64)
        self._ends = np.zeros(SLOTS_FIRST, np.int64)
        self._names = bytearray()
        self.size = 0

    def find(self, customer_id: Sequence[bytes]) -> Slots:
        """Slot of each customer, ABSENT for one never seen, shape (n,)."""
        return self._slots.get(hash_strings(customer_id))

    def admit(
        self, customer_id: Sequence[bytes], hashes: NDArray[np.uint64] | None = None
    ) -> Slots:
        """Slot of each customer, shape (n,); new customers get the next slots in order of rows."""
        hashes = hash_strings(customer_id) if hashes is None else hashes
        place, new = self._slots.claim(hashes)
        if len(new):
            self._slots.values[place[new]] = np.arange(self.size, self.size + len(new))
            self._append(hashes[new], [customer_id[row] for row in new.tolist()])
        return self._slots.values[place].astype(np.int64)

    def name(self, slot: int) -> bytes:
        """Customer id of a slot, UTF-8."""
        start = int(self._ends[slot - 1]) if slot else 0
        return bytes(self._names[start : int(self._ends[slot])])

    def names(self, slots: Slots) -> list[bytes]:
        """Customer ids of slots, UTF-8."""
        ends = self._ends[slots].tolist()
        starts = np.where(slots > 0, self._ends[slots - 1], 0).tolist()
        names = self._names
        return [bytes(names[start:end]) for start, end in zip(starts, ends, strict=True)]

    def hashes(self, slots: Slots) -> NDArray[np.uint64]:
        """Hash of the customer in each slot, shape (n,)."""
        return self._hashes[slots]

    def arrays(self) -> dict[str, NDArray]:
        """Everything, for a snapshot."""
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

    def _append(self, hashes: NDArray[np.uint64], names: list[bytes]) -> None:
        start, end = self.size, self.size + len(names)
        self._hashes = grown(self._hashes, end)
        self._ends = grown(self._ends, end)
        lengths = np.cumsum([len(name) for name in names])
        self._ends[start:end] = len(self._names) + lengths
        self._names += b"".join(names)
        self._hashes[start:end] = hashes
        self.size = end


class ColumnGroup:
    """Columns that are written together: the fields of all rules that read the same events."""

    def __init__(self, name: str, fields: Iterable[Field]) -> None:
        self.name = name
        self.fields = tuple(fields)
        self.row_bytes = sum(field.row_bytes for field in self.fields)
        self.columns = {
            field.name: np.zeros((SLOTS_FIRST, field.width), field.dtype) for field in self.fields
        }
        self._dirty = np.zeros(SLOTS_FIRST, bool)

    def reserve(self, slots: int) -> None:
        """Make room for this many customers."""
        if slots <= len(self._dirty):
            return
        for name, column in self.columns.items():
            self.columns[name] = grown(column, slots)
        self._dirty = grown(self._dirty, slots)

    def take_columns(self, columns: Mapping[str, NDArray]) -> None:
        """Take columns from a snapshot; they may be mapped from a file."""
        self.columns = dict(columns)
        rows = len(next(iter(self.columns.values())))
        self._dirty = np.zeros(rows, bool)

    def touch(self, slots: Slots) -> None:
        """Mark rows for the next checkpoint."""
        self._dirty[slots] = True

    def take_dirty(self) -> Slots:
        """Slots touched since the last call, sorted."""
        slots = np.flatnonzero(self._dirty)
        self._dirty[slots] = False
        return slots

    def pack(self, slots: Slots) -> NDArray[np.uint8]:
        """Rows as bytes, shape (slots, row_bytes)."""
        parts = [
            np.ascontiguousarray(self.columns[field.name][slots]).view(np.uint8)
            for field in self.fields
        ]
        return np.concatenate([part.reshape(len(slots), -1) for part in parts], axis=1)

    def unpack(self, slots: Slots, rows: NDArray[np.uint8]) -> None:
        """Put packed rows, shape (slots, row_bytes), back into the columns; the last one stays."""
        at = 0
        for field in self.fields:
            cells = np.ascontiguousarray(rows[:, at : at + field.row_bytes])
            self.columns[field.name][slots] = cells.view(field.dtype)
            at += field.row_bytes


def grown(column: NDArray, rows: int) -> NDArray:
    """The column itself, or a copy with at least twice its rows; new rows are zero."""
    if rows <= len(column):
        return column
    larger = np.zeros((max(rows, 2 * len(column)), *column.shape[1:]), column.dtype)
    larger[: len(column)] = column
    return larger
