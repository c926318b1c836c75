"""Usage events in Parquet: one table for all kinds, a column for each field, null where absent.

Fast path: rows that pass a few column checks become columns at once. Every other row is turned into
JSON and decoded like any record, so that both paths refuse the same rows for the same reasons.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
from msgspec import inspect
from numpy.typing import NDArray

from schemas.columns import Columns
from schemas.decode import AHEAD_MS_MAX, Reject, decode
from schemas.events import STORAGE_QUANTITIES, TIME_MS_MIN, USAGE_KINDS, Event
from schemas.fields import ABSENT, FIELDS, Fields, Source
from schemas.hashing import hash_strings, mix

encoder = msgspec.json.Encoder()

pc: Any = pyarrow.compute
"""Its functions are made when it is imported, so that type checkers don't know them."""

CORRECTIONS = ("corrects", "void")
"""Rows with any of these fields do not take the fast path."""


def arrow_schema() -> pa.Schema:
    """Make the schema of a table of usage events.

    Returns
    -------
    The schema, with a column for each field of any kind of event.
    """
    fields: dict[str, pa.DataType] = {"type": pa.string()}
    for structure in USAGE_KINDS.values():
        for field in msgspec.structs.fields(structure):
            fields.setdefault(field.encode_name, _arrow_type(field.type))
    return pa.schema([pa.field(name, type_) for name, type_ in fields.items()])


def table_of(events: Iterable[Event]) -> pa.Table:
    """Make a table of events, to write it as Parquet.

    Parameters
    ----------
    events
        Events of any kinds.

    Returns
    -------
    A row for each event.
    """
    rows = [msgspec.to_builtins(event) for event in events]
    return pa.Table.from_pylist(rows, schema=arrow_schema())


def _arrow_type(annotation: Any) -> pa.DataType:
    text = str(annotation)
    if "bool" in text:
        return pa.bool_()
    return pa.int64() if "int" in text else pa.string()


READ = tuple(arrow_schema().names)
"""The columns that are read, if a file has them."""


class ArrowSource(Source):
    """Events of one kind: some rows of a batch; a column is copied when it is asked for.

    Parameters
    ----------
    batch
        Rows of all kinds.
    kind
        The kind.
    rows
        Numbers of the rows of this kind, shape (n,).
    """

    def __init__(self, batch: pa.RecordBatch, kind: str, rows: NDArray[np.int64]) -> None:
        self.rows = rows
        self._batch = batch
        self._all = len(rows) == batch.num_rows
        self._index = pa.array(rows)
        self._kind = kind
        self._fields = _checked_fields(kind)
        self._columns: dict[str, pa.Array] = {}

    def column(self, name: str) -> pa.Array | None:
        """Read a field as it is in the batch.

        Parameters
        ----------
        name
            The field.

        Returns
        -------
        Its values, null where absent, shape (n,); None if no row of the batch has any.
        """
        if name not in self._columns:
            if name not in self._batch.schema.names:
                return None
            whole = self._batch[name]
            if whole.null_count == self._batch.num_rows:
                return None
            self._columns[name] = whole if self._all else whole.take(self._index)
        return self._columns[name]

    def ints(self, name: str, absent: int) -> NDArray[np.int64]:
        """Read a field of whole numbers."""
        column = self.column(name)
        if column is None:
            return np.full(len(self.rows), absent, np.int64)
        return pc.cast(column, pa.int64()).fill_null(absent).to_numpy(zero_copy_only=False)

    def texts(self, name: str) -> NDArray[np.object_]:
        """Read a field of texts."""
        column = self.column(name)
        if column is None:
            return np.full(len(self.rows), None, object)
        return pc.cast(column, pa.string()).to_numpy(zero_copy_only=False)

    def equals(self, name: str, value: str | bool) -> NDArray[np.bool_]:
        """Compare a field with a value; where it is absent, it has its default."""
        is_default = self._fields[name].default == value
        column = self.column(name)
        if column is None:
            return np.full(len(self.rows), is_default, bool)
        return pc.equal(column, value).fill_null(is_default).to_numpy(zero_copy_only=False)

    def take(self, rows: NDArray[np.int64]) -> "ArrowSource":
        """Select some of these events.

        Parameters
        ----------
        rows
            Their numbers among these, shape (m,).

        Returns
        -------
        The selected events.
        """
        return ArrowSource(self._batch, self._kind, self.rows[rows])


def columns_of(
    batch: pa.RecordBatch, raw: Callable[[int], bytes], first: int, now_ms: int
) -> tuple[list[Columns], list[Reject]]:
    """Decode a batch.

    Parameters
    ----------
    batch
        Rows in the order of their numbers, with columns of `READ`.
    raw
        Gives the JSON of a whole row, for rows that don't take the fast path.
    first
        Running number of the first row.
    now_ms
        The time, ms; events too far ahead of it are refused.

    Returns
    -------
    Columns of each kind, and the rows that were refused.
    """
    names = set(batch.schema.names)
    taken = np.zeros(batch.num_rows, bool)
    columns = []
    for kind in USAGE_KINDS if "type" in names else ():
        of_kind = pc.equal(batch["type"], kind).fill_null(False)
        rows = np.flatnonzero(of_kind.to_numpy(zero_copy_only=False))
        if len(rows) and _has_fields(kind, names):
            source = ArrowSource(batch, kind, rows)
            good = np.flatnonzero(_is_good(source, kind, now_ms))
            if len(good) < len(rows):
                source = source.take(good)
            taken[source.rows] = True
            columns.append(_columns(source, kind, first))
    left = np.flatnonzero(~taken)
    if len(left):
        values = [raw(row) for row in left.tolist()]
        decoded, rejects = decode(values, first + left, np.full(len(left), now_ms))
        columns = _merged(columns, [_renumbered(part, left) for part in decoded])
        return columns, [Reject(int(left[r.record]), r.reason, r.detail) for r in rejects]
    return columns, []


