"""Decode the bytes of usage records into columns; say of each unusable record why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from schemas.columns import Columns
from schemas.events import RECORD_BYTES_MAX, USAGE_KINDS, UsageEvent
from schemas.fields import FIELDS, Fields, Structs, hashed
from schemas.hashing import hash_strings, mix
from schemas.units import DAY_MS, Hashes, Ints, object_column

AHEAD_MS_MAX = DAY_MS
"""An event, an answer or a decision may be this far ahead of the time at which its record came."""

AHEAD = "time_out_of_range", "more than 24 h ahead of the record's own time"
"""Reason and detail of a record that is further ahead."""

REASONS = (
    "empty",
    "oversized",
    "not_json",
    "unknown_type",
    "unknown_value",
    "missing_field",
    "wrong_type",
    "string_length",
    "time_out_of_range",
    "negative_amount",
    "amount_out_of_range",
    "wrong_topic",
    "wrong_key",
    "correction",
)
"""The reasons of dead letters; the detectors add `too_late`."""

DETAIL_CHARACTERS_MAX = 200
"""A detail may quote the sender's own text, so it is cut to this length."""

CORRECTABLE = ("sms", "voice", "data", "stream")
"""Kinds of which an event can be corrected: their use is added up."""

decoder = msgspec.json.Decoder(UsageEvent)
KIND_OF = {structure: kind for kind, structure in USAGE_KINDS.items()}


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that can't be used; `record` is its index in the batch that was decoded."""

    record: int
    reason: str
    detail: str


def decode(
    values: Sequence[bytes | None],
    offsets: Ints,
    arrived_ms: Ints,
    keys: Sequence[bytes | None] | None = None,
    kind: str | None = None,
) -> tuple[list[Columns], list[Reject]]:
    """Decode a batch of records.

    Parameters
    ----------
    values
        The records, JSON in UTF-8.
    offsets
        Offset of each record, shape (n,).
    arrived_ms
        When each record was written to its topic, ms; an event may be `AHEAD_MS_MAX` later. (n,).
    keys
        Keys of the records, which have to be the customer ids; None for files, which have no keys.
    kind
        The only kind of event that is allowed (a topic holds one); None for any.

    Returns
    -------
    Columns of each kind that occurs, and the records that were refused.
    """
    events, rejects = _decode_all(values)
    kinds = {KIND_OF[structure] for structure in set(map(type, events)) - {type(None)}}
    if kind and kinds - {kind}:
        rejects += _refuse_others(events, kind)
        kinds &= {kind}
    columns = []
    for name in sorted(kinds):
        rows, of_kind = list(range(len(events))), events
        if len(kinds) > 1 or rejects:
            rows = [row for row, event in enumerate(events) if type(event) is USAGE_KINDS[name]]
            of_kind = [events[row] for row in rows]
        columns.append(_columns(name, rows, of_kind, offsets))
    return [_checked(part, arrived_ms, keys, rejects) for part in columns], rejects


def _decode_all(values: Sequence[bytes | None]) -> tuple[list[Any], list[Reject]]:
    """Decode all records in one go; one by one if any of them can't be used."""
    try:
        if max(map(len, values), default=0) <= RECORD_BYTES_MAX:  # type: ignore[arg-type]
            return list(map(decoder.decode, values)), []  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):
        pass  # decoding one by one finds out which record it is, and why
    return _decode_each(values)


def _refuse_others(events: list[Any], kind: str) -> list[Reject]:
    """Take out the events whose kind is not that of the topic."""
    rejects = []
    for record, event in enumerate(events):
        if event is not None and type(event) is not USAGE_KINDS[kind]:
            events[record] = None
            detail = f"an event of type {KIND_OF[type(event)]} on usage.{kind}"
            rejects.append(Reject(record, "wrong_topic", detail))
    return rejects


def _decode_each(values: Sequence[bytes | None]) -> tuple[list[Any], list[Reject]]:
    events: list[Any] = []
    rejects = []
    for record, value in enumerate(values):
        reason = detail = ""
        event = None
        if value is None:
            reason, detail = "empty", "the record has no value"
        elif len(value) > RECORD_BYTES_MAX:
            reason, detail = "oversized", f"{len(value)} bytes, {RECORD_BYTES_MAX} at most"
        else:
            try:
                event = decoder.decode(value)
            except msgspec.ValidationError as error:
                reason, detail = reason_of(str(error)), str(error)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                reason, detail = "not_json", str(error)
        events.append(event)
        if event is None:
            rejects.append(Reject(record, reason, detail[:DETAIL_CHARACTERS_MAX]))
    return events, rejects


