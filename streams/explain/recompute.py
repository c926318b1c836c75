"""A finding computed again: the same rules over the input that its evidence names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice
from typing import Any

import numpy as np

from detectors.fold.provenance import Origin
from detectors.periods.calendar import calendar
from detectors.policies.editions import Edition
from detectors.rules.contract import WalkingRule
from schemas.columns import Columns
from schemas.decode import Reject
from schemas.policy import Policy
from schemas.records import CohortPartial, Customer, Finding, PolicyRef
from schemas.units import DAY_MS, HOUR_MS
from streams.broker.partitioner import partition_of, partitions_of
from streams.files.sources import Chunk
from streams.replay.replay import CUSTOMERS_AT_ONCE, Replay, Results

CLOSING_MS = 2 * DAY_MS
"""A timer that ends within a day is looked at once that day is over."""

STEPPED = ("day", "week", "month")
"""Windows in which the count is followed step by step."""

COMPARED = ("observed", "limit", "window", "event_time_ms", "finding_id")


@dataclass(frozen=True, slots=True)
class Policies:
    """The policy that the workers were started with, and those that took effect since."""

    base: Policy
    later: Sequence[Edition] = ()

    def name_for(self, ref: PolicyRef) -> str:
        """Name and version of the policy that a record names, or of the first if it is unknown."""
        known = [policy_name(edition.policy) for edition in self.later]
        name = f"{ref.name} {ref.version}"
        return name if name in known else policy_name(self.base)


def policy_name(policy: Policy) -> str:
    """Name and version of a policy."""
    return f"{policy.name} {policy.version}"


@dataclass(frozen=True, slots=True)
class Recomputation:
    """What came of a finding when it was computed again.

    `again` is None where nothing was found; `reached` is how far the customer came by then, if the
    rule tells. `counts` are those that the chart shows, by the start of the time they are about;
    `events` were read; the plan that they were held against holds from `plan_from_ms` on.
    """

    finding: Finding
    again: Finding | None
    reached: int | None
    counts: dict[int, int]
    events: int
    plan_from_ms: int

    @property
    def differences(self) -> list[str]:
        """Which parts of the finding are not as they were said to be."""
        if self.again is None:
            return ["finding"]
        names = [
            name
            for name in COMPARED
            if self.again.policy == self.finding.policy or name != "finding_id"
        ]
        return [name for name in names if getattr(self.again, name) != getattr(self.finding, name)]

    @property
    def agrees(self) -> bool:
        """Whether the same came of it."""
        return not self.differences


def recompute(
    finding: Finding,
    policies: Policies,
    customers: Iterable[Customer],
    chunks: Iterable[Chunk],
    partitions: int,
    dedup_entries_max: int,
) -> Recomputation:
    """Fold the customer's partition of the named input again, and look for the finding.

    The others of the partition are read too: what is late, and what many do together, depends on
    them. The means of other partitions are taken as the evidence gives them.

    Parameters
    ----------
    finding
        The finding.
    policies
        The rules; those of another version than the finding's may lead to another result.
    customers
        Who has which plan.
    chunks
        The input.
    partitions
        How many partitions the input was split into; one if it is a partition's.
    dedup_entries_max
        Event ids remembered at most, for each kind of event.
    """
    rerun = Rerun(finding, policies, dedup_entries_max)
    home = partition_of(finding.customer_id.encode(), partitions)
    rerun.announce(_of_partition(customers, home, partitions))
    same = [
        other for other in _findings(rerun, chunks, home, partitions) if _is_same(other, finding)
    ]
    # Where two policies ran beside each other both may have found it.
    same.sort(key=lambda other: other.policy != finding.policy)
    again = same[0] if same else None
    return Recomputation(
        finding=finding,
        again=again,
        reached=rerun.reached,
        counts=rerun.samples,
        events=rerun.counts["events"],
        plan_from_ms=rerun.plan_from_ms,
    )


def _findings(
    rerun: "Rerun", chunks: Iterable[Chunk], home: int, partitions: int
) -> Iterator[Finding]:
    """Everything that is found in the partition, as it is found."""
    for chunk in chunks:
        yield from rerun.take(_part(chunk, home, partitions)).findings
    yield from rerun.end().findings


def _is_same(other: Finding, finding: Finding) -> bool:
    """Whether it is about the same: ids would differ under another version of the policy."""
    return (
        other.rule == finding.rule
        and other.customer_id == finding.customer_id
        and other.level == finding.level
        and other.window.kind == finding.window.kind
        and other.window.start_ms == finding.window.start_ms
    )


def _of_partition(customers: Iterable[Customer], home: int, partitions: int) -> Iterator[Customer]:
    waiting = iter(customers)
    while some := list(islice(waiting, CUSTOMERS_AT_ONCE)):
        homes = partitions_of([customer.customer_id.encode() for customer in some], partitions)
        yield from compress(some, homes == home)


def _part(chunk: Chunk, home: int, partitions: int) -> Chunk:
    """The events of a partition."""
    if partitions == 1:
        return chunk
    parts = []
    for columns in chunk.columns:
        if len(columns):
            homes = partitions_of(columns.customer_id.tolist(), partitions)
            parts.append(columns.take(np.flatnonzero(homes == home)))
    return replace(chunk, columns=parts)


class Rerun(Replay):
    """A replay of one partition, in which the means are those that a finding's evidence gives.

    On the way it notes where the customer stands (`samples`): hour by hour in a day, day by day in
    longer windows, and by whole windows where several of them make a finding "regular".
    """

    def __init__(self, finding: Finding, policies: Policies, dedup_entries_max: int) -> None:
        super().__init__(policies.base, 1, dedup_entries_max)
        for edition in policies.later:
            self.announce_policy(edition)
        self.finding = finding
        self.samples: dict[int, int] = {}
        self.reached: int | None = None
        self._given = means_of(finding)
        rule = self.partitions[0].rules[finding.rule]
        if isinstance(rule, WalkingRule):
            rule.begin_walks(finding.window.start_ms)
        self._days = calendar(policies.base.timezone, "day")

    @property
    def plan_from_ms(self) -> int:
        """Since when the customer's plan holds, 0 for one never announced."""
        customers = self.partitions[0].customers
        slot = customers.directory.find([self.finding.customer_id.encode()])
        return int(customers.valid_from_ms(slot)[0]) if slot[0] >= 0 else 0

    def end(self) -> Results:
        """Close the periods that the finding is about."""
        results = Results()
        window_end_ms = self.finding.window.end_ms or 0
        until_ms = max(window_end_ms, self.finding.event_time_ms + CLOSING_MS)
        outcome = self.partitions[0].end(until_ms)
        self._answer(0, outcome.findings, results)
        self._close(outcome.partials, results)
        return results

    def _slices_of(self, reached_ms: np.ndarray) -> np.ndarray:
        if self.finding.window.kind == "day" and self.finding.level != "regular":
            return reached_ms // HOUR_MS
        return self._days.period_of(reached_ms)

    def _fold(self, columns: Columns, origin: Origin, results: Results) -> list[Reject]:
        rejects = super()._fold(columns, origin, results)
        if columns.kind in self.partitions[0].rules[self.finding.rule].reads:
            self._sample(columns.kind)
        return rejects

    def _sample(self, kind: str) -> None:
        """Note where the customer stands, as the rule tells it by now."""
        told = self.partitions[0].standing(self.finding.customer_id) or {"rules": {}}
        window, unit = self.finding.window, self.finding.unit
        for standing in told["rules"].get(self.finding.rule, ()):
            start_ms = standing["window"]["start_ms"]
            if standing["unit"] != unit or standing["window"]["kind"] != window.kind:
                continue
            if start_ms == window.start_ms:
                self.reached = standing["observed"]
            if self.finding.level == "regular":
                self.samples[start_ms] = standing["observed"]
            elif start_ms == window.start_ms and window.kind in STEPPED:
                self.samples[self._step_start_ms(kind)] = standing["observed"]

    def _step_start_ms(self, kind: str) -> int:
        """Where the hour or the day begins that this kind has come to."""
        watermark_ms = self.partitions[0].watermark_ms[kind]
        if self.finding.window.kind == "day":
            return watermark_ms - watermark_ms % HOUR_MS
        return self._days.bounds(int(self._days.period_of(np.array([watermark_ms]))[0]))[0]

    def _close(self, partials: list[CohortPartial], results: Results) -> None:
        """Judge each closed period by the means that the evidence gives for it."""
        for partial in partials:
            given = self._given.get(partial.period_start_ms)
            if partial.rule == self.finding.rule and given is not None:
                found = self.partitions[0].recompute_with_means(
                    partial.rule, partial.period_start_ms, given
                )
                self._answer(0, found, results)


def means_of(finding: Finding) -> dict[int, Mapping[str, Any]]:
    """What the evidence says of each period, by its start; each breach speaks for its own."""
    breaches = finding.evidence.get("breaches", ())
    return {finding.window.start_ms: finding.evidence} | {b["start_ms"]: b for b in breaches}
