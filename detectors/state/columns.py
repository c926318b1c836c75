"""Columns by slot: what rules keep of each customer, stored row by row.

A row of a column group is packed as the little-endian bytes of its columns, one after the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.units import Ints

SLOTS_FIRST = 64
"""Rows that a new column has room for."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a group: `width` cells of `dtype` for each customer.

    Events of `kind` write it; a rule that reads only one kind may leave the kind out.
    """

    name: str
    dtype: str
    width: int = 1
    kind: str = ""

    @property
    def row_bytes(self) -> int:
        """Bytes of one customer's cells."""
        return np.dtype(self.dtype).itemsize * self.width


class ColumnGroup:
    """Columns that the same events write: fields of all rules that read one kind of event."""

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
        """Take columns from a snapshot, whose arrays may be mapped from files."""
        self.columns = dict(columns)
        rows = len(next(iter(self.columns.values())))
        self._dirty = np.zeros(rows, bool)

    def touch(self, slots: Ints) -> None:
        """Mark rows to be stored with the next checkpoint."""
        self._dirty[slots] = True

    def take_dirty(self) -> Ints:
        """Slots touched since the last call, sorted."""
        slots = np.flatnonzero(self._dirty)
        self._dirty[slots] = False
        return slots

    def pack(self, slots: Ints) -> NDArray[np.uint8]:
        """Rows as bytes, shape (slots, row_bytes)."""
        parts = [
            np.ascontiguousarray(self.columns[field.name][slots]).view(np.uint8)
            for field in self.fields
        ]
        return np.concatenate([part.reshape(len(slots), -1) for part in parts], axis=1)

    def unpack(self, slots: Ints, rows: NDArray[np.uint8]) -> None:
        """Write packed rows, shape (slots, row_bytes), back; of one slot the last row counts."""
        at = 0
        for field in self.fields:
            cells = np.ascontiguousarray(rows[:, at : at + field.row_bytes])
            self.columns[field.name][slots] = cells.view(field.dtype)
            at += field.row_bytes


def grown(column: NDArray, rows: int) -> NDArray:
    """The column, if it has so many rows; else a copy with at least twice as many, zero-filled."""
    if rows <= len(column):
        return column
    larger = np.zeros((max(rows, 2 * len(column)), *column.shape[1:]), column.dtype)
    larger[: len(column)] = column
    return larger
