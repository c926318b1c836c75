"""The ladders of a replay, and what enforcement and people answer to their actions."""

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from detectors.ladder.assumed_enforcement import AssumedEnforcement
from detectors.ladder.ladder import Ladder, is_about_brake
from detectors.policies.editions import Edition
from schemas.policy import Policy
from schemas.records import Action, Decision, EnforcementResult, Finding
from streams.broker.partitioner import partitions_of

ASSUMED = AssumedEnforcement()

EVERYBODY = ""
"""In place of a customer id: the record is about the brake."""

ResultOrDecision = EnforcementResult | Decision
"""What enforcement or a person says about actions."""


class Ladders:
    """The ladder of each partition; each answer is told before later findings of its customer.

    Kinds of usage do not come in the order of their times, so an answer about one customer does not
    wait for the findings of others. An answer about the brake waits for any finding.

    Parameters
    ----------
    policy
        The rules.
    partitions
        How many partitions there are.
    enforcement
        What is assumed of enforcement; None where nothing is assumed.
    """

    def __init__(
        self, policy: Policy, partitions: int, enforcement: AssumedEnforcement | None
    ) -> None:
        self.of_partition = [Ladder(number, policy, enforcement) for number in range(partitions)]
        self._findings_taken = [0] * partitions
        self._waiting: dict[tuple[int, str], deque[ResultOrDecision]] = {}
        self._answers_taken = 0

    @property
    def held_count(self) -> int:
        """How many actions the brakes hold back now."""
        return sum(sum(ladder.alerts.held.values()) for ladder in self.of_partition)

    def announce_policy(self, edition: Edition) -> None:
        """Take in a policy that holds from its time on.

        Parameters
        ----------
        edition
            The policy and its time.
        """
        for ladder in self.of_partition:
            ladder.announce_policy(edition)

    def hear(self, answers: Iterable[ResultOrDecision]) -> None:
        """Keep results and decisions until their time has come.

        Parameters
        ----------
        answers
            Results and decisions, in any order.
        """
        ordered = sorted(answers, key=lambda answer: answer.time_ms)
        ids = [answer.customer_id.encode() for answer in ordered]
        if ids:
            numbers = partitions_of(ids, len(self.of_partition)).tolist()
            for number, answer in zip(numbers, ordered, strict=True):
                about = EVERYBODY if is_about_brake(answer) else answer.customer_id
                self._waiting.setdefault((number, about), deque()).append(answer)

    def fold(self, partition: int, findings: Sequence[Finding], customers: int) -> list[Action]:
        """Take findings in, after the answers that came before them.

        Parameters
        ----------
        partition
            Number of the partition that the findings are of.
        findings
            What was found, in order.
        customers
            How many customers the partition knows; the brake's limits depend on it.

        Returns
        -------
        The actions that follow, in order.
        """
        actions: list[Action] = []
        ladder = self.of_partition[partition]
        ladder.set_customer_count(customers)
        for finding in findings:
            for about in (EVERYBODY, finding.customer_id):
                actions += self._tell(partition, about, finding.known_ms)
            actions += ladder.fold([finding], [self._findings_taken[partition]])
            self._findings_taken[partition] += 1
        return actions

    def end(self, last_ms: int) -> list[Action]:
        """Take in all answers that are left, and let time pass up to the last of them.

        Parameters
        ----------
        last_ms
            Event time up to which time passes at least.

        Returns
        -------
        The actions that follow, in order.
        """
        actions: list[Action] = []
        left = [(answers[0].time_ms, key) for key, answers in self._waiting.items() if answers]
        heapify(left)
        while left:
            time_ms, key = heappop(left)
            last_ms = max(last_ms, time_ms)
            actions += self._tell(*key, time_ms + 1)
            if self._waiting[key]:
                heappush(left, (self._waiting[key][0].time_ms, key))
        for ladder in self.of_partition:
            actions += ladder.end(last_ms)
        return actions

    def _tell(self, partition: int, about: str, until_ms: int) -> list[Action]:
        """Take in the answers about a customer from before a time."""
        actions: list[Action] = []
        answers, ladder = self._waiting.get((partition, about), ()), self.of_partition[partition]
        while answers and answers[0].time_ms < until_ms:
            answer = answers.popleft()
            if isinstance(answer, Decision):
                actions += ladder.decided([answer], [self._answers_taken])
            else:
                actions += ladder.result([answer], [self._answers_taken])
            self._answers_taken += 1
        return actions
