"""Twice the average use of a service: an advance or a deposit may be asked."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np

from detectors.periods.calendar import calendar
from detectors.periods.closing import PeriodCloser
from detectors.rules.contract import Batch, Customers, Declaration, Hit
from detectors.rules.families.cohort import USED, Mean, MeanRule, PeriodView
from schemas.amounts import BYTES, CALL_TIME, MESSAGES
from schemas.policy import LIVE, Natural, Policy, Positive, RuleParameters
from schemas.records import CohortSum
from schemas.safeguards import SUBSCRIPTION
from schemas.units import HOUR_MS, Ints


class DoubleParameters(RuleParameters, kw_only=True, frozen=True):
    """`ratio` times the mean or more is a breach, but never less than the service's own minimum.

    The mean of fewer customers than `cohort_min` is not used. A month closes when every kind's
    watermark is `lateness_hours` past its end. `retention_periods` is how many months one kind of
    event, or the mean, may be behind the others.
    """

    ratio: Annotated[Positive, LIVE]
    messages_min: Annotated[Natural, LIVE]
    call_ms_min: Annotated[Natural, LIVE]
    bytes_min: Annotated[Natural, LIVE]
    cohort_min: Annotated[Positive, LIVE]
    lateness_hours: Natural
    retention_periods: Positive


CELLS = {"sms": "<u4", "voice": "<u4", "data": "<i8"}
"""What a customer's use of a service in a month is stored as; a full cell stays full."""

LEAST = {"sms": "messages_min", "voice": "call_ms_min", "data": "bytes_min"}
"""The parameter below which use of a service is never a breach."""


