"""Records as rows of Parquet: a column for each field, in which nested parts are JSON."""

from functools import cache
from typing import Any

import msgspec
import msgspec.inspect
import pyarrow as pa

encoder = msgspec.json.Encoder()
PLAIN = {
    msgspec.inspect.IntType: pa.int64(),
    msgspec.inspect.FloatType: pa.float64(),
    msgspec.inspect.BoolType: pa.bool_(),
}
"""Types of fields that are columns of their own kind; all others are text."""

TEXT = (msgspec.inspect.StrType, msgspec.inspect.LiteralType)


def schema_of(record: type) -> pa.Schema:
    """The columns of a kind of record, whatever the first ones leave out."""
    return pa.schema([(field.encode_name, _column_of(field)) for field in _fields_of(record)])


def row_of(record: Any) -> dict[str, Any]:
    """A record as a row."""
    row = msgspec.to_builtins(record)
    return {
        name: encoder.encode(value).decode() if isinstance(value, (dict, list)) else value
        for name, value in row.items()
    }


def record_of(row: dict[str, Any], record: type) -> bytes:
    """The JSON of the record that a row stands for; a column that is empty was left out."""
    told = {}
    for field in _fields_of(record):
        value = row.get(field.encode_name)
        if value is None and not field.required:
            continue
        nested = isinstance(value, str) and _column_is_json(field)
        told[field.encode_name] = msgspec.Raw(value.encode()) if nested else value
    return encoder.encode(told)


@cache
def _fields_of(record: type) -> tuple[msgspec.inspect.Field, ...]:
    return msgspec.inspect.type_info(record).fields  # type: ignore[attr-defined,no-any-return]


def _kinds_of(field: msgspec.inspect.Field) -> tuple[msgspec.inspect.Type, ...]:
    told = field.type
    return told.types if isinstance(told, msgspec.inspect.UnionType) else (told,)


def _column_of(field: msgspec.inspect.Field) -> pa.DataType:
    kinds = map(type, _kinds_of(field))
    return next((PLAIN[kind] for kind in kinds if kind in PLAIN), pa.string())


def _column_is_json(field: msgspec.inspect.Field) -> bool:
    return not any(isinstance(kind, (*PLAIN, *TEXT)) for kind in _kinds_of(field))
