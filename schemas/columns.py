"""Usage events as columns: what decoding makes and what detectors read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


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
        UTF-8.
    event_hash
        Hash of source and event id, uint64.
    time_ms
        Start of the use, int64.
    fields
        What the rules read of this kind (see schemas/decode.py).
    texts
        Strings that only evidence needs.
    """

    kind: str
    record: NDArray[np.int64]
    offset: NDArray[np.int64]
    customer_id: Sequence[bytes]
    event_hash: NDArray[np.uint64]
    time_ms: NDArray[np.int64]
    fields: Mapping[str, NDArray]
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: NDArray[np.int64]) -> "Columns":
        """The given rows, in the given order."""
        picked = rows.tolist()
        return Columns(
            kind=self.kind,
            record=self.record[rows],
            offset=self.offset[rows],
            customer_id=[self.customer_id[row] for row in picked],
            event_hash=self.event_hash[rows],
            time_ms=self.time_ms[rows],
            fields={name: column[rows] for name, column in self.fields.items()},
            texts={name: [texts[row] for row in picked] for name, texts in self.texts.items()},
        )
