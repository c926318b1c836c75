"""Usage events in Parquet: one table for all kinds, a column for each field, null where absent.

Rows that pass a few column checks become columns at once; any other row is turned into JSON and
goes the way of every record, so that both ways refuse the same things for the same reasons.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.columns import Columns
from schemas.decode import (
    ABSENT,
    AHEAD_MS_MAX,
    Reject,
    decode,
    failed_by_flags,
    is_group_address,
)
from schemas.events import (
    AMOUNT_MAX,
    CALL_MS_MAX,
    STORAGE_QUANTITIES,
    TIME_MS_MIN,
    USAGE_KINDS,
    Event,
)
from schemas.hashing import hash_strings, mix

encoder = msgspec.json.Encoder()

REQUIRED_TEXT = {
    "sms": ("recipient",),
    "voice": ("other_party",),
    "flow": ("source_address", "destination_address"),
    "stream": ("device_id",),
}
NEEDED = {
    "sms": ("recipient", "direction", "service", "segment_number"),
    "voice": ("other_party", "direction", "duration_ms"),
    "data": ("bytes_uplink", "bytes_downlink"),
    "flow": (
        "source_address",
        "destination_address",
        "protocol",
        "destination_port",
        "tcp_flags",
        "state",
        "direction",
    ),
    "storage": (*STORAGE_QUANTITIES, "capacity_bytes"),
    "stream": ("device_id", "duration_ms"),
}
"""What is read of each kind, besides what every event carries."""

EVERY = ("type", "event_id", "customer_id", "event_time_ms", "source", "corrects", "void")
READ = tuple(dict.fromkeys((*EVERY, *(name for names in NEEDED.values() for name in names))))

TEXT_MAX = 256
ID_MAX = 64


def arrow_schema() -> pa.Schema:
    """Schema of a table of usage events."""
    fields: dict[str, pa.DataType] = {"type": pa.string()}
    for structure in USAGE_KINDS.values():
        for field in msgspec.structs.fields(structure):
            fields.setdefault(field.encode_name, _arrow_type(field.type))
    return pa.schema([pa.field(name, type_) for name, type_ in fields.items()])


def table_of(events: Iterable[Event]) -> pa.Table:
    """A table of events, for writing Parquet."""
    rows = [msgspec.to_builtins(event) for event in events]
    return pa.Table.from_pylist(rows, schema=arrow_schema())


def _arrow_type(annotation: Any) -> pa.DataType:
    text = str(annotation)
    if "bool" in text:
        return pa.bool_()
    return pa.int64() if "int" in text else pa.string()


def columns_of(
    batch: pa.RecordBatch, raw: Callable[[int], bytes], first: int, now_ms: int
) -> tuple[list[Columns], list[Reject]]:
    """Columns of each kind in a batch, and what was refused.

    Parameters
    ----------
    batch
        Rows in the order they count, with the columns of `READ`.
    raw
        JSON of a whole row, for the rows that don't pass the column checks.
    first
        Running number of the first row.
    now_ms
        What "ahead" is measured against.
    """
    names = set(batch.schema.names)
    kind = _filled(batch, "type", names, "")
    taken = np.zeros(batch.num_rows, bool)
    columns = []
    for name in USAGE_KINDS:
        rows = np.flatnonzero(pc.equal(kind, name).to_numpy(zero_copy_only=False))
        if len(rows) and _has_fields(name, names):
            part, good = _taken(name, batch, rows, first, now_ms, names)
            taken[rows[good]] = True
            columns.append(part)
    left = np.flatnonzero(~taken)
    if len(left):
        values = [raw(row) for row in left.tolist()]
        decoded, rejects = decode(values, first + left, np.full(len(left), now_ms))
        columns = _merged(columns, [_renumbered(part, left) for part in decoded])
        return columns, [Reject(int(left[r.record]), r.reason, r.detail) for r in rejects]
    return columns, []


def _has_fields(kind: str, names: set[str]) -> bool:
    needed = {f.encode_name for f in msgspec.structs.fields(USAGE_KINDS[kind]) if f.required}
    return needed <= names


def _taken(
    kind: str, batch: pa.RecordBatch, rows: NDArray, first: int, now_ms: int, names: set[str]
) -> tuple[Columns, NDArray[np.bool_]]:
    """Columns of the rows of a kind that pass every check, and which they are."""
    part = batch.select([name for name in (*EVERY, *NEEDED[kind]) if name in names])
    if len(rows) < batch.num_rows:
        part = part.take(pa.array(rows))
    time_ms = _ints(part, "event_time_ms", names, 0)
    good = (time_ms >= TIME_MS_MIN) & (time_ms <= now_ms + AHEAD_MS_MAX)
    for name in ("event_id", "customer_id"):
        length = pc.binary_length(pc.cast(part[name], pa.binary()))
        length = length.fill_null(0).to_numpy(zero_copy_only=False)
        good &= (length > 0) & (length <= ID_MAX)
    for name in REQUIRED_TEXT.get(kind, ()):
        length = pc.binary_length(pc.cast(part[name], pa.binary()))
        length = length.fill_null(TEXT_MAX + 1).to_numpy(zero_copy_only=False)
        good &= length <= TEXT_MAX
    for name in ("corrects", "void"):
        if name in names:
            good &= ~part[name].is_valid().to_numpy(zero_copy_only=False)
    fields, texts = FIELDS[kind](part, names, good)
    kept = np.flatnonzero(good)
    if len(kept) < len(good):
        part = part.take(pa.array(kept))
    event_hash = hash_strings(part["event_id"].to_numpy(zero_copy_only=False))
    if "source" in names and part["source"].null_count < part.num_rows:
        source = hash_strings(_filled(part, "source", names, "").to_numpy(zero_copy_only=False))
        has_source = part["source"].is_valid().to_numpy(zero_copy_only=False)
        event_hash = np.where(has_source, mix(event_hash, source), event_hash)
    customer_id = pc.cast(part["customer_id"], pa.binary()).to_numpy(zero_copy_only=False)
    return Columns(
        kind=kind,
        record=rows[kept],
        offset=first + rows[kept],
        customer_id=customer_id,
        customer_hash=hash_strings(customer_id),
        event_hash=event_hash,
        time_ms=time_ms[kept],
        fields={name: column[kept] for name, column in fields.items()},
        texts={name: values[kept] for name, values in texts.items()},
    ), good


Fields = tuple[dict[str, NDArray], dict[str, NDArray]]


def _sms(part: pa.RecordBatch, names: set[str], good: NDArray[np.bool_]) -> Fields:
    direction = _choice(part, "direction", names, "mo", ("mo", "mt"), good)
    service = _choice(part, "service", names, "sms", ("sms", "mms"), good)
    segment = _ints(part, "segment_number", names, 1)
    good &= segment >= 0
    return {"is_sent_sms": direction & service & (segment == 1)}, {}


def _voice(part: pa.RecordBatch, names: set[str], good: NDArray[np.bool_]) -> Fields:
    duration_ms = _ints(part, "duration_ms", names, -1)
    good &= (duration_ms >= 0) & (duration_ms <= CALL_MS_MAX)
    return {
        "is_originated": _choice(part, "direction", names, "mo", ("mo", "mt"), good),
        "duration_ms": duration_ms,
    }, {}


def _data(part: pa.RecordBatch, names: set[str], good: NDArray[np.bool_]) -> Fields:
    up, down = (_ints(part, name, names, -1) for name in ("bytes_uplink", "bytes_downlink"))
    good &= (up >= 0) & (down >= 0) & (up <= AMOUNT_MAX) & (down <= AMOUNT_MAX)
    return {"bytes": up + down}, {}


def _flow(part: pa.RecordBatch, names: set[str], good: NDArray[np.bool_]) -> Fields:
    protocol = _ints(part, "protocol", names, -1)
    port = _ints(part, "destination_port", names, ABSENT)
    flags = _ints(part, "tcp_flags", names, ABSENT)
    good &= (protocol >= 0) & (protocol <= 255) & (port <= 65_535) & (flags <= 0xFFFF)
    state = _filled(part, "state", names, "").to_numpy(zero_copy_only=False)
    stated = np.isin(state, ("established", "rejected", "unanswered"))
    good &= stated | (state == "")
    failed = np.where(stated, state != "established", failed_by_flags(protocol, flags))
    addresses = _filled(part, "destination_address", names, "").to_numpy(zero_copy_only=False)
    to_group = np.zeros(len(failed), bool)
    to_group[failed] = [is_group_address(address) for address in addresses[failed]]
    return {
        "is_failed": failed,
        "is_outbound": _choice(part, "direction", names, "outbound", ("outbound", "inbound"), good),
        "is_to_group": to_group,
        "destination_address": hash_strings(addresses),
        "destination_port": port,
    }, {"destination_address": addresses}


def _storage(part: pa.RecordBatch, names: set[str], good: NDArray[np.bool_]) -> Fields:
    quantities = [_ints(part, name, names, ABSENT) for name in STORAGE_QUANTITIES]
    good &= (np.stack(quantities) != ABSENT).any(axis=0)
    capacity = _ints(part, "capacity_bytes", names, ABSENT)
    for amount in (*quantities, capacity):
        good &= (amount >= ABSENT) & (amount <= AMOUNT_MAX)
    return {"used_bytes": quantities[0], "capacity_bytes": capacity}, {}


def _stream(part: pa.RecordBatch, names: set[str], good: NDArray[np.bool_]) -> Fields:
    good &= _ints(part, "duration_ms", names, -1) >= 0
    return {}, {}


FIELDS: dict[str, Callable[[pa.RecordBatch, set[str], NDArray], Fields]] = {
    "sms": _sms,
    "voice": _voice,
    "data": _data,
    "flow": _flow,
    "storage": _storage,
    "stream": _stream,
}


def _choice(
    part: pa.RecordBatch,
    name: str,
    names: set[str],
    default: str,
    allowed: tuple[str, str],
    good: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Whether a field has its first allowed value; rows with none of them are no longer good."""
    values = _filled(part, name, names, default)
    is_first, is_second = (
        pc.equal(values, value).to_numpy(zero_copy_only=False) for value in allowed
    )
    good &= is_first | is_second
    return is_first


