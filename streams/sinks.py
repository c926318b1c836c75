"""Where records go that a command writes: NDJSON, Parquet, or standard output."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

encoder = msgspec.json.Encoder()
ROWS_AT_ONCE = 65_536


class SinkError(Exception):
    """Output that can't be written; the message says what to do."""


class Sink:
    """Writes records as NDJSON, or as Parquet when the name ends so; "-" is standard output.

    In Parquet, nested parts (evidence, parameters) are columns of JSON.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._rows: list[dict[str, Any]] = []
        self._parquet: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        try:
            if self.path == "-":
                self._file = sys.stdout.buffer
            elif self.path is not None and Path(self.path).suffix != ".parquet":
                self._file = Path(self.path).open("wb")
        except OSError as error:
            raise SinkError(
                f"{self.path} can't be written ({error.strerror}): name another"
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rows:
            self._flush()
        if self._parquet is not None:
            self._parquet.close()
        if self._file is not None and self.path != "-":
            self._file.close()

    def write(self, records: Iterable[Any]) -> None:
        """Write records, in order."""
        if self._file is not None:
            self._file.write(b"".join(encoder.encode(record) + b"\n" for record in records))
        elif self.path is not None:
            self._rows += [_flat(record) for record in records]
            if len(self._rows) >= ROWS_AT_ONCE:
                self._flush()

    def _flush(self) -> None:
        if self._parquet is None:
            table = pa.Table.from_pylist(self._rows)
            assert self.path is not None
            self._parquet = pq.ParquetWriter(self.path, table.schema)
        self._parquet.write_table(pa.Table.from_pylist(self._rows, self._parquet.schema))
        self._rows = []


def _flat(record: Any) -> dict[str, Any]:
    row = msgspec.to_builtins(record)
    return {
        name: encoder.encode(value).decode() if isinstance(value, (dict, list)) else value
        for name, value in row.items()
    }
