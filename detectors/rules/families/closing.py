"""Shared by rules that look at whole periods once they are closed."""

from collections.abc import Iterator, Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.periods.closing import ClosedPeriods, PeriodCloser
from detectors.rules.contract import RuleOutput
from detectors.state.customers import Customers
from schemas.units import Ints


class ClosingMemory(Struct, frozen=True):
    """The newest period that a rule has cells for, and which periods are closed."""

    newest: int
    closing: ClosedPeriods


class ClosingRuleBase:
    """Base of a `ClosingRule`: `closing` closes periods, a subclass says what follows."""

    closing: PeriodCloser

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """Hits and cohort sums of the periods that are closed now; there is at least one."""
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
        """Start of each period that is closed between two watermarks, and its closing watermark."""
        (last,) = self.closing_period(np.array([until_ms])).tolist()
        for period in range(last, -1, -1):
            start_ms, end_ms = self.closing.periods.bounds(period)
            if self.closes_ms(end_ms) <= after_ms:
                return
            yield start_ms, self.closes_ms(end_ms)

    def known_ms(self, time_ms: int) -> int:
        """The watermark that closes the period which holds a time, or ends with it."""
        (period,) = self.period_of(np.array([time_ms - 1])).tolist()
        return self.closes_ms(self.closing.periods.bounds(period)[1])

    def pass_time(
        self,
        columns: Mapping[str, NDArray],
        kind: str,
        watermark_ms: int,
        customers: Customers,
    ) -> None:
        """Does nothing: parameters count only once all kinds that the rule reads close a period."""

    def close(
        self, columns: Mapping[str, NDArray], watermark_ms: int, customers: Customers
    ) -> RuleOutput:
        """Hits and cohort sums of every period that the watermark closes now."""
        if not self.may_close(watermark_ms):
            return RuleOutput()
        return self._close(columns, self.closing.reached(watermark_ms), customers)

    def close_ended(
        self, columns: Mapping[str, NDArray], last_event_ms: int, customers: Customers
    ) -> RuleOutput:
        """The same for every period that ended before the last event, at the end of the input."""
        return self._close(columns, self.closing.ended(last_event_ms), customers)

    def _close(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        return self.close_periods(columns, periods, customers) if periods else RuleOutput()