def _filled(part: pa.RecordBatch, name: str, names: set[str], default: str) -> pa.Array:
    if name not in names:
        return pa.array([default] * part.num_rows, pa.string())
    return pc.cast(part[name], pa.string()).fill_null(default)


def _ints(part: pa.RecordBatch, name: str, names: set[str], default: int) -> NDArray[np.int64]:
    if name not in names:
        return np.full(part.num_rows, default, np.int64)
    return pc.cast(part[name], pa.int64()).fill_null(default).to_numpy(zero_copy_only=False)


def json_of(row: dict[str, Any]) -> bytes:
    """A row as the JSON record it stands for."""
    return encoder.encode({name: value for name, value in row.items() if value is not None})


def _renumbered(part: Columns, rows: NDArray[np.int64]) -> Columns:
    return replace(part, record=rows[part.record])


def _merged(taken: list[Columns], decoded: list[Columns]) -> list[Columns]:
    """One set of columns a kind, in the order of rows."""
    by_kind = {part.kind: part for part in taken}
    for part in decoded:
        other = by_kind.get(part.kind)
        by_kind[part.kind] = part if other is None or not len(other) else _interleaved(other, part)
    return list(by_kind.values())


def _interleaved(one: Columns, other: Columns) -> Columns:
    order = np.argsort(np.r_[one.offset, other.offset], kind="stable")

    def both(name: str) -> NDArray:
        return np.r_[getattr(one, name), getattr(other, name)][order]

    return Columns(
        kind=one.kind,
        record=both("record"),
        offset=both("offset"),
        customer_id=both("customer_id"),
        customer_hash=both("customer_hash"),
        event_hash=both("event_hash"),
        time_ms=both("time_ms"),
        fields={n: np.r_[column, other.fields[n]][order] for n, column in one.fields.items()},
        texts={n: np.r_[column, other.texts[n]][order] for n, column in one.texts.items()},
    )
