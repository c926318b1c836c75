"""Many times the data that customers with the unlimited offer use on average."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.periods.calendar import calendar
from detectors.periods.closing import PeriodCloser
from detectors.periods.regular import Regularly, RegularParameters
from detectors.rules.contract import NEVER, Batch, Correction, Customers, Declaration, Hit
from detectors.rules.families.cohort import USED, Mean, MeanRule, PeriodView
from schemas.amounts import BYTES
from schemas.policy import LIVE, Natural, Policy, Positive, RuleParameters
from schemas.records import CohortSum, Level
from schemas.safeguards import LINE
from schemas.units import HOUR_MS, Ints, Mask

COHORT = "unlimited data"

MONTHS_MAX = 120
"""Months whose bytes can be kept, and whose means are."""


class RatioParameters(RegularParameters, kw_only=True, frozen=True):
    """A month with `ratio` times the mean or more is a breach.

    The mean of fewer customers than `cohort_min` is not used. A month closes when the watermark is
    `lateness_hours` past its end; late events of the last `retention_periods` months still count.
    """

    ratio: Annotated[float, Meta(gt=0), LIVE]
    cohort_min: Annotated[Positive, LIVE]
    lateness_hours: Natural
    retention_periods: Positive

    def __post_init__(self) -> None:
        """Refuse a ratio that is no number, and more months than can be kept."""
        super().__post_init__()
        if not isfinite(self.ratio):
            raise ValueError("`ratio` has to be a finite number")
        if self.retention_periods + self.regular_window > MONTHS_MAX:
            raise ValueError(f"more than {MONTHS_MAX} months can't be kept")


class DataMonthlyRatio(MeanRule):
    """Compare each customer's calendar month with the mean of all who have the unlimited offer.

    What it catches: months of `ratio` times the mean or more, once the mean is known; months that
    make this "regularly". As an early warning, a month whose mean is not known yet is compared with
    the mean of the month before.
    What it misses: heavy use by customers whose plan is not unlimited; use that all customers raise
    together.
    Delay: the month's end plus the lateness, and until the last partition has closed the month.
    False alarms: none against the mean. Bytes that come after the month is closed count for the
    customer but not for the mean. Of 9,000 generated customers (62 days, seeds 1 to 3) nobody was
    wrongly found; no real data was at hand.

    References
    ----------
    Clause base-mobile 6.3.3(i).
    """

    name: ClassVar[str] = "data_monthly_ratio"
    declaration: ClassVar[Declaration] = Declaration(
        section="Data and plans",
        services=LINE,
        units=(BYTES,),
        period="month",
        what="bytes of a month against the mean of all with unlimited data",
        limit="{ratio:g} times the mean, or more",
        misses="heavy use without the unlimited offer; a mean that everybody raises; known only "
        "two days after the month",
    )
    reads: ClassVar[tuple[str, ...]] = ("data",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {"data": ("bytes",)}
    siblings_ms: ClassVar[int] = 0
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = RatioParameters
    means_kept: ClassVar[int] = MONTHS_MAX

    def __init__(self, parameters: RatioParameters, policy: Policy) -> None:
        # Late events and "regularly" need one month less; the other one waits for its mean.
        back = parameters.retention_periods + parameters.regular_window
        lateness_ms = parameters.lateness_hours * HOUR_MS
        closing = PeriodCloser(calendar(policy.timezone, "month"), lateness_ms, back)
        super().__init__(parameters, closing, back, {"data": "<i8"})
        self.ring = self.counted["data"].ring
        self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's month still takes late events, shape (n,)."""
        oldest = self.period_of(watermark_ms) - self.parameters.retention_periods
        return self.period_of(time_ms) >= oldest

    # -- events ---------------------------------------------------------------------------------

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Add a batch to the months' bytes; report who crosses a limit that is already known."""
        cells = self._cells(columns)
        accepted = self.accepts(batch.time_ms, batch.watermark_ms)
        row = np.flatnonzero(accepted & (batch.fields["bytes"] > 0))
        month, slot = self.period_of(batch.time_ms)[row], batch.slot[row]
        amount = batch.fields["bytes"][row]
        total = self.ring.totals(cells, slot, month, amount)
        limit = self._limits(month)
        crossed = (total >= limit) & (total - amount < limit)
        crossed &= customers.has_unlimited("data", slot)
        hits = []
        for at, months in self._months_at(np.flatnonzero(crossed), cells, slot, month, total):
            found = self._hits(int(slot[at]), int(month[at]), months)
            time_ms, offset = int(batch.time_ms[row[at]]), int(batch.offset[row[at]])
            hits += [replace(hit, event_time_ms=time_ms, offset=offset) for hit in found]
        newest = int(self.period_of(batch.watermark_ms[-1:])[0])
        self.ring.write(cells, slot, month, total, newest)
        return hits

    def _cells(self, columns: Mapping[str, NDArray]) -> NDArray:
        """Bytes of each customer and month, shape (slots, width)."""
        return self.counted["data"].of(columns)[USED]

    def _limits(self, month: Ints) -> Ints:
        """Limit of each month, `NEVER` where there is none, shape (n,)."""
        if len(month) == 0:
            return month
        first = int(month.min())
        limits = [self._limit(self._mean_month(m)) for m in range(first, int(month.max()) + 1)]
        return np.array([min(NEVER, lim or NEVER) for lim in limits], np.int64)[month - first]

    def _months_at(
        self, crossed: Ints, cells: NDArray, slot: Ints, month: Ints, total: Ints
    ) -> Iterator[tuple[int, dict[int, int]]]:
        """Each row that crossed a limit, with the bytes by month of its customer after that row."""
        wanted = set(crossed.tolist())
        months: dict[int, dict[int, int]] = {}
        for at in np.flatnonzero(np.isin(slot, slot[crossed])).tolist():
            of = int(slot[at])
            if of not in months:
                months[of] = self.ring.history(cells[of])
            months[of][int(month[at])] = int(total[at])
            if at in wanted:
                yield at, months[of]

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Take events off their months; the mean stays as it is."""
        months = self.period_of(batch.time_ms)
        taken = self._cells(columns), batch.slot, months, batch.fields["bytes"]
        hits = []
        for row, before, after in self.ring.take_off(*taken):
            month, limit = int(months[row]), self._limit(int(months[row]))
            applies = bool(customers.has_unlimited("data", batch.slot[row : row + 1])[0])
            if applies and limit is not None and after < limit <= before:
                hit = self._hit(int(batch.slot[row]), month, month, "cleared", after, {})
                hits.append(correction.caused(hit))
        return hits

    # -- closed months --------------------------------------------------------------------------

    def cohort_sums(self, closed: PeriodView) -> list[CohortSum]:
        """The sum over all who have the unlimited offer."""
        used, customers = self.used(closed, "data"), closed.customers
        slot = np.arange(len(used))
        counted = customers.were_there(slot, self.periods.bounds(closed.period)[1], used > 0)
        counted &= customers.has_unlimited("data", slot)
        total, count = int(used[counted].sum()), int(counted.sum())
        return [CohortSum(cohort=COHORT, total=total, customers=count)]

    def means_in(self, given: Mapping[str, Any]) -> tuple[str, dict[str, Mean]]:
        """The one mean of the month."""
        return COHORT, {"": Mean(given["cohort_bytes"], given["cohort_customers"])}

    def find_breaches(
        self, closed: PeriodView, cohort: str, means: Mapping[str, Mean]
    ) -> list[Hit]:
        """The month's breaches, and early warnings of the next one if its mean has not come."""
        month = closed.period
        hits = self._reaching(closed, month)
        if month + 1 not in self.means:
            # They are known when this month is closed, not when the next one is.
            known_ms = self.closes_ms(self.periods.bounds(month)[1])
            early = self._reaching(closed._replace(period=month + 1), month)
            hits += [replace(hit, event_time_ms=known_ms, known_ms=known_ms) for hit in early]
        return hits

    def _reaching(self, closed: PeriodView, mean_month: int) -> list[Hit]:
        """The hits of all whose use of a month reaches the limit of a month's mean."""
        limit = self._limit(mean_month)
        if limit is None:
            return []
        slot = np.flatnonzero(self.used(closed, "data") >= limit)
        slot = slot[closed.customers.has_unlimited("data", slot)]
        cells = self._cells(closed.columns)
        months = ((s, self.ring.history(cells[s])) for s in slot.tolist())
        return [hit for s, used in months for hit in self._hits(s, closed.period, used)]

    # -- hits -----------------------------------------------------------------------------------

    def _mean_month(self, month: int) -> int:
        """The month whose mean a month is compared with: its own, or the last until that comes."""
        return month if month in self.means else month - 1

    def _limit(self, month: int) -> int | None:
        """Fewest bytes that are `ratio` times the month's mean; None without a mean."""
        return self.times_mean(self._mean(month))

    def _mean(self, month: int) -> Mean:
        return self.means[month][COHORT][""] if month in self.means else Mean(0, 0)

    def _hits(self, slot: int, month: int, months: Mapping[int, int]) -> list[Hit]:
        """The early warning, or the breach with every month it makes regular."""
        mean_month = self._mean_month(month)
        if month != mean_month:
            return [self._hit(slot, month, mean_month, "early", months[month], {})]
        hits = [self._hit(slot, month, month, "breach", months[month], {})]
        breaches = {m: used for m, used in months.items() if self._is_breach(m, used)}
        seen = {m: self._month_evidence(m, used) for m, used in breaches.items()}
        end_ms = self.periods.bounds(month)[1]
        for last, more in self.regularly.completed(seen, month, self.periods):
            hit = self._hit(slot, last, last, "regular", breaches[last], more)
            hits.append(replace(hit, event_time_ms=end_ms))
        return hits

    def _is_breach(self, month: int, used: int) -> bool:
        limit = self._limit(month)
        return limit is not None and used >= limit

    def _month_evidence(self, month: int, observed: int) -> dict[str, Any]:
        mean = self._mean(month)
        return {
            "observed": observed,
            "cohort_bytes": mean.total,
            "cohort_customers": mean.customers,
        }

    def _hit(
        self,
        slot: int,
        month: int,
        mean_month: int,
        level: Level,
        observed: int,
        more: dict[str, Any],
    ) -> Hit:
        """A hit dated to the month's end, as one of a closed month."""
        limit = self._limit(mean_month)
        assert limit is not None, "a month without a limit has no hits"
        evidence = {
            "ratio": self.parameters.ratio,
            "mean_of_ms": self.periods.bounds(mean_month)[0],
            "cohort_bytes": self._mean(mean_month).total,
            "cohort_customers": self._mean(mean_month).customers,
            **more,
        }
        return self.closed_hit(slot, month, observed, limit, BYTES, evidence, level)

    def limit_now(self, kind: str, slot: int, customers: Customers) -> int | None:
        """The limit by the newest mean, for those who have the unlimited offer."""
        applies = bool(customers.has_unlimited("data", np.array([slot]))[0])
        return self._limit(max(self.means)) if self.means and applies else None
