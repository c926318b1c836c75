"""Events from files, as columns: NDJSON (plain, .gz, .zst) and Parquet, or a folder of them."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

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
LINES_AT_ONCE = 65_536
ROWS_AT_ONCE = 524_288


UNREADABLE = (OSError, pa.ArrowException, zstandard.ZstdError, EOFError, zlib.error)
"""What reading a file that is broken, or none, ends with."""


class SourceError(FairuseError):
    """Input that can't be read; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of one file: its events as columns, and what could not be used.

    `raw` gives the bytes of the record that a reject or a row names; `read_bytes` is how far into
    the input this chunk goes, for progress.
    """

    origin: Origin
    columns: list[Columns]
    rejects: list[Reject]
    raw: Callable[[int], bytes]
    first: int
    records: int
    read_bytes: int


def files_of(inputs: list[Path]) -> list[Path]:
    """The files to read, folders opened, in the order given and by name within a folder."""
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
    """The events of files, one after the other; their rows are numbered through from `first`."""
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
    """Whether a file's name says that it is NDJSON, packed or not."""
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
            # An empty line is no record.
            rejects = [reject for reject in rejects if records[reject.record]]
            yield Chunk(
                origin, columns, rejects, records.__getitem__, first, len(records), position()
            )
            first += len(records)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """The lines of a file, unpacked, and how many of its bytes were read."""
    with path.open("rb") as file:
        if path.suffix == ".gz":
            with gzip.open(file) as lines:
                yield lines, file.tell  # type: ignore[misc]
        elif path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(file) as packed:
                yield io.BufferedReader(packed, 1 << 20), file.tell  # type: ignore[arg-type]
        else:
            yield file, file.tell


def _parquet(path: Path, origin: Origin, first: int, now_ms: int) -> Iterator[Chunk]:
    """Chunks, each decoded by a second thread while the one before it is worked on."""
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
    # Each thread refuses rows at its own pace.
    refused_here, refused_later = WholeRows(path), WholeRows(path)
    start = first
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted):
        columns, rejects = columns_of(batch, refused_here.of(first - start), first, now_ms)
        raw = refused_later.of(first - start)
        first += batch.num_rows
        read = size * (first - start) // total
        yield Chunk(origin, columns, rejects, raw, first - batch.num_rows, batch.num_rows, read)


def _used_columns(file: pq.ParquetFile) -> list[str]:
    """The columns that rules may read and that hold any value, as far as the file tells."""
    used = set()
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            told = column.statistics
            if told is None or told.null_count != group.num_rows:
                used.add(column.path_in_schema)
    return [name for name in file.schema_arrow.names if name in READ and name in used]


class WholeRows:
    """Every column of the few rows that are refused, read beside the columns that rules need."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._batch: pa.RecordBatch | None = None
        self._start = self._end = 0

    def of(self, start: int) -> Callable[[int], bytes]:
        """Gives the JSON of a row of the batch that begins at row `start` of the file."""

        def raw(row: int) -> bytes:
            while self._end <= start + row:
                if self._batches is None:
                    self._batches = pq.ParquetFile(self._path).iter_batches(ROWS_AT_ONCE)
                self._batch = next(self._batches)
                self._start, self._end = self._end, self._end + self._batch.num_rows
            assert self._batch is not None
            return json_of(self._batch.slice(start + row - self._start, 1).to_pylist()[0])

        return raw


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of an NDJSON file that hold anything, by their numbers."""
    try:
        with _opened(path) as (lines, _):
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
    except UNREADABLE as error:
        raise SourceError(f"{path} can't be read ({error}): check the file") from None


def _read_rows(path: Path, record: type) -> Iterator[tuple[int, bytes]]:
    """The rows of a Parquet file as the JSON of their records, by their numbers."""
    try:
        batches = pq.ParquetFile(path).iter_batches(LINES_AT_ONCE)
        rows = chain.from_iterable(batch.to_pylist() for batch in batches)
        for number, row in enumerate(rows, 1):
            yield number, record_of(row, record)
    except UNREADABLE as error:
        raise SourceError(f"{path} can't be read ({error}): check the file") from None


def read_records(path: Path, decoder: Any) -> Iterator[Any]:
    """The records of a file that are not usage: customers, findings, results and so on."""
    return (record for _, _, record in numbered_records(path, decoder))


def numbered_records(path: Path, decoder: Any) -> Iterator[tuple[int, bytes, Any]]:
    """The same with the number and the JSON of each record: a line, or a row of Parquet."""
    rows = path.suffix == ".parquet"
    for number, line in _read_rows(path, decoder.type) if rows else read_lines(path):
        try:
            yield number, line, decoder.decode(line)
        except ValueError as error:
            where = "row" if rows else "line"
            raise SourceError(f"{path}:{number}: {error}: mend the {where}") from None
