"""Many times the bytes that the others of a cohort write to their storage in a day."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import isfinite
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.periods.calendar import calendar
from detectors.periods.closing import PERIODS_KEPT, PeriodCloser
from detectors.periods.ring import PeriodRing
from detectors.rules.contract import (
    Batch,
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
from schemas.hashing import Hashes, hash_strings
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.records import CohortAverage, CohortSum, Window
from schemas.units import HOUR_MS, Ints, Mask

SHORTEST_DAY_HOURS = 23

Candidate = tuple[str, int, int]
"""A customer, the hash of the cohort, and what was written in a day."""


class FloodParameters(RuleParameters, kw_only=True, frozen=True):
    """`ratio` times the mean or more counts, but never less than `at_least_bytes`.

    A smaller cohort than `cohort_min` has no mean. A day closes when the watermark is
    `lateness_hours` past its end; until its mean comes a partition remembers the `candidates_max`
    customers who wrote most, of those who wrote `at_least_bytes`.
    """

    ratio: Annotated[float, Meta(gt=0), LIVE]
    at_least_bytes: Annotated[Positive, LIVE]
    cohort_min: Annotated[Positive, LIVE]
    lateness_hours: Annotated[int, Meta(ge=0, le=31 * 24)]
    candidates_max: Positive

    def __post_init__(self) -> None:
        """Refuse what is no number."""
        super().__post_init__()
        if not isfinite(self.ratio):
            raise ValueError("`ratio` has to be a finite number")


class StorageFlood(ClosingRuleBase):
    """Compare what each customer writes in a local day with the mean of the same cohort.

    The mean is over all customers of the cohort who are announced and under contract that day,
    whether they wrote or not; of customers never announced, over those who wrote.

    What it catches: days of `ratio` times the mean or more, `at_least_bytes` at least.
    What it misses: a flood spread over several days; a cohort that is too small for a mean, or
    floods together; past `candidates_max` in one partition and day, those who wrote least.
    Delay: the day's end plus the lateness, and until the last partition has closed it.
    False alarms: the first upload of a backup client is as large as a flood and quite innocent: it
    comes once, and what is stored grows by as much as was written. The notice harms nobody. Of
    9,000 generated customers (62 days, seeds 1 to 3) nobody was wrongly found; no real data was at
    hand.

    References
    ----------
    Clause base-cloud 3.1.
    """

    name: ClassVar[str] = "storage_flood"
    declaration: ClassVar[Declaration] = Declaration(
        section="Storage",
        services=("storage",),
        units=(BYTES,),
        what="bytes written in a day against the mean of the same cohort",
        limit="{ratio:g} times the mean, or more, and {at_least_bytes:bytes}",
        misses="a flood spread over several days; a cohort under {cohort_min} customers; known "
        "only two days after the day",
    )
    reads: ClassVar[tuple[str, ...]] = ("storage",)
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[FloodParameters]] = FloodParameters

    def __init__(self, parameters: FloodParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.days = calendar(policy.timezone, "day")
        # A mean of earlier days than these never comes.
        self.closing = PeriodCloser(self.days, parameters.lateness_hours * HOUR_MS, PERIODS_KEPT)
        # Days that are not closed yet; the one before the newest always may be.
        self.ring = PeriodRing(parameters.lateness_hours // SHORTEST_DAY_HOURS + 1)
        self.ratio = Fraction(str(parameters.ratio))
        self.candidates: dict[int, list[Candidate]] = {}
        self.fields = (Field(self.name, "<i8", self.ring.width),)

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's day is not closed yet: what was judged stays as it is."""
        return self.days.period_of(time_ms) > self.closing_period(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Add a batch to the days' bytes; nobody is judged before the day is closed."""
        cells = columns[self.name]
        row = np.flatnonzero(batch.fields["written_bytes"] > 0)
        row = row[self.accepts(batch.time_ms[row], batch.watermark_ms[row])]
        slot, day = batch.slot[row], self.days.period_of(batch.time_ms[row])
        total = self.ring.totals(cells, slot, day, batch.fields["written_bytes"][row])
        newest = int(self.days.period_of(np.array([batch.newest_ms]))[0])
        self.ring.write(cells, slot, day, total, newest)
        return []

    # -- closed days ----------------------------------------------------------------------------

    def close_periods(
        self, columns: Mapping[str, NDArray], days: range, customers: Customers
    ) -> RuleOutput:
        """This partition's share of every day that is closed now."""
        slot = np.arange(customers.directory.size)
        cohort = customers.cohort(slot)
        shares = []
        for day in days[-PERIODS_KEPT:]:
            written = self._day(columns, day)[: len(slot)]
            shares.append(self._share(day, written, cohort, customers))
            self._remember_candidates(day, written, cohort, customers)
        kept = range(days.stop - PERIODS_KEPT, days.stop)
        self.candidates = {day: c for day, c in self.candidates.items() if day in kept}
        return RuleOutput(sums=tuple(shares))

    def _day(self, columns: Mapping[str, NDArray], day: int) -> Ints:
        cells = columns[self.name]
        if self.ring.newest < 0 or not self.ring.holds(np.array([day]), self.ring.newest)[0]:
            return np.zeros(len(cells), np.int64)
        return cells[:, day % self.ring.width]

    def _share(self, day: int, written: Ints, cohort: Hashes, customers: Customers) -> PeriodSums:
        start_ms, end_ms = self.days.bounds(day)
        slot = np.arange(len(written))
        since_ms = customers.valid_from_ms(slot)
        there = np.where(customers.has_ended(slot), since_ms > start_ms, since_ms < end_ms)
        # Who was never announced is only known by use.
        counted = np.where(customers.is_announced(slot), there, written > 0)
        hashes, member = np.unique(cohort[counted], return_inverse=True)
        totals = np.zeros(len(hashes), np.int64)
        np.add.at(totals, member, written[counted])
        counts = np.bincount(member, minlength=len(hashes))
        sums = [
            CohortSum(cohort=customers.cohort_name(key), total=total, customers=count)
            for key, total, count in zip(
                hashes.tolist(), totals.tolist(), counts.tolist(), strict=True
            )
        ]
        return PeriodSums(start_ms, end_ms, tuple(sorted(sums, key=lambda each: each.cohort)))

    def _remember_candidates(
        self, day: int, written: Ints, cohort: Hashes, customers: Customers
    ) -> None:
        """Keep who may turn out to flood; the cells are needed for other days by then."""
        slot = np.flatnonzero(written >= self.parameters.at_least_bytes)
        who = [name.decode() for name in customers.directory.names(slot)]
        found = zip(who, cohort[slot].tolist(), written[slot].tolist(), strict=True)
        most_first = sorted(found, key=lambda candidate: (-candidate[2], candidate[0]))
        if most_first:
            self.candidates[day] = most_first[: self.parameters.candidates_max]

    def take_mean(
        self, columns: Mapping[str, NDArray], average: CohortAverage, customers: Customers
    ) -> list[Hit]:
        """Take in a day's mean, and report which of its candidates flooded."""
        day = int(self.days.period_of(np.array([average.period_start_ms]))[0])
        return list(self._hits(average, day, int(_hash(average.cohort)), customers))

    def judge_by_given_means(
        self,
        columns: Mapping[str, NDArray],
        period_start_ms: int,
        given: Mapping[str, Any],
        customers: Customers,
    ) -> list[Hit]:
        """Judge a closed day by the mean that a finding's evidence gives for it."""
        day = int(self.days.period_of(np.array([period_start_ms]))[0])
        average = CohortAverage(
            rule=self.name,
            cohort=given["cohort"],
            period_start_ms=period_start_ms,
            period_end_ms=self.days.bounds(day)[1],
            total=given["cohort_bytes"],
            customers=given["cohort_customers"],
        )
        return self.take_mean(columns, average, customers)

    def _hits(
        self, average: CohortAverage, day: int, cohort: int, customers: Customers
    ) -> Iterator[Hit]:
        """The breaches of a cohort's day, each once: whoever is judged is no candidate any more."""
        candidates = self.candidates.pop(day, [])
        if others := [each for each in candidates if each[1] != cohort]:
            self.candidates[day] = others
        limit = self._limit(average)
        start_ms, end_ms = self.days.bounds(day)
        for who, of_cohort, written in candidates:
            if of_cohort == cohort and limit is not None and written >= limit:
                yield Hit(
                    slot=int(customers.directory.find([who.encode()])[0]),
                    event_time_ms=end_ms,
                    level="breach",
                    window=Window(kind="day", start_ms=start_ms, end_ms=end_ms),
                    observed=written,
                    limit=limit,
                    unit="bytes",
                    offset=None,
                    evidence={
                        "ratio": self.parameters.ratio,
                        "at_least_bytes": self.parameters.at_least_bytes,
                        "cohort": average.cohort,
                        "cohort_bytes": average.total,
                        "cohort_customers": average.customers,
                    },
                )

    def _limit(self, average: CohortAverage) -> int | None:
        """Fewest bytes that are a flood; None without a mean."""
        if average.customers < self.parameters.cohort_min or average.total == 0:
            return None
        times_mean = -((-self.ratio * average.total) // average.customers)
        return max(times_mean, self.parameters.at_least_bytes)

    # -- state ----------------------------------------------------------------------------------

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Empty the cells that later days took over since a row was written."""
        self.ring.catch_up(columns[self.name], slots, self.days.period_of(written_ms))

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """What was written on the newest day, whose mean is not known yet."""
        if self.ring.newest < 0:
            return []
        start_ms, end_ms = self.days.bounds(self.ring.newest)
        window = Window(kind="day", start_ms=start_ms, end_ms=end_ms)
        written = int(self._day(columns, self.ring.newest)[slot])
        return [Standing(window=window, observed=written, limit=None, unit="bytes")]

    def remember(self) -> Any:
        """The newest day, the last closed one, and who may have flooded."""
        return [self.ring.newest, self.closing.remember(), list(self.candidates.items())]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        self.ring.newest, closing, candidates = memory
        self.closing.recall(closing)
        self.candidates = {day: [tuple(each) for each in found] for day, found in candidates}


def _hash(cohort: str) -> np.uint64:
    return hash_strings([cohort])[0]