@cache
def _checked_fields(kind: str) -> dict[str, inspect.Field]:
    """The fields of a kind of event by name, with the limits that the contract sets them."""
    structure = inspect.type_info(USAGE_KINDS[kind])
    assert isinstance(structure, inspect.StructType)
    return {field.encode_name: field for field in structure.fields}


def _has_fields(kind: str, names: set[str]) -> bool:
    return {name for name, field in _checked_fields(kind).items() if field.required} <= names


def _is_good(source: ArrowSource, kind: str, now_ms: int) -> NDArray[np.bool_]:
    """Mask of the rows that certainly keep the contract, shape (n,)."""
    good = np.ones(len(source.rows), bool)
    for name, field in _checked_fields(kind).items():
        column = source.column(name)
        if column is None:
            good &= not field.required
        elif name in CORRECTIONS:
            good &= column.is_null().to_numpy(zero_copy_only=False)
        else:
            within = _within(column, field.type).fill_null(not field.required)
            good &= within.to_numpy(zero_copy_only=False)
    time_ms = source.ints("event_time_ms", 0)
    good &= (time_ms >= TIME_MS_MIN) & (time_ms <= now_ms + AHEAD_MS_MAX)
    if kind == "storage":
        given = [source.ints(name, ABSENT) != ABSENT for name in STORAGE_QUANTITIES]
        good &= np.any(given, axis=0)
    return good


def _within(column: pa.Array, type_: inspect.Type) -> pa.Array:
    """Whether each value keeps the limits of its type; null where the value is."""
    options = getattr(type_, "types", (type_,))
    (option,) = (each for each in options if not isinstance(each, inspect.NoneType))
    if isinstance(option, inspect.IntType):
        number = pc.cast(column, pa.int64())
        above = pc.greater_equal(number, -(2**63) if option.ge is None else option.ge)
        return pc.and_(above, pc.less_equal(number, 2**63 - 1 if option.le is None else option.le))
    if isinstance(option, inspect.StrType):
        # A text never has fewer bytes than characters.
        size = pc.binary_length(pc.cast(column, pa.string()))
        return pc.and_(
            pc.greater_equal(size, option.min_length or 0),
            pc.less_equal(size, 2**31 - 1 if option.max_length is None else option.max_length),
        )
    if isinstance(option, inspect.LiteralType):
        return pc.if_else(
            column.is_valid(),
            pc.is_in(column, pa.array(option.values)),
            pa.scalar(None, pa.bool_()),
        )
    return pc.if_else(column.is_valid(), True, pa.scalar(None, pa.bool_()))


def _columns(source: ArrowSource, kind: str, first: int) -> Columns:
    fields = Fields(source, FIELDS[kind])
    event_hash = hash_strings(source.texts("event_id"))
    if (sources := source.column("source")) is not None:
        given = sources.is_valid().to_numpy(zero_copy_only=False)
        event_hash = np.where(given, mix(event_hash, fields["source"]), event_hash)
    customers = pc.dictionary_encode(pc.cast(source.column("customer_id"), pa.binary()))
    ids, number = customers.dictionary.to_numpy(zero_copy_only=False), customers.indices.to_numpy()
    return Columns(
        kind=kind,
        record=source.rows,
        offset=first + source.rows,
        customer_id=ids[number],
        customer_hash=hash_strings(ids)[number],
        event_hash=event_hash,
        time_ms=source.ints("event_time_ms", 0),
        fields=fields,
    )


def json_of(row: dict[str, Any]) -> bytes:
    """Encode a row as a record.

    Parameters
    ----------
    row
        Values by the name of their column, None where absent.

    Returns
    -------
    JSON.
    """
    return encoder.encode({name: value for name, value in row.items() if value is not None})


def _renumbered(part: Columns, rows: NDArray[np.int64]) -> Columns:
    return replace(part, record=rows[part.record])


def _merged(taken: list[Columns], decoded: list[Columns]) -> list[Columns]:
    """One set of columns for each kind, in the order of rows."""
    by_kind = {part.kind: part for part in taken}
    for part in decoded:
        other = by_kind.get(part.kind)
        by_kind[part.kind] = part if other is None or not len(other) else _interleaved(other, part)
    return list(by_kind.values())


def _interleaved(one: Columns, other: Columns) -> Columns:
    order = np.argsort(np.r_[one.offset, other.offset], kind="stable")

    def both(name: str) -> NDArray:
        return np.r_[getattr(one, name), getattr(other, name)][order]

    corrects = None
    if one.corrects is not None or other.corrects is not None:
        corrects = np.r_[_corrects(one), _corrects(other)][order]
    return Columns(
        kind=one.kind,
        record=both("record"),
        offset=both("offset"),
        customer_id=both("customer_id"),
        customer_hash=both("customer_hash"),
        event_hash=both("event_hash"),
        time_ms=both("time_ms"),
        corrects=corrects,
        fields=Fields.of(
            {n: np.r_[column, other.fields[n]][order] for n, column in one.fields.items()}
        ),
    )


def _corrects(part: Columns) -> NDArray[np.uint64]:
    return np.zeros(len(part), np.uint64) if part.corrects is None else part.corrects
