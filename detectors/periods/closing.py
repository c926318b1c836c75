"""Which calendar periods are closed, each of them once."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.periods.calendar import Calendar
from detectors.rules.contract import RuleOutput
from detectors.state.customers import Customers
from schemas.units import Ints


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


class ClosingRuleBase:
    """How a `ClosingRule` closes: `closing` says which periods, `close_periods` what follows."""

    closing: PeriodCloser

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """What the periods lead to that are closed now, at least one."""
        raise NotImplementedError

    def period_of(self, time_ms: Ints) -> Ints:
        """The period that each time is in, shape (n,)."""
        return self.closing.periods.period_of(time_ms)

    def closing_period(self, watermark_ms: Ints) -> Ints:
        """The last period closed at each watermark, shape (n,)."""
        return self.closing.last(watermark_ms)

    def may_close(self, watermark_ms: int) -> bool:
        """Whether a watermark may close another period."""
        return watermark_ms >= self.closing.next_ms

    def has_closed(self, period_start_ms: int) -> bool:
        """Whether a period is closed, so that nothing more is added to it."""
        (period,) = self.period_of(np.array([period_start_ms])).tolist()
        return period <= self.closing.closed

    def closes_ms(self, period_end_ms: int) -> int:
        """The watermark that closes a period."""
        return period_end_ms + self.closing.lateness_ms

    def closed_between(self, after_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
        """Start of each period that a watermark closes on its way, and the watermark that does."""
        (last,) = self.closing_period(np.array([until_ms])).tolist()
        for period in range(last, -1, -1):
            start_ms, end_ms = self.closing.periods.bounds(period)
            if self.closes_ms(end_ms) <= after_ms:
                return
            yield start_ms, self.closes_ms(end_ms)

    def known_ms(self, time_ms: int) -> int:
        """When the period that holds a time, or ends with it, is closed."""
        (period,) = self.period_of(np.array([time_ms - 1])).tolist()
        return self.closes_ms(self.closing.periods.bounds(period)[1])

    def pass_time(
        self,
        columns: Mapping[str, NDArray],
        kind: str,
        watermark_ms: int,
        customers: Customers,
    ) -> None:
        """Nothing to do where parameters matter only once every kind has closed a period."""

    def close(
        self, columns: Mapping[str, NDArray], watermark_ms: int, customers: Customers
    ) -> RuleOutput:
        """What every period leads to that the watermark closes now."""
        if not self.may_close(watermark_ms):
            return RuleOutput()
        return self._close(columns, self.closing.reached(watermark_ms), customers)

    def close_ended(
        self, columns: Mapping[str, NDArray], last_event_ms: int, customers: Customers
    ) -> RuleOutput:
        """The same for every period that ended before the last event: the input is at its end."""
        return self._close(columns, self.closing.ended(last_event_ms), customers)

    def _close(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        return self.close_periods(columns, periods, customers) if periods else RuleOutput()
