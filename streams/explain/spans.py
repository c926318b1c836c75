"""The input that a finding's evidence names, and how it is read again from files."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from schemas.columns import Columns
from streams.clock import Clock
from streams.files.sources import Chunk, SourceError, chunks

WHOLE = range(sys.maxsize)
"""Every line of a file."""

Why = Literal["missing", "ambiguous", "unreadable", "short", "expired", "unnamed"]


class InputGone(Exception):
    """The input that the evidence names can't be read any more.

    Parameters
    ----------
    why
        The reason.
    what
        The file or the offsets.
    """

    def __init__(self, why: Why, what: str = "") -> None:
        super().__init__(why, what)
        self.why = why
        self.what = what


class FileSpan(NamedTuple):
    """Lines of a file, counted from one, up to and including the last."""

    file: str
    first_line: int
    last_line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.first_line}-{self.last_line}"


class TopicSpan(NamedTuple):
    """Offsets of a topic's partition, up to and including the last."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] {self.first_offset}-{self.last_offset}"


Span = FileSpan | TopicSpan


def spans_of(evidence: Mapping[str, Any]) -> list[Span]:
    """Read the input that evidence names.

    Parameters
    ----------
    evidence
        The evidence of a finding.

    Returns
    -------
    The spans, in their order; none if the evidence names no input.
    """
    return [
        FileSpan(**named) if "file" in named else TopicSpan(**named)
        for named in evidence.get("inputs", ())
    ]


def read_files(spans: Sequence[Span], files: Sequence[Path], clock: Clock) -> Iterator[Chunk]:
    """Read the named lines of files; where the evidence names topics, read all files whole.

    Parameters
    ----------
    spans
        What the evidence names.
    files
        Where the files are now, in the order in which they were read; if there are none, they are
        where the evidence says.
    clock
        Events whose time is too far ahead of it are refused.

    Returns
    -------
    The events; their offsets count the lines of all files together.

    Raises
    ------
    InputGone
        A file is missing, ambiguous, unreadable or too short.
    """
    first = 0
    for path, lines in _places(spans, files).items():
        start = first
        try:
            for chunk in chunks([path], clock, first):
                first = chunk.first + chunk.records
                if chunk.first >= start + lines.stop:
                    break
                wanted = range(start + lines.start, start + lines.stop)
                yield replace(
                    chunk, columns=[_within(columns, wanted) for columns in chunk.columns]
                )
        except FileNotFoundError:
            raise InputGone("missing", str(path)) from None
        except (OSError, SourceError):
            raise InputGone("unreadable", str(path)) from None
        if lines is not WHOLE and first - start <= lines.start:
            raise InputGone("short", str(path))


def _places(spans: Sequence[Span], files: Sequence[Path]) -> dict[Path, range]:
    """Where the named files are now and which of their lines to read, counted from zero."""
    named = [span for span in spans if isinstance(span, FileSpan)]
    if not named:
        return dict.fromkeys(files, WHOLE)
    lines: dict[Path, range] = {}
    for span in named:
        path = _found(span.file, files)
        before = lines.get(path, range(span.first_line - 1, span.last_line))
        lines[path] = range(
            min(before.start, span.first_line - 1), max(before.stop, span.last_line)
        )
    return {path: lines[path] for path in [*files, *lines] if path in lines}


def _found(name: str, files: Sequence[Path]) -> Path:
    """The file that the evidence names, among those given by its path or else by its name."""
    if not files:
        return Path(name)
    paths = [path for path in files if path.absolute() == Path(name).absolute()]
    paths = paths or [path for path in files if path.name == Path(name).name]
    if len(paths) != 1:
        raise InputGone("ambiguous" if paths else "missing", name)
    return paths[0]


def _within(columns: Columns, offsets: range) -> Columns:
    """The rows within these offsets."""
    inside = (columns.offset >= offsets.start) & (columns.offset < offsets.stop)
    return columns if inside.all() else columns.take(np.flatnonzero(inside))
