"""Reads events as columns from NDJSON files (plain, .gz, .zst), Parquet files or folders."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from detectors.fold.provenance import Origin
from schemas.columns import Columns
from schemas.decode import Reject, decode
from streams.clock import Clock
from streams.errors import FairuseError
from streams.files.parquet_events import READ, columns_of, json_of
from streams.files.parquet_rows import record_of

NDJSON_ENDINGS = (".ndjson", ".jsonl", ".json")
T = TypeVar("T")
LINES_AT_ONCE = 65_536
ROWS_AT_ONCE = 524_288


UNREADABLE = (OSError, pa.ArrowException, zstandard.ZstdError, EOFError, zlib.error)
"""Errors of reading a damaged file."""


class SourceError(FairuseError):
    """Input can't be read; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one file that follow each other.

    Parameters
    ----------
    origin
        The file.
    columns
        The events, one set of columns for each kind.
    rejects
        The records that could not be decoded.
    raw
        Gives the bytes of a record, by the number that a reject or a row has for it.
    first
        Running number of the first record.
    records
        How many records there are.
    read_bytes
        How many bytes of the input are read at the end of this chunk, for progress.
    """

    origin: Origin
    columns: list[Columns]
    rejects: list[Reject]
    raw: Callable[[int], bytes]
    first: int
    records: int
    read_bytes: int


def files_of(inputs: list[Path]) -> list[Path]:
    """List the files to read.

    Parameters
    ----------
    inputs
        Files and folders.

    Returns
    -------
    The files in the order given, those of a folder by name.

    Raises
    ------
    SourceError
        A path is missing, or is neither NDJSON nor Parquet, or a folder holds no such file.
    """
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file() and _reader(p) is not None)
            if not found:
                raise SourceError(f"{path} holds no .ndjson or .parquet file: name another folder")
            files += found
        elif not path.exists():
            raise SourceError(f"{path} is not there: check the name")
        elif _reader(path) is None:
            raise SourceError(
                f"{path} is neither NDJSON nor Parquet: name a .ndjson or .parquet file"
            )
        else:
            files.append(path)
    return files


def chunks(files: list[Path], clock: Clock, first: int = 0) -> Iterator[Chunk]:
    """Read the events of files, one after the other.

    Parameters
    ----------
    files
        The files.
    clock
        Events whose time is too far ahead of it are refused.
    first
        Running number of the first record; the count goes on from file to file.

    Returns
    -------
    The events.

    Raises
    ------
    SourceError
        A file is damaged.
    """
    read = 0
    for path in files:
        origin = Origin(str(path), None, first)
        reader = _reader(path)
        assert reader is not None
        size = path.stat().st_size
        try:
            for chunk in reader(path, origin, first, clock()):
                first = chunk.first + chunk.records
                yield replace(chunk, read_bytes=read + chunk.read_bytes)
        except UNREADABLE as error:
            raise SourceError(f"{path} can't be read ({error}): check the file") from None
        read += size


Reader = Callable[[Path, Origin, int, int], Iterator[Chunk]]


def _reader(path: Path) -> Reader | None:
    if path.suffix == ".parquet":
        return _parquet
    return _ndjson if is_ndjson(path) else None


def is_ndjson(path: Path) -> bool:
    """Decide whether a file's name says that it is NDJSON, compressed or not.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Whether it does.
    """
    plain = path.with_suffix("") if path.suffix in (".gz", ".zst") else path
    return plain.suffix in NDJSON_ENDINGS


def _ndjson(path: Path, origin: Origin, first: int, now_ms: int) -> Iterator[Chunk]:
    with _opened(path) as (lines, position):
        while True:
            records = [line.rstrip(b"\r\n") for line in islice(lines, LINES_AT_ONCE)]
            if not records:
                return
            offsets = np.arange(first, first + len(records))
            columns, rejects = decode(records, offsets, np.full(len(records), now_ms))
            # Empty lines are no records.
            rejects = [reject for reject in rejects if records[reject.record]]
            yield Chunk(
                origin, columns, rejects, records.__getitem__, first, len(records), position()
            )
            first += len(records)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Iterable[bytes], Callable[[], int]]]:
    """The lines of a file, decompressed, and a function that tells how many bytes were read."""
    with path.open("rb") as file:
        if path.suffix == ".gz":
            with gzip.open(file) as lines:
                yield lines, file.tell
        elif path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(file) as decompressed:
                yield io.BufferedReader(cast("io.RawIOBase", decompressed), 1 << 20), file.tell
        else:
            yield file, file.tell


def _parquet(path: Path, origin: Origin, first: int, now_ms: int) -> Iterator[Chunk]:
    """Chunks; a second thread decodes the next one while the caller works on this one."""
    decoded = _parquet_decoded(path, origin, first, now_ms)
    with ThreadPoolExecutor(1) as decoder:
        coming = decoder.submit(next, decoded, None)
        while (chunk := coming.result()) is not None:
            coming = decoder.submit(next, decoded, None)
            yield chunk


def _parquet_decoded(path: Path, origin: Origin, first: int, now_ms: int) -> Iterator[Chunk]:
    file = pq.ParquetFile(path)
    total, size = max(1, file.metadata.num_rows), path.stat().st_size
    wanted = _used_columns(file)
    # Each thread has its own reader of whole rows: they refuse rows at their own pace.
    refused_here, refused_later = _WholeRows(path), _WholeRows(path)
    start = first
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted):
        columns, rejects = columns_of(batch, refused_here.of(first - start), first, now_ms)
        raw = refused_later.of(first - start)
        first += batch.num_rows
        read = size * (first - start) // total
        yield Chunk(origin, columns, rejects, raw, first - batch.num_rows, batch.num_rows, read)


def _used_columns(file: pq.ParquetFile) -> list[str]:
    """The columns of `READ` that hold any value, as far as the file's statistics say."""
    used = set()
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            statistics = column.statistics
            if statistics is None or statistics.null_count != group.num_rows:
                used.add(column.path_in_schema)
    return [name for name in file.schema_arrow.names if name in READ and name in used]


