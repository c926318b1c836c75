"""The ladder of one partition: findings, answers, decisions and time in; actions out."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from detectors.ladder.answers import answered, keep_early
from detectors.ladder.assumed_enforcement import AssumedEnforcement
from detectors.ladder.brake import HeldAction
from detectors.ladder.decisions import decided, end_case, let_go
from detectors.ladder.dossier import (
    UNPLACED,
    WAITING_MAX,
    Dossier,
    customer_of,
    key_of,
    unpack_dossier,
)
from detectors.ladder.steps import take_finding
from detectors.ladder.stored_ladder import StoredLadder
from detectors.ladder.timers import advance, first_waiting, take
from detectors.ladder.turn import Turn
from detectors.policies.editions import Edition
from detectors.rules.registry import RULES
from schemas.policy import Policy
from schemas.records import Action, Decision, EnforcementResult, Finding
from schemas.topics import DECISIONS, ENFORCEMENT_RESULTS, FINDINGS

Record = TypeVar("Record", Finding, EnforcementResult, Decision)


class Alerts(Struct, frozen=True):
    """What an operator should look at; all but `held` and `engaged` are counted since the start.

    `held` are actions that the brake holds, by rule; `engaged` the rules it is on for, "" for all
    rules. `dropped` are actions for which the brake had no room, `retried` those sent again,
    `drift` restrictions that were applied again after they had been lifted, `unanswered` actions
    that were given up, `unmatched` answers and decisions that fit nothing known.
    """

    held: dict[str, int]
    engaged: list[str]
    dropped: int
    retried: int
    drift: int
    unanswered: int
    unmatched: int


class Ladder:
    """Turns what comes in into actions; `state` is what it keeps, for checkpoints and snapshots.

    Parameters
    ----------
    number
        The partition.
    policy
        The rules and the ladder, until one that is announced takes effect.
    enforcement
        What answers each action at once; None where answers come to `result`.
    """

    def __init__(
        self, number: int, policy: Policy, enforcement: AssumedEnforcement | None = None
    ) -> None:
        self.state = StoredLadder(number, policy)
        self.enforcement = enforcement
        self._counts: Counter[str] = Counter()

    # -- what comes in ---------------------------------------------------------------------------

    def fold(self, findings: Sequence[Finding], offsets: Sequence[int]) -> list[Action]:
        """Apply findings in the partition's order; offsets that were applied before are skipped."""
        return self._take_all(FINDINGS, findings, offsets, self._find)

    def result(self, results: Sequence[EnforcementResult], offsets: Sequence[int]) -> list[Action]:
        """Apply what enforcement answered to actions."""
        return self._take_all(ENFORCEMENT_RESULTS, results, offsets, self._answer)

    def decided(self, decisions: Sequence[Decision], offsets: Sequence[int]) -> list[Action]:
        """Apply what people decided."""
        return self._take_all(DECISIONS, decisions, offsets, self._decide)

    def tick(self, now_ms: int) -> list[Action]:
        """Fire the timers that are due by `now_ms`; no earlier record may come after that."""
        actions: list[Action] = []
        for due_ms, key in self.state.alarms.due(now_ms):
            actions += self._let_pass(key, due_ms)
        return actions

    def end(self, last_ms: int) -> list[Action]:
        """Fire the timers that are due by the end of the input, then apply what still waits."""
        actions = self.tick(last_ms)
        for key, packed in list(self.state.cases.items()):
            waiting = unpack_dossier(packed).waiting
            if waiting:
                actions += self._let_pass(key, max(finding.known_ms for finding in waiting) + 1)
        return actions

    def announce_policy(self, edition: Edition) -> bool:
        """Take in a policy that holds from its time on; False if it was known already."""
        return self.state.announce_policy(edition)

    def set_customer_count(self, count: int) -> None:
        """Say how many customers the partition has; the brake allows a share of them an hour."""
        self.state.brake.customers = count

    @property
    def dossier_count(self) -> int:
        """How many dossiers are kept."""
        return len(self.state.cases)

    @property
    def alerts(self) -> Alerts:
        """What an operator should look at."""
        brake, counts = self.state.brake, self._counts
        return Alerts(
            held=dict(brake.counts()),
            engaged=list(brake.engaged),
            dropped=counts["dropped"],
            retried=counts["retried"],
            drift=counts["drift"],
            unanswered=counts["unanswered"],
            unmatched=counts["unmatched"],
        )

    # -- one service of a customer at a time ------------------------------------------------------

    def _take_all(
        self,
        kind: str,
        records: Sequence[Record],
        offsets: Sequence[int],
        take_one: Callable[[Record], list[Action]],
    ) -> list[Action]:
        actions: list[Action] = []
        expected = self.state.next_offset.get(kind, 0)
        for record, offset in zip(records, offsets, strict=True):
            if offset >= expected:
                actions += take_one(record)
        if len(offsets):
            self.state.passed(kind, offsets[-1])
        return actions

    def _find(self, finding: Finding) -> list[Action]:
        rule = self.state.timeline.base.rules.get(finding.rule)
        if finding.shadow or rule is None:
            return []
        if finding.level == "early" and not RULES[finding.rule].declaration.warns_early:
            return []
        key = key_of(rule.service, finding.customer_id)
        if finding.closed_period:
            return self._let_wait(key, finding)
        return self._take(key, finding.known_ms, take_finding, finding)

    def _let_wait(self, key: str, finding: Finding) -> list[Action]:
        """Keep a finding of a closed period until its `known_ms`.

        So it makes no difference in which order several kinds, or partitions, closed the period.
        """
        turn = self._turn(key)
        waiting = turn.dossier.waiting
        if finding not in waiting:
            waiting.append(finding)
        if len(waiting) > WAITING_MAX:
            self._advance(turn, first_waiting(turn.dossier).known_ms + 1)
        self._advance(turn, turn.dossier.clock_ms)
        return self._keep(turn)

    def _answer(self, result: EnforcementResult) -> list[Action]:
        for key in self.state.keys_of(result.customer_id):
            dossier = self.state.dossier(key)
            if dossier.is_out(result.action_id):
                return self._take(key, result.time_ms, answered, result, dossier)
        # It moves no clock: the finding that leads to the action is older than the answer.
        turn = self._turn(key_of(UNPLACED, result.customer_id))
        keep_early(turn, result)
        return self._keep(turn)

    def _decide(self, decision: Decision) -> list[Action]:
        if is_about_brake(decision):
            is_off = decision.kind == "release_brake"
            return self._release_brake(decision) if is_off else self._drop_held(decision)
        if decision.action_id is not None:
            return self._decide_about(decision, decision.action_id)
        keys = self._keys_meant(decision)
        self._counts["unmatched"] += not keys
        actions: list[Action] = []
        for key in keys:
            actions += self._take(key, decision.time_ms, decided, decision)
        return actions

    def _decide_about(self, decision: Decision, action_id: str) -> list[Action]:
        """Apply a decision about one action."""
        keys, actions = self.state.keys_of(decision.customer_id), list[Action]()
        for key in keys:
            if action_id in self.state.dossier(key).orders:
                return self._take(key, decision.time_ms, decided, decision)
        # The action may become due by the time of the decision.
        for key in keys:
            turn = self._turn_at(key, decision.time_ms)
            actions += self._keep(turn)
            if action_id in turn.dossier.orders:
                return actions + self._take(key, decision.time_ms, decided, decision)
        self._counts["unmatched"] += 1
        return actions

    def _keys_meant(self, decision: Decision) -> list[str]:
        """Keys of the services that a decision is about, if it names no action.

        An exemption from all rules is kept for each service that the policy has rules about.
        """
        rules, customer_id = self.state.timeline.base.rules, decision.customer_id
        if decision.rule is not None:
            rule = rules.get(decision.rule)
            return [] if rule is None else [key_of(rule.service, customer_id)]
        if decision.kind == "exempt":
            services = dict.fromkeys(rule.service for rule in rules.values())
            return [key_of(service, customer_id) for service in services]
        return self.state.keys_of(customer_id) if decision.kind == "snooze" else []

    def _release_brake(self, decision: Decision) -> list[Action]:
        """Send the held actions in order; those whose cause is gone meanwhile are dropped."""
        actions = self._come_to_held(decision)
        self.state.brake.release(decision.rule)

        def go(turn: Turn, held: HeldAction) -> None:
            if held.action_id in turn.dossier.orders:
                let_go(turn, held.action_id, decision)

        return actions + self._with_held(decision, go)

    def _drop_held(self, decision: Decision) -> list[Action]:
        """Drop the held actions of a rule, and end the episodes that they belong to."""
        self._counts["unmatched"] += not self.state.brake.held_of(decision.rule)

        def drop(turn: Turn, held: HeldAction) -> None:
            turn.drop(held.action_id)
            end_case(turn, held.rule, decision)

        return self._come_to_held(decision) + self._with_held(decision, drop)

    def _come_to_held(self, decision: Decision) -> list[Action]:
        """Fire timers up to a decision, for customers with held actions: the brake was still on."""
        actions: list[Action] = []
        held_of = self.state.brake.held_of(decision.rule)
        for customer_id in dict.fromkeys(customer_of(held.key) for held in held_of):
            for key in self.state.keys_of(customer_id):
                actions += self._keep(self._turn_at(key, decision.time_ms))
        return actions

    def _with_held(
        self, decision: Decision, handle: Callable[[Turn, HeldAction], None]
    ) -> list[Action]:
        actions: list[Action] = []
        for held in self.state.brake.held_of(decision.rule):
            actions += self._take(held.key, decision.time_ms, handle, held)
        return actions

    def _turn(self, key: str, known: Dossier | None = None) -> Turn:
        """The turn of a service, whose dossier may be known already."""
        state, customer_id = self.state, customer_of(key)
        unplaced_key = key_of(UNPLACED, customer_id)
        unplaced = state.dossier(unplaced_key)
        dossier = unplaced if key == unplaced_key else known or state.dossier(key)
        return Turn(
            key=key,
            customer_id=customer_id,
            dossier=dossier,
            unplaced=unplaced,
            policy=state.timeline.policy_of(customer_id, dossier.clock_ms),
            brake=state.brake,
            counts=self._counts,
            enforcement=self.enforcement,
        )

    def _keep(self, turn: Turn) -> list[Action]:
        """Keep what a turn worked on; the actions that came of it."""
        self.state.keep(turn.key, turn.dossier, turn.unplaced)
        return turn.out

    def _take(
        self,
        key: str,
        time_ms: int,
        handle: Callable[[Turn, Any], None],
        record: Any,
        known: Dossier | None = None,
    ) -> list[Action]:
        """Apply a record to a service, after the timers that are due before it."""
        turn = self._turn_at(key, time_ms, known)
        return self._hand(turn, max(turn.dossier.clock_ms, time_ms), handle, record)

    def _turn_at(self, key: str, time_ms: int, known: Dossier | None = None) -> Turn:
        """The turn of a service after its timers up to a time have fired."""
        turn = self._turn(key, known)
        now_ms = max(turn.dossier.clock_ms, time_ms)
        if self.state.alarms.is_due(key, now_ms):
            self._advance(turn, now_ms)
        return turn

    def _let_pass(self, key: str, until_ms: int) -> list[Action]:
        """Fire the timers of a service up to a time."""
        turn = self._turn(key)
        self._advance(turn, until_ms)
        return self._keep(turn)

    def _hand(
        self, turn: Turn, now_ms: int, handle: Callable[[Turn, Any], None], record: Any
    ) -> list[Action]:
        self._put_under_policy(turn, now_ms)
        take(turn, now_ms, handle, record)
        return self._keep(turn)

    def _put_under_policy(self, turn: Turn, time_ms: int) -> None:
        """Use the policies of a time; the brake goes by the one for everybody."""
        turn.policy = self.state.timeline.policy_of(turn.customer_id, time_ms)
        self.state.brake.ladder = self.state.timeline.policy_at(time_ms).ladder

    def _advance(self, turn: Turn, until_ms: int) -> None:
        """Fire the timers that are due by a time, each under the policy of its own time."""
        for change_ms in self.state.timeline.changes_between(turn.dossier.clock_ms, until_ms):
            advance(turn, change_ms - 1)
            turn.dossier.clock_ms = change_ms
            self._put_under_policy(turn, change_ms)
        advance(turn, until_ms)


def is_about_brake(record: EnforcementResult | Decision) -> bool:
    """Whether a record is a decision about the brake, and so about no single customer."""
    if not isinstance(record, Decision):
        return False
    is_of_rule = record.action_id is None and record.rule is not None
    return record.kind == "release_brake" or (record.kind == "reject" and is_of_rule)
