"""Usage events as columns: decoding makes them, the detectors read them."""

from dataclasses import dataclass

from schemas.fields import Fields
from schemas.units import Hashes, Ints, Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Events of one kind, in the order they came; all columns have shape (n,).

    Parameters
    ----------
    kind
        "sms", "voice", ...: the tag of the events.
    record
        Index of each row's record in the batch that was decoded, int64.
    offset
        Offset of each event in its partition, or its running number in the files, int64.
    customer_id
        UTF-8, an object column of bytes.
    customer_hash
        Hash of each customer id, uint64.
    event_hash
        Hash of source and event id, uint64.
    time_ms
        Start of the use, int64.
    corrects
        Hash of the event that each row replaces or takes back, uint64, zero for none; None if no
        row is a correction.
    fields
        The columns that rules read of this kind (schemas/fields.py).
    """

    kind: str
    record: Ints
    offset: Ints
    customer_id: Texts
    customer_hash: Hashes
    event_hash: Hashes
    time_ms: Ints
    fields: Fields
    corrects: Hashes | None = None

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: Ints) -> "Columns":
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
