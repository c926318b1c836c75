"""Which calendar periods are closed, each of them once."""

from typing import Any

import numpy as np

from detectors.periods.calendar import Calendar
from schemas.units import Ints

PERIODS_KEPT = 64
"""Periods of a rule for which partial sums, and the means of all partitions, are kept."""


class PeriodCloser:
    """Closes a period when the watermark is `lateness_ms` past its end, or the input is.

    A rule that reads several kinds closes by the lowest of their watermarks, and says of each kind
    where it began (`begin`): what is closed first then doesn't depend on which kind came first.

    Parameters
    ----------
    periods
        The calendar.
    lateness_ms
        How long after its end a period still waits for late events.
    kept
        Periods before the newest that a new partition could still hold: it closes them too.
    """

    def __init__(self, periods: Calendar, lateness_ms: int, kept: int) -> None:
        self.periods = periods
        self.lateness_ms = lateness_ms
        self.kept = kept
        self.closed = -1
        self.next_ms = 0
        """The watermark that closes the next period, or earlier."""
        self.began: dict[str, int] = {}

    def last(self, watermark_ms: Ints) -> Ints:
        """The last period closed at each watermark, shape (n,)."""
        return self.periods.period_of(watermark_ms - self.lateness_ms) - 1

    def begin(self, kind: str, watermark_ms: Ints) -> None:
        """A kind's first watermark is the first of these: older periods were closed before it."""
        self.began[kind] = int(self.last(watermark_ms[:1])[0])

    def reached(self, watermark_ms: int) -> range:
        """The periods that this watermark closes now, oldest first."""
        return self._through(int(self.last(np.array([watermark_ms]))[0]))

    def ended(self, last_event_ms: int) -> range:
        """The periods that ended before the last event and are not closed yet."""
        return self._through(int(self.periods.period_of(np.array([last_event_ms]))[0]) - 1)

    def _through(self, last: int) -> range:
        first = self.closed + 1
        if self.closed < 0:
            first = max(0, min([last, *self.began.values()]) - self.kept + 1)
        self._note(max(self.closed, last))
        return range(first, last + 1)

    def _note(self, closed: int) -> None:
        self.closed = closed
        self.next_ms = 0 if closed < 0 else self.periods.bounds(closed + 1)[1] + self.lateness_ms

    def remember(self) -> Any:
        """The last closed period, and where the kinds began."""
        return [self.closed, list(self.began.items())]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        self._note(memory[0])
        self.began = dict(memory[1])
