"""Writes records as NDJSON, as Parquet, or to standard output."""

import gzip
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from streams.errors import FairuseError
from streams.files.parquet_rows import row_of, schema_of
from streams.files.sources import NDJSON_ENDINGS, is_ndjson

encoder = msgspec.json.Encoder()
ROWS_AT_ONCE = 65_536

ENDINGS = f"{', '.join(NDJSON_ENDINGS)} (each also with .gz or .zst), .parquet, or - alone"
"""The endings that names of output may have, in words."""


class SinkError(FairuseError):
    """Output can't be written; the message says what to do."""


def is_output(name: str) -> bool:
    """Decide whether records can be written to a name.

    Parameters
    ----------
    name
        A file, a device, a pipe, or "-" for standard output.

    Returns
    -------
    Whether its ending says how to write them; a device or a pipe needs no ending.
    """
    path = Path(name)
    plain = name == "-" or path.is_char_device() or path.is_fifo()
    return plain or path.suffix == ".parquet" or is_ndjson(path)


@contextmanager
def writable(path: str | Path | None) -> Iterator[None]:
    """Turn a fault of the disk inside into a `SinkError`.

    Parameters
    ----------
    path
        What is written inside.

    Yields
    ------
    Nothing.

    Raises
    ------
    SinkError
        The disk is full, the folder is missing, or the like.
    BrokenPipeError
        The reader of the output has ended.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise SinkError(f"{path} can't be written ({why}): name another, or make room") from None


def _opened(path: Path) -> IO[bytes]:
    """A file to write, compressed when its name ends in .gz or .zst."""
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "wb", compresslevel=1))
    if path.suffix == ".zst":
        return cast("IO[bytes]", zstandard.open(path, "wb"))
    return path.open("wb")


class Sink:
    """Writes records as NDJSON, or as Parquet when the name ends in .parquet.

    In Parquet, nested fields (evidence, parameters) are columns of JSON.

    Parameters
    ----------
    path
        The file, compressed when its name ends in .gz or .zst; "-" for standard output; None to
        write nothing.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._rows: list[dict[str, Any]] = []
        self._parquet: pq.ParquetWriter | None = None
        self._schema: pa.Schema = pa.schema([])

    def __enter__(self) -> Self:
        with writable(self.path):
            if self.path == "-":
                self._file = sys.stdout.buffer
            elif self.path is not None and Path(self.path).suffix != ".parquet":
                self._file = _opened(Path(self.path))
            elif self.path is not None:
                # A wrong name is reported now, not after the work.
                Path(self.path).open("wb").close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with writable(self.path):
            if self._rows or (self._file is self._parquet is None and self.path is not None):
                self._flush()
            if self._parquet is not None:
                self._parquet.close()
            if self._file is not None and self.path != "-":
                self._file.close()
            elif self._file is not None:
                self._file.flush()

    def write(self, records: Iterable[Any]) -> None:
        """Write records.

        Parameters
        ----------
        records
            Records of one kind, in order.
        """
        with writable(self.path):
            if self._file is not None:
                self._file.write(b"".join(encoder.encode(record) + b"\n" for record in records))
            elif self.path is not None:
                for record in records:
                    self._schema = self._schema if self._rows else schema_of(type(record))
                    self._rows.append(row_of(record))
                if len(self._rows) >= ROWS_AT_ONCE:
                    self._flush()

    def _flush(self) -> None:
        if self._parquet is None:
            assert self.path is not None
            self._parquet = pq.ParquetWriter(self.path, self._schema)
        self._parquet.write_table(pa.Table.from_pylist(self._rows, self._parquet.schema))
        self._rows = []
