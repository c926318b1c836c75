"""More calling in a day than the contract allows, and regularly so."""

from typing import Any, ClassVar, Literal

import numpy as np

from detectors.counting import CountingParameters, CountingRule, Limit
from detectors.rule import Batch, Ints
from schemas.events import CALL_MS_MAX


class VoiceParameters(CountingParameters, kw_only=True, frozen=True):
    """`limit_ms` is the longest calling time of a period that is still allowed."""

    limit_ms: Limit


class VoiceDaily(CountingRule):
    """Report the call that takes a customer's local day past the limit; midnight splits a call.

    What it catches: every day above the limit, and the days that make it "regularly". A day has 23,
    24 or 25 hours. Partial records of one call each add their own part.
    What it misses: a call counts when its record comes, not while it goes on.
    False alarms: none, the sum is exact; calls held at the same time both count.

    References
    ----------
    Clause base-mobile 6.3.3(iii).
    """

    name: ClassVar[str] = "voice_daily"
    reads: ClassVar[tuple[str, ...]] = ("voice",)
    Parameters: ClassVar[type[VoiceParameters]] = VoiceParameters
    calendar_unit: ClassVar[Literal["day", "week", "month"]] = "day"
    amount_unit: ClassVar[str] = "ms"
    longest_ms: ClassVar[int] = CALL_MS_MAX

    def limit_of(self, parameters: Any) -> int:
        """Longest calling time of a day that is still allowed, ms."""
        return parameters.limit_ms

    def pieces(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """The part of each originated call in each period that it spans."""
        row = np.flatnonzero(batch.fields["is_originated"] & (batch.fields["duration_ms"] > 0))
        start, end = batch.time_ms[row], batch.time_ms[row] + batch.fields["duration_ms"][row]
        first, last = self.periods.period_of(start), self.periods.period_of(end - 1)
        if (first == last).all():
            return row, first, end - start
        parts = last - first + 1
        owner = np.repeat(np.arange(len(row)), parts)
        part = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
        period = first[owner] + part
        cut = self.period_starts(np.r_[period, period + 1])
        begin = np.maximum(start[owner], cut[: len(period)])
        stop = np.minimum(end[owner], cut[len(period) :])
        return row[owner], period, stop - begin

    def period_starts(self, period: Ints) -> Ints:
        """First instant of each period, shape (n,)."""
        distinct, inverse = np.unique(period, return_inverse=True)
        starts = [self.periods.bounds(p)[0] for p in distinct.tolist()]
        return np.array(starts, np.int64)[inverse]
