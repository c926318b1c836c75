"""Many times the bytes that the others of a cohort write to their storage in a day."""

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from detectors.periods.calendar import calendar
from detectors.periods.closing import PERIODS_KEPT, PeriodCloser
from detectors.rules.contract import Batch, Customers, Declaration, Hit, RuleOutput
from detectors.rules.families.cohort import (
    USED,
    CohortMemory,
    Mean,
    MeanRule,
    PeriodView,
    by_cohort,
)
from schemas.amounts import BYTES
from schemas.hashing import hash_strings
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.records import CohortSum
from schemas.units import HOUR_MS, Ints

SHORTEST_DAY_HOURS = 23
"""A day on which the clocks go an hour forward."""


class Candidate(Struct, frozen=True):
    """A customer who may be above the limit of a day, and the hash of the cohort."""

    customer_id: str
    cohort: int
    written: int


class FloodMemory(CohortMemory[Mean]):
    """What the family remembers, and the candidates of each closed day whose mean has not come."""

    candidates: dict[int, list[Candidate]]


class FloodParameters(RuleParameters, kw_only=True, frozen=True):
    """`ratio` times the mean or more is a breach, but never less than `at_least_bytes`.

    The mean of fewer customers than `cohort_min` is not used. A day closes when the watermark is
    `lateness_hours` past its end. Until the mean comes, a partition remembers the customers who
    wrote `at_least_bytes` or more: of more than `candidates_max`, those who wrote most.
    """

    ratio: Annotated[float, Meta(gt=0), LIVE]
    at_least_bytes: Annotated[Positive, LIVE]
    cohort_min: Annotated[Positive, LIVE]
    lateness_hours: Annotated[int, Meta(ge=0, le=31 * 24)]
    candidates_max: Positive

    def __post_init__(self) -> None:
        """Refuse a ratio that is no number."""
        super().__post_init__()
        if not isfinite(self.ratio):
            raise ValueError("`ratio` has to be a finite number")


class StorageFlood(MeanRule):
    """Compare what each customer writes in a local day with the mean of the same cohort.

    The mean is over all customers of the cohort who are announced and under contract that day,
    whether they wrote or not. Customers who were never announced are in it if they wrote.

    What it catches: days of `ratio` times the mean or more, and of `at_least_bytes` or more.
    What it misses: a flood spread over several days; a cohort that is too small for a mean, or
    whose customers all flood; past `candidates_max` in one partition and day, those who wrote less.
    Delay: the day's end plus the lateness, and until the last partition has closed the day.
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
    Parameters: ClassVar[type[RuleParameters]] = FloodParameters

    def __init__(self, parameters: FloodParameters, policy: Policy) -> None:
        lateness_ms = parameters.lateness_hours * HOUR_MS
        # No mean comes for days that are further back.
        closing = PeriodCloser(calendar(policy.timezone, "day"), lateness_ms, PERIODS_KEPT)
        # Every day that may still be open; the day before the newest always may.
        back = parameters.lateness_hours // SHORTEST_DAY_HOURS + 1
        super().__init__(parameters, closing, back, {"storage": "<i8"})
        self.candidates: dict[int, list[Candidate]] = {}

    def amounts(self, batch: Batch) -> dict[str, Ints]:
        """The bytes that each event says were written, shape (n,)."""
        return {USED: batch.fields["written_bytes"]}

    # -- closed days ----------------------------------------------------------------------------

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """This partition's partial sums of the newest days that are closed now."""
        newest = periods[-PERIODS_KEPT:]
        for day in newest:
            self._remember_candidates(PeriodView(columns, day, customers))
        kept = range(periods.stop - PERIODS_KEPT, periods.stop)
        self.candidates = {day: c for day, c in self.candidates.items() if day in kept}
        return super().close_periods(columns, newest, customers)

    def _remember_candidates(self, closed: PeriodView) -> None:
        """Keep who may be above the limit: when the mean comes, other days have taken the cells."""
        written, customers = self.used(closed, "storage"), closed.customers
        slot = np.flatnonzero(written >= self.parameters.at_least_bytes)
        who = [name.decode() for name in customers.directory.names(slot)]
        cohort = customers.cohort(slot).tolist()
        found = map(Candidate, who, cohort, written[slot].tolist())
        most_first = sorted(found, key=lambda each: (-each.written, each.customer_id))
        if most_first:
            self.candidates[closed.period] = most_first[: self.parameters.candidates_max]

    def cohort_sums(self, closed: PeriodView) -> list[CohortSum]:
        """What each cohort's customers wrote, over those who were there that day."""
        start_ms, end_ms = self.periods.bounds(closed.period)
        written, customers = self.used(closed, "storage"), closed.customers
        slot = np.arange(len(written))
        since_ms = customers.valid_from_ms(slot)
        there = np.where(customers.has_ended(slot), since_ms > start_ms, since_ms < end_ms)
        # A customer who was never announced is only known by use.
        counted = np.flatnonzero(np.where(customers.is_announced(slot), there, written > 0))
        sums = [
            CohortSum(cohort=name, total=int(written[counted[rows]].sum()), customers=len(rows))
            for name, rows in by_cohort(counted, customers)
        ]
        return sorted(sums, key=lambda each: each.cohort)

    def means_in(self, given: Mapping[str, Any]) -> tuple[str, dict[str, Mean]]:
        """The mean of the cohort that the evidence names."""
        return given["cohort"], {"": Mean(given["cohort_bytes"], given["cohort_customers"])}

    def find_breaches(
        self, closed: PeriodView, cohort: str, means: Mapping[str, Mean]
    ) -> list[Hit]:
        """The breaches of a cohort's day, each once: its candidates are forgotten."""
        mean, day, key = means[""], closed.period, int(hash_strings([cohort])[0])
        candidates = self.candidates.pop(day, [])
        if others := [each for each in candidates if each.cohort != key]:
            self.candidates[day] = others
        times_mean = self.times_mean(mean)
        if times_mean is None:
            return []
        limit = max(times_mean, self.parameters.at_least_bytes)
        evidence = {
            "ratio": self.parameters.ratio,
            "at_least_bytes": self.parameters.at_least_bytes,
            "cohort": cohort,
            "cohort_bytes": mean.total,
            "cohort_customers": mean.customers,
        }
        found = [each for each in candidates if each.cohort == key and each.written >= limit]
        slots = closed.customers.directory.find([each.customer_id.encode() for each in found])
        return [
            self.closed_hit(slot, day, each.written, limit, BYTES, evidence)
            for slot, each in zip(slots.tolist(), found, strict=True)
        ]

    # -- state ----------------------------------------------------------------------------------

    def remember(self) -> FloodMemory:
        """What the family remembers, and the candidates of each day."""
        kept = super().remember()
        return FloodMemory(kept.newest, kept.closing, kept.means, self.candidates)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        super().recall(memory)
        self.candidates = msgspec.convert(memory, FloodMemory).candidates
