"""Many times the data that customers with the unlimited offer use on average."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import isfinite
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.periods.calendar import calendar
from detectors.periods.closing import PeriodCloser
from detectors.periods.regular import Regularly, RegularParameters
from detectors.periods.ring import PeriodRing
from detectors.rules.contract import (
    NEVER,
    Batch,
    Correction,
    Customers,
    Declaration,
    Hit,
    PeriodSums,
    RuleOutput,
    Standing,
)
from detectors.rules.families.closing import ClosingRuleBase
from detectors.state.columns import Field
from schemas.amounts import BYTES
from schemas.policy import LIVE, Natural, Policy, Positive
from schemas.records import CohortAverage, CohortSum, Window
from schemas.safeguards import LINE
from schemas.units import HOUR_MS, Ints, Mask

COHORT = "unlimited data"
MONTHS_MAX = 120


class RatioParameters(RegularParameters, kw_only=True, frozen=True):
    """`ratio` times the mean or more counts; a smaller cohort than `cohort_min` has no mean.

    A month closes when the watermark is `lateness_hours` past its end.
    """

    ratio: Annotated[float, Meta(gt=0), LIVE]
    cohort_min: Annotated[Positive, LIVE]
    lateness_hours: Natural
    retention_periods: Positive

    def __post_init__(self) -> None:
        """Refuse what does not go together, or would not fit."""
        super().__post_init__()
        if not isfinite(self.ratio):
            raise ValueError("`ratio` has to be a finite number")
        if self.retention_periods + self.regular_window > MONTHS_MAX:
            raise ValueError(f"more than {MONTHS_MAX} months can't be kept")


class DataMonthlyRatio(ClosingRuleBase):
    """Compare each customer's calendar month with the mean of all who have the unlimited offer.

    What it catches: months of `ratio` times the mean or more once the mean is known, the months
    that make it "regularly", and, as an early warning, a month that has no mean yet against the
    mean of the one before.
    What it misses: heavy use by customers whose plan is not unlimited; a mean that all raise.
    Delay: the month's end plus the lateness, and until the last partition has closed it.
    False alarms: none against the mean; bytes that come after the close count for the customer, not
    for the mean. Of 9,000 generated customers (62 days, seeds 1 to 3) nobody was wrongly found; no
    real data was at hand.

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
    Parameters: ClassVar[type[RatioParameters]] = RatioParameters

    def __init__(self, parameters: RatioParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.months = calendar(policy.timezone, "month")
        self.lateness_ms = parameters.lateness_hours * HOUR_MS
        # One more month than late events and "regularly" need: it is judged when its mean comes.
        self.ring = PeriodRing(parameters.retention_periods + parameters.regular_window)
        self.closing = PeriodCloser(self.months, self.lateness_ms, self.ring.back)
        self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        self.ratio = Fraction(str(parameters.ratio))
        self.averages: dict[int, tuple[int, int]] = {}
        self.fields = (Field(self.name, "<i8", self.ring.width),)

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's month still takes late events."""
        newest = self.months.period_of(watermark_ms)
        return self.months.period_of(time_ms) >= newest - self.parameters.retention_periods

    def close_periods(
        self, columns: Mapping[str, NDArray], months: range, customers: Customers
    ) -> RuleOutput:
        """This partition's share of every month that is closed now."""
        return RuleOutput(sums=tuple(self._share(columns, month, customers) for month in months))

    def _share(
        self, columns: Mapping[str, NDArray], month: int, customers: Customers
    ) -> PeriodSums:
        start_ms, end_ms = self.months.bounds(month)
        used = self._month(columns, month)[: customers.directory.size]
        slot = np.arange(customers.directory.size)
        counted = customers.were_there(slot, end_ms, used > 0)
        counted &= customers.has_unlimited("data", slot)
        total, count = int(used[counted].sum()), int(counted.sum())
        return PeriodSums(
            start_ms, end_ms, (CohortSum(cohort=COHORT, total=total, customers=count),)
        )

    def take_mean(
        self, columns: Mapping[str, NDArray], average: CohortAverage, customers: Customers
    ) -> list[Hit]:
        """Take in a month's mean, and report who stands at or above the limit it makes."""
        month = int(self.months.period_of(np.array([average.period_start_ms]))[0])
        if month in self.averages:
            return []
        self.averages[month] = (average.total, average.customers)
        for oldest in sorted(self.averages)[:-MONTHS_MAX]:
            del self.averages[oldest]
        hits = self._at_or_above(columns, month, month, customers)
        if month + 1 not in self.averages:
            hits += self._at_or_above(columns, month + 1, month, customers)
        return hits

    def judge_by_given_means(
        self,
        columns: Mapping[str, NDArray],
        period_start_ms: int,
        given: Mapping[str, Any],
        customers: Customers,
    ) -> list[Hit]:
        """Judge a closed month by the mean that a finding's evidence gives for it."""
        month = int(self.months.period_of(np.array([period_start_ms]))[0])
        average = CohortAverage(
            rule=self.name,
            cohort=COHORT,
            period_start_ms=period_start_ms,
            period_end_ms=self.months.bounds(month)[1],
            total=given["cohort_bytes"],
            customers=given["cohort_customers"],
        )
        return self.take_mean(columns, average, customers)

    def _at_or_above(
        self, columns: Mapping[str, NDArray], month: int, mean_month: int, customers: Customers
    ) -> list[Hit]:
        limit = self._limit(mean_month)
        if limit is None:
            return []
        used = self._month(columns, month)[: customers.directory.size]
        slot = np.flatnonzero(used >= limit)
        slot = slot[customers.has_unlimited("data", slot)]
        judged_ms = self.months.bounds(mean_month)[1] + self.lateness_ms
        early = month != mean_month
        time_ms = judged_ms if early else self.months.bounds(month)[1]
        hits = []
        for s in slot.tolist():
            months = self.ring.history(columns[self.name][s])
            hits += self._hits(s, month, mean_month, time_ms, None, months)
        return hits

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Add a batch to the months' bytes; report what crosses a limit that is already known."""
        cells = columns[self.name]
        row = np.flatnonzero(batch.fields["bytes"] > 0)
        month = self.months.period_of(batch.time_ms[row])
        newest = self.months.period_of(batch.watermark_ms)
        in_time = month >= newest[row] - self.parameters.retention_periods
        row, month = row[in_time], month[in_time]
        slot, amount = batch.slot[row], batch.fields["bytes"][row]
        total = self.ring.totals(cells, slot, month, amount)
        limit = self._limits(month)
        crossed = (total >= limit) & (total - amount < limit)
        crossed &= customers.has_unlimited("data", slot)
        hits = []
        for at, months in self._months_at(np.flatnonzero(crossed), cells, slot, month, total):
            m, time_ms = int(month[at]), int(batch.time_ms[row[at]])
            offset = int(batch.offset[row[at]])
            hits += self._hits(int(slot[at]), m, self._mean_for(m), time_ms, offset, months)
        self.ring.write(cells, slot, month, total, int(newest[-1]))
        return hits

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Take events off their months; the frozen mean stays as it is."""
        months = self.months.period_of(batch.time_ms)
        taken = columns[self.name], batch.slot, months, batch.fields["bytes"]
        hits = []
        for row, before, after in self.ring.take_off(*taken):
            month = int(months[row])
            if self._in_breach(month, before) and not self._in_breach(month, after):
                hit = self._hit(
                    int(batch.slot[row]),
                    month,
                    month,
                    "cleared",
                    correction.event_time_ms,
                    after,
                    int(batch.offset[row]),
                    {},
                )
                if customers.has_unlimited("data", batch.slot[row : row + 1])[0]:
                    hits.append(correction.told(hit))
        return hits

    def _mean_for(self, month: int) -> int:
        """Whose mean a month is held against: its own, or while that is not known the last's."""
        return month if month in self.averages else month - 1

    def _limits(self, month: Ints) -> Ints:
        """Limit of each month, `NEVER` where there is none, shape (n,)."""
        if len(month) == 0:
            return month
        first = int(month.min())
        limits = [self._limit(self._mean_for(m)) for m in range(first, int(month.max()) + 1)]
        return np.array([min(NEVER, lim or NEVER) for lim in limits], np.int64)[month - first]

    def _months_at(
        self, crossed: Ints, cells: NDArray, slot: Ints, month: Ints, total: Ints
    ) -> Iterator[tuple[int, dict[int, int]]]:
        """Each of these rows with its customer's bytes by month just after it."""
        wanted = set(crossed.tolist())
        months: dict[int, dict[int, int]] = {}
        for at in np.flatnonzero(np.isin(slot, slot[crossed])).tolist():
            of = int(slot[at])
            if of not in months:
                months[of] = self.ring.history(cells[of])
            months[of][int(month[at])] = int(total[at])
            if at in wanted:
                yield at, months[of]

    def _hits(
        self,
        slot: int,
        month: int,
        mean_month: int,
        time_ms: int,
        offset: int | None,
        months: Mapping[int, int],
    ) -> list[Hit]:
        """The early warning, or the breach with every month it makes regular."""
        observed = months[month]
        if month != mean_month:
            return [self._hit(slot, month, mean_month, "early", time_ms, observed, offset, {})]
        hits = [self._hit(slot, month, month, "breach", time_ms, observed, offset, {})]
        breaches = {m: used for m, used in months.items() if self._in_breach(m, used)}
        seen = {m: self._month_evidence(m, used) for m, used in breaches.items()}
        for last in self.regularly.completed_by(breaches, month):
            more = self.regularly.evidence(seen, last, self._start_ms)
            hit = self._hit(slot, last, last, "regular", time_ms, breaches[last], offset, more)
            hits.append(hit)
        return hits

    def _month_evidence(self, month: int, observed: int) -> dict[str, Any]:
        total, customers = self.averages[month]
        return {"observed": observed, "cohort_bytes": total, "cohort_customers": customers}

    def _start_ms(self, month: int) -> int:
        return self.months.bounds(month)[0]

    def _hit(
        self,
        slot: int,
        month: int,
        mean_month: int,
        level: str,
        time_ms: int,
        observed: int,
        offset: int | None,
        more: dict[str, Any],
    ) -> Hit:
        start_ms, end_ms = self.months.bounds(month)
        total, customers = self.averages[mean_month]
        return Hit(
            slot=slot,
            event_time_ms=time_ms,
            level=level,
            window=Window(kind="month", start_ms=start_ms, end_ms=end_ms),
            observed=observed,
            limit=self._limit(mean_month),
            unit="bytes",
            offset=offset,
            evidence={
                "ratio": self.parameters.ratio,
                "mean_of_ms": self.months.bounds(mean_month)[0],
                "cohort_bytes": total,
                "cohort_customers": customers,
                **more,
            },
        )

    def _limit(self, month: int) -> int | None:
        """Fewest bytes that are `ratio` times the month's mean or more; None without a mean."""
        total, customers = self.averages.get(month, (0, 0))
        if customers < self.parameters.cohort_min or total == 0:
            return None
        return -((-self.ratio * total) // customers)

    def _in_breach(self, month: int, used: int) -> bool:
        limit = self._limit(month)
        return limit is not None and used >= limit

    def _month(self, columns: Mapping[str, NDArray], month: int) -> Ints:
        cells = columns[self.name]
        if self.ring.newest < 0 or not self.ring.holds(np.array([month]), self.ring.newest)[0]:
            return np.zeros(len(cells), np.int64)
        return cells[:, month % self.ring.width]

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Empty the cells that later months took over since a row was written."""
        self.ring.catch_up(columns[self.name], slots, self.months.period_of(written_ms))

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The running month against the newest mean."""
        if self.ring.newest < 0:
            return []
        month = self.ring.newest
        start_ms, end_ms = self.months.bounds(month)
        applies = bool(customers.has_unlimited("data", np.array([slot]))[0])
        limit = self._limit(max(self.averages)) if self.averages and applies else None
        window = Window(kind="month", start_ms=start_ms, end_ms=end_ms)
        observed = int(self._month(columns, month)[slot])
        return [Standing(window=window, observed=observed, limit=limit, unit="bytes")]

    def remember(self) -> Any:
        """The newest month, the last closed one, and the means known so far."""
        return [self.ring.newest, self.closing.remember(), list(self.averages.items())]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        self.ring.newest, closed, averages = memory
        self.closing.recall(closed)
        self.averages = {month: (total, customers) for month, (total, customers) in averages}
