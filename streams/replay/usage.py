"""All partitions of a replay: usage in, findings out, with the means of cohorts between them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from detectors.fold.cohort_means import CohortMeans
from detectors.fold.outcome import Outcome
from detectors.fold.partition import Partition
from detectors.fold.provenance import Origin
from detectors.policies.editions import Edition
from schemas.columns import Columns
from schemas.decode import Reject
from schemas.policy import Policy
from schemas.records import CohortPartial, Customer, Finding
from streams.broker.partitioner import partitions_of
from streams.replay.order import Homes, cut_around, split_rows

NEVER_MS = 2**62


class Found(NamedTuple):
    """What one partition found, and the events that it could not use."""

    partition: int
    findings: list[Finding]
    rejects: list[Reject]


class Means(Protocol):
    """Where the means of closed periods come from."""

    def findings(
        self, partials: Sequence[CohortPartial], partitions: Sequence[Partition]
    ) -> Iterator[tuple[int, list[Finding]]]:
        """Let the partitions compare their customers with the means that are known now.

        Parameters
        ----------
        partials
            The partial sums of periods that were closed since the last call.
        partitions
            Every partition, by number.

        Returns
        -------
        Numbers of partitions, each with what it found.
        """
        ...


class MeansOfPartitions:
    """Means over all partitions; each is frozen once every partition has closed its period."""

    def __init__(self) -> None:
        self._means = CohortMeans()

    def findings(
        self, partials: Sequence[CohortPartial], partitions: Sequence[Partition]
    ) -> Iterator[tuple[int, list[Finding]]]:
        """Freeze the means that are complete now, and hand them to every partition.

        Parameters
        ----------
        partials
            The partial sums of periods that were closed since the last call.
        partitions
            Every partition, by number.

        Returns
        -------
        Numbers of partitions, each with what it found.
        """
        for partial in partials:
            self._means.add(partial)
        for mean in self._means.complete(len(partitions)):
            self._means.freeze(mean)
            for number, partition in enumerate(partitions):
                yield number, partition.take_mean(mean)


class Usage:
    """Folds usage events into the partitions of their customers.

    Parameters
    ----------
    policy
        The rules.
    partitions
        How many partitions there are.
    dedup_entries_max
        Event ids remembered at most, for each partition and kind of event.
    means
        Where the means of closed periods come from.
    """

    def __init__(
        self, policy: Policy, partitions: int, dedup_entries_max: int, means: Means
    ) -> None:
        self.partitions = [Partition(n, policy, dedup_entries_max) for n in range(partitions)]
        self.counts: Counter[str] = Counter()
        self._means = means
        self._earliest_ms = NEVER_MS
        self._homes = Homes(partitions)

    def announce(self, customers: Sequence[Customer]) -> None:
        """Take in who has which plan.

        Parameters
        ----------
        customers
            Customers of any partition.
        """
        if not customers:
            return
        ids = [customer.customer_id.encode() for customer in customers]
        for number, rows in split_rows(partitions_of(ids, len(self.partitions))):
            self.partitions[number].announce([customers[row] for row in rows.tolist()])

    def announce_policy(self, edition: Edition) -> None:
        """Take in a policy that holds from its time on.

        Parameters
        ----------
        edition
            The policy and its time.
        """
        for partition in self.partitions:
            partition.announce_policy(edition)

    def fold(self, columns: Columns, origin: Origin) -> Iterator[Found]:
        """Fold events of one kind; read the iterator to its end.

        The input is cut around each event that closes a period in any partition. So the means are
        known to every event that stands after it, wherever chunks end.

        Parameters
        ----------
        columns
            The events, in the order of their offsets.
        origin
            Where they were read.

        Returns
        -------
        What each partition found, in order.
        """
        parts = self._homes.split(columns)
        for stretch in cut_around(parts, self._closing_offsets(parts)):
            partials: list[CohortPartial] = []
            for number, part in stretch:
                outcome = self.partitions[number].fold(part, origin)
                partials += outcome.partials
                self._count(outcome)
                yield Found(number, outcome.findings, outcome.rejects(part))
            yield from self._by_means(partials)

    def end(self, until_ms: int) -> Iterator[Found]:
        """Close every period that ended before a time; read the iterator to its end.

        Parameters
        ----------
        until_ms
            Event time.

        Returns
        -------
        What each partition found, in order.
        """
        partials: list[CohortPartial] = []
        for number, partition in enumerate(self.partitions):
            outcome = partition.end(until_ms)
            partials += outcome.partials
            yield Found(number, outcome.findings, [])
        yield from self._by_means(partials)

    def _by_means(self, partials: list[CohortPartial]) -> Iterator[Found]:
        for number, findings in self._means.findings(partials, self.partitions):
            yield Found(number, findings, [])

    def _closing_offsets(self, parts: list[tuple[int, Columns]]) -> set[int]:
        """Offsets of the events that close a period in any partition."""
        firsts = [int(part.time_ms.min()) for _, part in parts]
        self._earliest_ms = min([self._earliest_ms, *firsts])
        return {
            offset
            for number, part in parts
            for offset in self.partitions[number].closing_offsets(part, self._earliest_ms)
        }

    def _count(self, outcome: Outcome) -> None:
        self.counts["events"] += outcome.counted
        self.counts["duplicates"] += outcome.duplicates
        self.counts["late"] += outcome.late