class _WholeRows:
    """Reads all columns of the few rows that are refused; the other rows lack unused columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._batch: pa.RecordBatch | None = None
        self._start = self._end = 0

    def of(self, start: int) -> Callable[[int], bytes]:
        """A function that gives the JSON of a row of the batch that begins at row `start`."""

        def raw(row: int) -> bytes:
            while self._end <= start + row:
                if self._batches is None:
                    self._batches = iter(pq.ParquetFile(self._path).iter_batches(ROWS_AT_ONCE))
                batch = self._batch = next(self._batches)
                self._start, self._end = self._end, self._end + batch.num_rows
            assert self._batch is not None
            return json_of(self._batch.slice(start + row - self._start, 1).to_pylist()[0])

        return raw


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Read the lines of an NDJSON file that are not empty.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Each line with its number, from 1 on.

    Raises
    ------
    SourceError
        The file is damaged.
    """
    try:
        with _opened(path) as (lines, _):
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
    except UNREADABLE as error:
        raise SourceError(f"{path} can't be read ({error}): check the file") from None


def _read_rows(path: Path, record: type) -> Iterator[tuple[int, bytes]]:
    """The rows of a Parquet file as JSON records, each with its number."""
    try:
        batches = pq.ParquetFile(path).iter_batches(LINES_AT_ONCE)
        rows = chain.from_iterable(batch.to_pylist() for batch in batches)
        for number, row in enumerate(rows, 1):
            yield number, record_of(row, record)
    except UNREADABLE as error:
        raise SourceError(f"{path} can't be read ({error}): check the file") from None


def read_records(path: Path, decoder: msgspec.json.Decoder[T]) -> Iterator[T]:
    """Read records other than usage: customers, findings, results and so on.

    Parameters
    ----------
    path
        NDJSON or Parquet.
    decoder
        Decodes a record.

    Returns
    -------
    The records.
    """
    return (record for _, _, record in numbered_records(path, decoder))


def numbered_records(
    path: Path, decoder: msgspec.json.Decoder[T]
) -> Iterator[tuple[int, bytes, T]]:
    """Read records other than usage, with their numbers.

    Parameters
    ----------
    path
        NDJSON or Parquet.
    decoder
        Decodes a record.

    Returns
    -------
    Number of the line or row, its JSON, and the record.

    Raises
    ------
    SourceError
        The file is damaged, or a record can't be decoded.
    """
    rows = path.suffix == ".parquet"
    for number, line in _read_rows(path, cast(type, decoder.type)) if rows else read_lines(path):
        try:
            yield number, line, decoder.decode(line)
        except ValueError as error:
            where = "row" if rows else "line"
            raise SourceError(f"{path}:{number}: {error}: mend the {where}") from None
