"""Usage events as columns: what decoding makes and what detectors read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Events of one kind, in the order they came; all columns have shape (n,).

    Parameters
    ----------
    kind
        "sms", "voice", ...: the tag of the events.
    record
        Which of the decoded records each row is, int64.
    offset
        Where each event stood: its offset in the partition, or its running number in the files.
    customer_id
        UTF-8, an object column of bytes.
    customer_hash
        Hash of each customer id, uint64.
    event_hash
        Hash of source and event id, uint64.
    time_ms
        Start of the use, int64.
    corrects
        Hash of the event that each row replaces or takes back, uint64, zero for none; None where
        no row does.
    fields
        What the rules read of this kind (see schemas/fields.py).
    """

    kind: str
    record: NDArray[np.int64]
    offset: NDArray[np.int64]
    customer_id: NDArray[np.object_]
    customer_hash: NDArray[np.uint64]
    event_hash: NDArray[np.uint64]
    time_ms: NDArray[np.int64]
    fields: Fields
    corrects: NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: NDArray[np.int64]) -> "Columns":
        """The given rows, in the given order."""
        return Columns(
            kind=self.kind,
            record=self.record[rows],
            offset=self.offset[rows],
            customer_id=self.customer_id[rows],
            customer_hash=self.customer_hash[rows],
            event_hash=self.event_hash[rows],
            time_ms=self.time_ms[rows],
            fields=self.fields.take(rows),
            corrects=None if self.corrects is None else self.corrects[rows],
        )


def object_column(values: Sequence[object]) -> NDArray[np.object_]:
    """A column of Python objects, shape (n,)."""
    column = np.empty(len(values), object)
    column[:] = values
    return column