class UsageDouble(MeanRule):
    """Compare each customer's calendar month with the mean of all customers, service by service.

    What it catches: messages sent, time of calls made, or bytes of `ratio` times the mean of the
    service or more, over all customers with any plan, those without use included. One finding a
    month names the service with the largest ratio; the evidence has every service over its limit.
    What it misses: use below the service's minimum; use that all customers raise together; events
    that come after the month is closed for their kind; a month whose cells were taken over before
    the last kind closed it. A call or session counts in full in the month in which it starts. An
    event that is corrected after its month was closed stays counted.
    Delay: the month's end plus the lateness, and until the last partition has closed it.
    False alarms: none against the limit, but ordinary use is so uneven that up to 12 % of all are
    above twice the mean (lognormal, whatever its spread). So the minimums have to be what would
    hurt if it were not paid; what a plan includes counts too. Of 9,000 generated customers (62
    days, seeds 1 to 3) nobody was wrongly found. Of 579 students of the Copenhagen Networks Study
    two were found, both above twice the mean.

    References
    ----------
    Clauses base-general 3.3(ii) and 10.1.1.
    """

    name: ClassVar[str] = "usage_double"
    declaration: ClassVar[Declaration] = Declaration(
        section="Data and plans",
        services=SUBSCRIPTION,
        units=(MESSAGES, CALL_TIME, BYTES),
        what="a month's messages, calls or bytes against the mean of the service over everybody",
        limit="{ratio} times the mean, or more, and {messages_min:,} messages, {call_ms_min:ms} "
        "or {bytes_min:bytes}",
        misses="use below those minimums; known only two days after the month",
    )
    reads: ClassVar[tuple[str, ...]] = tuple(CELLS)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sms": ("is_sent_sms",),
        "voice": ("is_originated", "duration_ms"),
        "data": ("bytes",),
    }
    siblings_ms: ClassVar[int] = 0
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = DoubleParameters
    parts: ClassVar[tuple[str, ...]] = tuple(CELLS)
    means_kept: ClassVar[int] = 24

    def __init__(self, parameters: DoubleParameters, policy: Policy) -> None:
        back = parameters.retention_periods + 1
        lateness_ms = parameters.lateness_hours * HOUR_MS
        closing = PeriodCloser(calendar(policy.timezone, "month"), lateness_ms, back)
        super().__init__(parameters, closing, back, CELLS)

    def amounts(self, batch: Batch) -> dict[str, Ints]:
        """Messages sent, time of calls made, or bytes, shape (n,)."""
        fields = batch.fields
        if batch.kind == "sms":
            return {USED: fields["is_sent_sms"].astype(np.int64)}
        if batch.kind == "voice":
            return {USED: np.where(fields["is_originated"], fields["duration_ms"], 0)}
        return {USED: fields["bytes"]}

    def cohort_sums(self, closed: PeriodView) -> list[CohortSum]:
        """The sum of each service, over everybody who was there or used any of them."""
        used = {kind: self.used(closed, kind) for kind in self.reads}
        any_use = np.any([of_kind > 0 for of_kind in used.values()], axis=0)
        end_ms = self.periods.bounds(closed.period)[1]
        counted = closed.customers.were_there(np.arange(len(any_use)), end_ms, any_use)
        return [
            CohortSum(
                cohort=kind,
                total=int(used[kind][counted].sum()),
                customers=0 if self._is_lost(kind, closed.period) else int(counted.sum()),
            )
            for kind in self.reads
        ]

    def _is_lost(self, kind: str, month: int) -> bool:
        """Whether later months took over the cells that counted this one."""
        ring = self.counted[kind].ring
        return self.closing.began.get(kind, month) < month < ring.newest - ring.back

    def split(self, cohort: str) -> tuple[str, str]:
        """All customers are one cohort; each service has a mean of its own."""
        return "", cohort

    def means_in(self, given: Mapping[str, Any]) -> tuple[str, dict[str, Mean]]:
        """The means of the services over their limits; the others get none."""
        means = dict.fromkeys(self.reads, Mean(0, 0)) | {
            kind: Mean(seen["cohort_total"], seen["cohort_customers"])
            for kind, seen in given["services"].items()
        }
        return "", means

    def find_breaches(
        self, closed: PeriodView, cohort: str, means: Mapping[str, Mean]
    ) -> list[Hit]:
        """Everybody who reaches the limit of a service, in the order of slots."""
        services: dict[int, dict[str, dict[str, Any]]] = {}
        for kind in self.reads:
            limit = self._limit(kind, means[kind])
            if limit is None:
                continue
            used = self.used(closed, kind)
            total, count = means[kind].total, means[kind].customers
            for slot in np.flatnonzero(used >= limit).tolist():
                observed = int(used[slot])
                services.setdefault(slot, {})[kind] = {
                    "observed": observed,
                    "limit": limit,
                    "unit": self.unit_of[kind].name,
                    "cohort_total": total,
                    "cohort_customers": count,
                    "ratio_per_mille": 1000 * observed * count // total,
                }
        return [self._hit(slot, closed.period, seen) for slot, seen in sorted(services.items())]

    def _limit(self, kind: str, mean: Mean) -> int | None:
        """The least use that is `ratio` times the mean and the service's minimum; None without."""
        times_mean = self.times_mean(mean)
        if times_mean is None:
            return None
        return max(times_mean, getattr(self.parameters, LEAST[kind]))

    def _hit(self, slot: int, month: int, services: dict[str, dict[str, Any]]) -> Hit:
        """The breach of the service with the largest ratio, with all that are over their limits."""
        largest = max(services, key=lambda kind: services[kind]["ratio_per_mille"])
        observed, limit = services[largest]["observed"], services[largest]["limit"]
        evidence = {"service": largest, "ratio": self.parameters.ratio, "services": services}
        return self.closed_hit(slot, month, observed, limit, self.unit_of[largest], evidence)

    def limit_now(self, kind: str, slot: int, customers: Customers) -> int | None:
        """The limit by the newest month whose means have all come."""
        whole = [m for m, means in self.means.items() if len(means[""]) == len(self.parts)]
        return self._limit(kind, self.means[max(whole)][""][kind]) if whole else None
