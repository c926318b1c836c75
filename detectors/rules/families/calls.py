"""What the rules about calling time share: a call counts in each period that it spans."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np

from detectors.periods.ring import Periods
from detectors.rules.contract import Batch
from detectors.rules.families.counting import CountingParameters, CountingRule, Limit
from schemas.events import CALL_MS_MAX
from schemas.policy import LIVE, RuleParameters
from schemas.units import Ints


def split(periods: Periods, start_ms: Ints, end_ms: Ints) -> tuple[Ints, Ints, Ints]:
    """Cut calls into parts at the starts of periods.

    Returns
    -------
    For each part the index of its call, its period, and its length in ms; shape (k,) each. The
    parts of one call follow each other in time.
    """
    first, last = periods.period_of(start_ms), periods.period_of(end_ms - 1)
    if (first == last).all():
        return np.arange(len(first)), first, end_ms - start_ms
    parts = last - first + 1
    call = np.repeat(np.arange(len(first)), parts)
    period = first[call] + np.arange(len(call)) - np.repeat(np.cumsum(parts) - parts, parts)
    distinct, which = np.unique(period, return_inverse=True)
    bounds = np.array([periods.bounds(p) for p in distinct.tolist()], np.int64)[which]
    begin = np.maximum(start_ms[call], bounds[:, 0])
    return call, period, np.minimum(end_ms[call], bounds[:, 1]) - begin


class CallTimeParameters(CountingParameters, kw_only=True, frozen=True):
    """`limit_ms` is the longest calling time of a period that is still allowed."""

    limit_ms: Annotated[Limit, LIVE]


class CallTime(CountingRule):
    """Count how long a customer calls: each period counts the part of a call that lies in it."""

    reads: ClassVar[tuple[str, ...]] = ("voice",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {"voice": ("is_originated", "duration_ms")}
    Parameters: ClassVar[type[RuleParameters]] = CallTimeParameters
    longest_ms: ClassVar[int] = CALL_MS_MAX

    def limit_of(self, parameters: Any) -> int:
        """Longest calling time of a period that is still allowed, ms."""
        return parameters.limit_ms

    def pieces(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """A piece for each period that a call the customer made spans."""
        row = np.flatnonzero(batch.fields["is_originated"] & (batch.fields["duration_ms"] > 0))
        start = batch.time_ms[row]
        call, period, amount = split(self.periods, start, start + batch.fields["duration_ms"][row])
        return row[call], period, amount
