"""Closes periods, each of them once."""

from typing import Any, Generic, TypeVar

import numpy as np
from msgspec import Struct, convert

from detectors.periods.ring import Periods
from schemas.units import Ints

P = TypeVar("P", bound=Periods)

PERIODS_KEPT = 64
"""Periods of a rule for which partial sums, and the means of all partitions, are kept."""


class ClosedPeriods(Struct, frozen=True):
    """What a `PeriodCloser` stores.

    Parameters
    ----------
    closed
        The last closed period; -1 before any.
    began
        By kind, the last period that was closed before the kind's first event.
    """

    closed: int
    began: dict[str, int]


class PeriodCloser(Generic[P]):
    """Closes a period when the watermark is `lateness_ms` past its end, or the input ends.

    A rule that reads several kinds closes by the lowest of their watermarks. It calls `begin` with
    the first watermark of each kind, so that the first closed period does not depend on which kind
    came first.

    Parameters
    ----------
    periods
        The calendar, or steps of a fixed length.
    lateness_ms
        How long after its end a period still waits for late events, ms.
    kept
        How many periods the first closing covers: late events may have reached that far back.
    """

    def __init__(self, periods: P, lateness_ms: int, kept: int) -> None:
        self.periods = periods
        self.lateness_ms = lateness_ms
        self.kept = kept
        self.closed = -1
        self.next_ms = 0
        """No watermark before this one closes another period."""
        self.began: dict[str, int] = {}

    def last(self, watermark_ms: Ints) -> Ints:
        """The last period closed at each watermark, shape (n,)."""
        return self.periods.period_of(watermark_ms - self.lateness_ms) - 1

    def begin(self, kind: str, watermark_ms: Ints) -> None:
        """Note the first watermark of a kind, the first of `watermark_ms`."""
        self.began[kind] = int(self.last(watermark_ms[:1])[0])

    def reached(self, watermark_ms: int) -> range:
        """Close the periods that this watermark closes; return the new ones, oldest first."""
        return self._through(int(self.last(np.array([watermark_ms]))[0]))

    def ended(self, last_event_ms: int) -> range:
        """Close the periods that ended before the last event of the input; return the new ones."""
        return self._through(int(self.periods.period_of(np.array([last_event_ms]))[0]) - 1)

    def _through(self, last: int) -> range:
        first = self.closed + 1
        if self.closed < 0:
            first = max(0, min([last, *self.began.values()]) - self.kept + 1)
        self._set_closed(max(self.closed, last))
        return range(first, last + 1)

    def _set_closed(self, closed: int) -> None:
        self.closed = closed
        self.next_ms = 0 if closed < 0 else self.periods.bounds(closed + 1)[1] + self.lateness_ms

    def remember(self) -> ClosedPeriods:
        """What is stored, for `recall`."""
        return ClosedPeriods(self.closed, self.began)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, ClosedPeriods)
        self._set_closed(kept.closed)
        self.began = dict(kept.began)