def reason_of(error: str) -> str:
    """The reason of a dead letter, from the message of msgspec's validation error."""
    # The message may quote the sender's own text, but never after the last " - at ".
    said, _, field = error.rpartition(" - at ")
    if not said:
        said, field = error, ""
    if field == "`$.type`" or said.endswith("missing required field `type`"):
        return "unknown_type"
    if said.startswith("Invalid enum value"):
        return "unknown_value"
    if "missing required field" in said:
        return "missing_field"
    if "of length" in said:
        return "string_length"
    if "<=" in said or ">=" in said or "out of range" in said:
        return _reason_of_range(said, field)
    return "wrong_type"


def _reason_of_range(said: str, field: str) -> str:
    if field == "`$.event_time_ms`":
        return "time_out_of_range"
    return "negative_amount" if said.endswith(">= 0") else "amount_out_of_range"


def _checked(
    columns: Columns,
    arrived_ms: Ints,
    keys: Sequence[bytes | None] | None,
    rejects: list[Reject],
) -> Columns:
    """Refuse rows by what columns show: times ahead, keys of other customers, corrections."""
    bad = columns.time_ms > arrived_ms[columns.record] + AHEAD_MS_MAX
    rejects += [Reject(record, *AHEAD) for record in columns.record[bad].tolist()]
    if keys is not None:
        foreign = ~bad & (object_column(keys)[columns.record] != columns.customer_id)
        bad |= foreign
        for row in np.flatnonzero(foreign).tolist():
            detail = "the record's key has to be its customer_id"
            rejects.append(Reject(int(columns.record[row]), "wrong_key", detail))
    if columns.corrects is not None:
        wrong = _wrong_corrections(columns)
        rejects += [
            Reject(int(columns.record[row]), "correction", detail)
            for row, detail in wrong.items()
            if not bad[row]
        ]
        bad[list(wrong)] = True
    return columns.take(np.flatnonzero(~bad)) if bad.any() else columns


def _wrong_corrections(columns: Columns) -> dict[int, str]:
    """What is wrong with corrections, by row."""
    voids, corrects = columns.fields["void"], columns.corrects
    assert corrects is not None
    wrong = dict.fromkeys(
        np.flatnonzero(voids & (corrects == 0)).tolist(),
        "`void` goes with `corrects`, the event to take back",
    )
    if columns.kind not in CORRECTABLE:
        only = f"events of type {columns.kind} can't be corrected: send the next one"
        wrong |= dict.fromkeys(np.flatnonzero(corrects != 0).tolist(), only)
    return wrong


def _columns(kind: str, rows: list[int], events: list[Any], offsets: Ints) -> Columns:
    record = np.array(rows, np.int64)
    source = _source_hashes([event.source for event in events])
    customer_id = object_column([event.customer_id.encode() for event in events])
    return Columns(
        kind=kind,
        record=record,
        offset=offsets[record],
        customer_id=customer_id,
        customer_hash=hash_strings(customer_id),
        event_hash=_within(source, hash_strings([event.event_id for event in events])),
        time_ms=np.array([event.event_time_ms for event in events], np.int64),
        corrects=_corrections(events, source),
        fields=Fields(Structs(events), FIELDS[kind]),
    )


def _source_hashes(sources: Sequence[str | None]) -> Hashes | None:
    """Hash of each event's source, zero where not given, shape (n,); None if no event has one."""
    return None if sources.count(None) == len(sources) else hashed(object_column(sources))


def _within(source: Hashes | None, event_id: Hashes) -> Hashes:
    """Hash of each event id within its source, shape (n,)."""
    return event_id if source is None else np.where(source, mix(event_id, source), event_id)


def _corrections(events: list[Any], source: Hashes | None) -> Hashes | None:
    """Hash of the event that each row corrects, zero for none; None if no row is a correction."""
    corrects = [event.corrects for event in events]
    if not (any(corrects) or any(event.void for event in events)):
        return None
    corrected = hashed(object_column(corrects))
    return np.where(corrected, _within(source, corrected), np.uint64(0))
