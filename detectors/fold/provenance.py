"""Where a partition's events stood in the input, by the time they are about."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct

from schemas.units import DAY_MS, Ints

DAYS_KEPT = 600
DAYS_NAMED = 450


@dataclass(frozen=True, slots=True)
class Origin:
    """A topic partition, or a file whose lines are numbered on from `first`."""

    name: str
    partition: int | None = None
    first: int = 0

    def span(self, first: int, last: int) -> dict[str, Any]:
        """The input between two positions, both included, as evidence names it."""
        if self.partition is None:
            return {
                "file": self.name,
                "first_line": first - self.first + 1,
                "last_line": last - self.first + 1,
            }
        return {
            "topic": self.name,
            "partition": self.partition,
            "first_offset": first,
            "last_offset": last,
        }


class StoredSpan(Struct, array_like=True, frozen=True):
    """The first and last position of a day's events in one origin, as it is stored."""

    name: str
    partition: int | None
    first_line: int
    first: int
    last: int


class StoredDay(Struct, array_like=True, frozen=True):
    """A UTC day, counted since 1970, and where its events stood."""

    day: int
    spans: list[StoredSpan]


class Provenance:
    """First and last position of each UTC day's events, by origin.

    The newest `DAYS_KEPT` days with events are kept, so that a late event's evidence still finds
    the `DAYS_NAMED` days before it: more than a year without use. A day's span may hold other
    customers' events and other days' too: it is what has to be read to recompute a finding, not
    what it counted.
    """

    def __init__(self) -> None:
        self._days: dict[int, dict[Origin, list[int]]] = {}

    def note(self, origin: Origin, time_ms: Ints, offset: Ints) -> None:
        """Take in a batch of one origin, in the order of offsets."""
        # Trimmed before the batch, so that its own early rows still find their days.
        self._trim()
        if len(time_ms) == 0:
            return
        day = time_ms // DAY_MS
        oldest = int(day.min())
        for number in (oldest + np.flatnonzero(np.bincount(day - oldest))).tolist():
            of_day = offset[day == number]
            span = self._days.setdefault(number, {}).setdefault(
                origin, [int(of_day[0]), int(of_day[-1])]
            )
            span[1] = int(of_day[-1])

    def inputs(self, start_ms: int, end_ms: int, last: int | None) -> list[dict[str, Any]]:
        """The input that events between two instants were read from, up to position `last`."""
        spans: dict[Origin, list[int]] = {}
        after = (end_ms - 1) // DAY_MS + 1
        for day in range(max(start_ms // DAY_MS, after - DAYS_NAMED), after):
            for origin, (first_seen, last_seen) in self._days.get(day, {}).items():
                span = spans.setdefault(origin, [first_seen, last_seen])
                span[0], span[1] = min(span[0], first_seen), max(span[1], last_seen)
        return [
            origin.span(first, seen if last is None else min(seen, last))
            for origin, (first, seen) in spans.items()
            if last is None or first <= last
        ]

    def _trim(self) -> None:
        if len(self._days) > DAYS_KEPT:
            for old in sorted(self._days)[:-DAYS_KEPT]:
                del self._days[old]

    def remember(self) -> list[StoredDay]:
        """Everything, day by day."""
        self._trim()
        return [
            StoredDay(day, [StoredSpan(o.name, o.partition, o.first, *s) for o, s in spans.items()])
            for day, spans in self._days.items()
        ]

    def recall(self, days: list[StoredDay]) -> None:
        """Take back what `remember` gave."""
        self._days = {
            stored.day: {
                Origin(span.name, span.partition, span.first_line): [span.first, span.last]
                for span in stored.spans
            }
            for stored in days
        }
