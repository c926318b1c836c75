"""Records as rows of Parquet: a column for each field; nested fields are JSON."""

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
"""Types of fields that have a column type of their own; all others are text."""

TEXT = (msgspec.inspect.StrType, msgspec.inspect.LiteralType)


def schema_of(record: type) -> pa.Schema:
    """Make the schema of a kind of record.

    Parameters
    ----------
    record
        The kind of record.

    Returns
    -------
    The schema, with a column for each field, optional ones too.
    """
    return pa.schema([(field.encode_name, _column_of(field)) for field in _fields_of(record)])


def row_of(record: Any) -> dict[str, Any]:
    """Make a row of a record.

    Parameters
    ----------
    record
        The record.

    Returns
    -------
    Values by the name of their column.
    """
    row = msgspec.to_builtins(record)
    return {
        name: str(encoder.encode(value), "utf-8") if isinstance(value, (dict, list)) else value
        for name, value in row.items()
    }


def record_of(row: dict[str, Any], record: type) -> bytes:
    """Encode a row as a record.

    Parameters
    ----------
    row
        Values by the name of their column, None where the record leaves an optional field out.
    record
        The kind of record.

    Returns
    -------
    JSON.
    """
    values = {}
    for field in _fields_of(record):
        value = row.get(field.encode_name)
        if value is None and not field.required:
            continue
        if isinstance(value, str) and _column_is_json(field):
            value = msgspec.Raw(value.encode())
        values[field.encode_name] = value
    return encoder.encode(values)


@cache
def _fields_of(record: type) -> tuple[msgspec.inspect.Field, ...]:
    structure = msgspec.inspect.type_info(record)
    assert isinstance(structure, msgspec.inspect.StructType)
    return structure.fields


def _kinds_of(field: msgspec.inspect.Field) -> tuple[msgspec.inspect.Type, ...]:
    type_ = field.type
    return type_.types if isinstance(type_, msgspec.inspect.UnionType) else (type_,)


def _column_of(field: msgspec.inspect.Field) -> pa.DataType:
    kinds = map(type, _kinds_of(field))
    return next((PLAIN[kind] for kind in kinds if kind in PLAIN), pa.string())


def _column_is_json(field: msgspec.inspect.Field) -> bool:
    return not any(isinstance(kind, (*PLAIN, *TEXT)) for kind in _kinds_of(field))
