"""A finding computed again: the same rules over the input that its evidence names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice
from typing import Any

import numpy as np

from detectors.fold.partition import Partition
from detectors.periods.calendar import calendar
from detectors.policies.editions import Edition
from schemas.policy import Policy
from schemas.records import CohortPartial, Customer, Finding, PolicyRef
from schemas.units import DAY_MS, HOUR_MS, Ints
from streams.broker.partitioner import partition_of, partitions_of
from streams.files.sources import Chunk
from streams.replay.order import InStep
from streams.replay.replay import CUSTOMERS_AT_ONCE
from streams.replay.usage import Usage

CLOSING_MS = 2 * DAY_MS
"""Event time passes this far beyond the finding, so that a timer of a day is looked at."""

STEPPED = ("day", "week", "month")
"""Kinds of windows in which the chart follows the count by hours or days."""

COMPARED = ("observed", "limit", "window", "event_time_ms", "finding_id")


@dataclass(frozen=True, slots=True)
class PolicyHistory:
    """The policy that the workers were started with, and those that took effect since.

    Parameters
    ----------
    base
        The first policy.
    later
        The others, with the times from which they hold.
    """

    base: Policy
    later: Sequence[Edition] = ()

    def name_for(self, ref: PolicyRef) -> str:
        """Find the policy that a record names.

        Parameters
        ----------
        ref
            What a finding or an action says of its policy.

        Returns
        -------
        Name and version of that policy, or of the first one if that policy is unknown.
        """
        known = [policy_name(edition.policy) for edition in self.later]
        name = f"{ref.name} {ref.version}"
        return name if name in known else policy_name(self.base)


def policy_name(policy: Policy | PolicyRef) -> str:
    """Name a policy.

    Parameters
    ----------
    policy
        The policy, or what a record says of it.

    Returns
    -------
    Its name and version.
    """
    return f"{policy.name} {policy.version}"


@dataclass(frozen=True, slots=True)
class Recomputation:
    """What came of a finding when it was computed again.

    Parameters
    ----------
    finding
        The finding as it was recorded.
    again
        The finding as it was computed now; None if nothing was found.
    reached
        How far the customer came in the finding's window; None if the rule does not say so.
    counts
        The counts that the chart shows, by the start (ms) of the hour, day or window they are of.
    events
        How many events were folded.
    plan_from_ms
        Since when the customer's plan holds.
    """

    finding: Finding
    again: Finding | None
    reached: int | None
    counts: dict[int, int]
    events: int
    plan_from_ms: int

    @property
    def differences(self) -> list[str]:
        """Names of the fields that differ from the record; "finding" if nothing was found."""
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
        """Whether the same was found again."""
        return not self.differences


def recompute(
    finding: Finding,
    policies: PolicyHistory,
    customers: Iterable[Customer],
    chunks: Iterable[Chunk],
    partitions: int,
    dedup_entries_max: int,
) -> Recomputation:
    """Fold the customer's partition of the named input again, and look for the finding.

    The partition's other customers are read too: what is late, and what many do together, depends
    on them. The means of cohorts are taken from the finding's evidence.

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

    Returns
    -------
    What was found, and where the customer stood on the way.
    """
    rerun = Rerun(finding, policies, dedup_entries_max)
    home = partition_of(finding.customer_id.encode(), partitions)
    rerun.announce(_of_partition(customers, home, partitions))
    parts = (_part(chunk, home, partitions) for chunk in chunks)
    same = [other for other in rerun.run(parts) if _is_same(other, finding)]
    # Where two policies ran beside each other both may have found it.
    same.sort(key=lambda other: other.policy != finding.policy)
    return Recomputation(
        finding=finding,
        again=same[0] if same else None,
        reached=rerun.reached,
        counts=rerun.samples,
        events=rerun.usage.counts["events"],
        plan_from_ms=rerun.plan_from_ms,
    )


def _is_same(other: Finding, finding: Finding) -> bool:
    """Whether both say the same; ids differ where versions of the policy differ."""
    return (
        other.rule == finding.rule
        and other.customer_id == finding.customer_id
        and other.level == finding.level
        and other.window.kind == finding.window.kind
        and other.window.start_ms == finding.window.start_ms
    )


def _of_partition(
    customers: Iterable[Customer], home: int, partitions: int
) -> Iterator[list[Customer]]:
    left = iter(customers)
    while some := list(islice(left, CUSTOMERS_AT_ONCE)):
        homes = partitions_of([customer.customer_id.encode() for customer in some], partitions)
        yield list(compress(some, homes == home))


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


class GivenMeans:
    """The means that a finding's evidence gives, for the periods that it is about.

    Parameters
    ----------
    finding
        The finding.
    """

    def __init__(self, finding: Finding) -> None:
        self._rule = finding.rule
        self._given = means_of(finding)

    def findings(
        self, partials: Sequence[CohortPartial], partitions: Sequence[Partition]
    ) -> Iterator[tuple[int, list[Finding]]]:
        """Compare the customers with the given means, for each period that is closed now.

        Parameters
        ----------
        partials
            The partial sums of periods that were closed since the last call.
        partitions
            The one partition.

        Returns
        -------
        The partition's number, with what it found.
        """
        for partial in partials:
            given = self._given.get(partial.period_start_ms)
            if partial.rule == self._rule and given is not None:
                yield (
                    0,
                    partitions[0].recompute_with_means(
                        partial.rule, partial.period_start_ms, given
                    ),
                )


class Rerun:
    """Folds one partition again, with the means that a finding's evidence gives.

    On the way it notes where the customer stands (`samples`): hour by hour in a day, day by day in
    longer windows, and by whole windows where several of them make a finding "regular".

    Parameters
    ----------
    finding
        The finding.
    policies
        The rules.
    dedup_entries_max
        Event ids remembered at most, for each kind of event.
    """

    def __init__(self, finding: Finding, policies: PolicyHistory, dedup_entries_max: int) -> None:
        self.usage = Usage(policies.base, 1, dedup_entries_max, GivenMeans(finding))
        for edition in policies.later:
            self.usage.announce_policy(edition)
        self.finding = finding
        self.samples: dict[int, int] = {}
        self.reached: int | None = None
        self._partition = self.usage.partitions[0]
        self._partition.start_cusum(finding.rule, finding.window.start_ms)
        self._days = calendar(policies.base.timezone, "day")

    @property
    def plan_from_ms(self) -> int:
        """Since when the customer's plan holds, 0 for one never announced."""
        return self._partition.plan_from_ms(self.finding.customer_id)

    def announce(self, customers: Iterable[list[Customer]]) -> None:
        """Take in who has which plan, before any use.

        Parameters
        ----------
        customers
            Batches of customers of the partition.
        """
        for some in customers:
            self.usage.announce(some)

    def run(self, chunks: Iterable[Chunk]) -> Iterator[Finding]:
        """Fold the partition's events, then close the periods that the finding is about.

        Parameters
        ----------
        chunks
            The events.

        Returns
        -------
        Everything that is found in the partition, as it is found.
        """
        in_step = InStep(self._slice_of)
        for chunk in chunks:
            for columns in in_step.slices(chunk.columns):
                for found in self.usage.fold(columns, chunk.origin):
                    yield from found.findings
                if columns.kind in self._partition.reads(self.finding.rule):
                    self._sample(columns.kind)
        window_end_ms = self.finding.window.end_ms or 0
        for found in self.usage.end(max(window_end_ms, self.finding.event_time_ms + CLOSING_MS)):
            yield from found.findings

    def _slice_of(self, watermark_ms: Ints) -> Ints:
        """Hours for a finding of one day; local days for the others."""
        if self.finding.window.kind == "day" and self.finding.level != "regular":
            return watermark_ms // HOUR_MS
        return self._days.period_of(watermark_ms)

    def _sample(self, kind: str) -> None:
        """Note where the customer stands now."""
        told = self._partition.standing(self.finding.customer_id) or {"rules": {}}
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
        """Start of the hour or the day that this kind's watermark is in."""
        watermark_ms = self._partition.watermark_ms(kind)
        if self.finding.window.kind == "day":
            return watermark_ms - watermark_ms % HOUR_MS
        return self._days.bounds(int(self._days.period_of(np.array([watermark_ms]))[0]))[0]


def means_of(finding: Finding) -> dict[int, Mapping[str, Any]]:
    """Find the means that a finding was held against.

    Parameters
    ----------
    finding
        The finding.

    Returns
    -------
    By the start of each period, ms, the evidence that holds its means.
    """
    breaches = finding.evidence.get("breaches", ())
    return {finding.window.start_ms: finding.evidence, **{b["start_ms"]: b for b in breaches}}
