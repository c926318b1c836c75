"""The ladder of one partition: findings, answers, decisions and time in; actions out."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.alarms import Alarms
from detectors.assumed import AssumedEnforcement
from detectors.brake import Brake, HeldAction
from detectors.cases import NEVER_MS, Dossier, pack_dossier, unpack_dossier
from detectors.decisions import close_case, decided, let_go
from detectors.findings import known_ms
from detectors.ladder import found
from detectors.policies import Edition
from detectors.results import answered, keep_early
from detectors.timeline import Timeline
from detectors.timers import advance, next_due_ms, take
from detectors.turn import Turn
from schemas.policy import Policy
from schemas.records import Action, Decision, EnforcementResult, Finding

FINDINGS = "findings"
RESULTS = "enforcement.results"
DECISIONS = "decisions"

Record = TypeVar("Record", Finding, EnforcementResult, Decision)
CASES = msgspec.msgpack.Decoder(dict[str, bytes])
EMPTY = pack_dossier(Dossier())
CASE, POLICY = b"case/", b"policy/"
"""What the keys of stored rows begin with."""
POLICIES = "policies."
"""What the names of a snapshot's columns begin with that hold policies."""


class Memory(Struct, frozen=True):
    """What belongs to the partition as a whole."""

    next_offset: dict[str, int]
    brake: tuple[list[str], dict[str, dict[int, int]], dict[str, float], int]


class Alerts(Struct, frozen=True):
    """What somebody should look at; all but `held` and `engaged` are counted since the start.

    `held` are actions that the brake holds, by rule; `engaged` the rules it stands on, "" for all.
    `dropped` are actions for which there was no room, `retried` those sent again, `drift`
    restrictions that came back after they had been lifted, `unanswered` actions that were given
    up, `unmatched` answers and decisions that fit nothing known.
    """

    held: dict[str, int]
    engaged: list[str]
    dropped: int
    retried: int
    drift: int
    unanswered: int
    unmatched: int


class Verdicts:
    """Open cases by customer; the same checkpoint interface as a detector partition.

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
        self.number = number
        self.timeline = Timeline(policy)
        self.enforcement = enforcement
        self.brake = Brake(policy.ladder)
        self.cases: dict[str, bytes] = {}
        """Each customer's dossier, packed."""
        self.next_offset: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._dirty: set[str] = set()
        self._alarms: Alarms | None = None

    # -- what comes in ---------------------------------------------------------------------------

    def fold(self, findings: Sequence[Finding], offsets: Sequence[int]) -> list[Action]:
        """Answer findings in the partition's order; those behind the fence were answered before."""
        return self._take_all(FINDINGS, findings, offsets, self._find)

    def result(self, results: Sequence[EnforcementResult], offsets: Sequence[int]) -> list[Action]:
        """Take in what became of actions."""
        return self._take_all(RESULTS, results, offsets, self._answer)

    def decided(self, decisions: Sequence[Decision], offsets: Sequence[int]) -> list[Action]:
        """Take in what people decided."""
        return self._take_all(DECISIONS, decisions, offsets, self._decide)

    def tick(self, now_ms: int) -> list[Action]:
        """Fire what is due by now, which must not be later than what still comes in."""
        actions: list[Action] = []
        for customer_id in self._watched().due(now_ms):
            turn = self._turn(customer_id)
            self._advance(turn, now_ms)
            actions += self._keep(turn)
        return actions

    def announce_policy(self, edition: Edition) -> bool:
        """Take in a policy that holds from its time on; tell whether it was news."""
        is_news = self.timeline.announce(edition)
        if is_news:
            # Something may be due earlier than it was.
            self._alarms = None
        return is_news

    def passed(self, kind: str, offset: int) -> None:
        """Everything up to this offset was seen, whether or not it could be used."""
        self.next_offset[kind] = max(self.next_offset.get(kind, 0), offset + 1)

    @property
    def alerts(self) -> Alerts:
        """What somebody should look at."""
        self._watched()
        names = ("dropped", "retried", "drift", "unanswered", "unmatched")
        counts = {name: self._counts[name] for name in names}
        held = dict(self.brake.counts())
        return Alerts(held=held, engaged=list(self.brake.engaged), **counts)

    # -- checkpoints -----------------------------------------------------------------------------

    def changes(self, everything: bool = False) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Keys and values of every customer's dossier touched since the last call."""
        customers = sorted(self.cases) if everything else sorted(self._dirty)
        self._dirty = set()
        if customers:
            keys = [CASE + customer.encode() for customer in customers]
            yield keys, [self.cases.get(customer, EMPTY) for customer in customers]
        if everything:
            self.timeline.rewrite()
        if chunks := self.timeline.changes():
            yield [POLICY + b"%d" % number for number, _ in chunks], [kept for _, kept in chunks]

    def remember(self) -> bytes:
        """What belongs to the partition as a whole."""
        return msgspec.msgpack.encode(Memory(self.next_offset, self.brake.remember()))

    def restore(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Put stored dossiers and policies back; `recall` has to follow before the next finding."""
        self._alarms = None
        for key, value in zip(keys, values, strict=True):
            if key.startswith(POLICY):
                self.timeline.restore(int(key.removeprefix(POLICY)), value)
                continue
            customer_id = key.removeprefix(CASE).decode()
            if value == EMPTY:
                self.cases.pop(customer_id, None)
            else:
                self.cases[customer_id] = value

    def recall(self, memory: bytes) -> None:
        """Take back what `remember` gave."""
        self._alarms = None
        recalled = msgspec.msgpack.decode(memory, type=Memory)
        self.next_offset = recalled.next_offset
        self.brake.recall(recalled.brake)

    def arrays(self) -> dict[str, NDArray]:
        """Every dossier and every policy, for a snapshot."""
        packed = msgspec.msgpack.encode(self.cases)
        policies = {POLICIES + name: array for name, array in self.timeline.arrays().items()}
        return {"cases": np.frombuffer(packed, np.uint8), **policies}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        self._alarms = None
        self.cases = CASES.decode(arrays["cases"].tobytes())
        stored = (name for name in arrays if name.startswith(POLICIES))
        self.timeline.take_arrays({name.removeprefix(POLICIES): arrays[name] for name in stored})

    def set_aside(self) -> None:
        """Nothing to do: a dossier says all there is to say of itself."""

    def rewrite(self, keys: Sequence[bytes]) -> None:
        """Store these dossiers again at the next checkpoint, because a lost writer touched them.

        Those that only the lost writer had are stored empty.
        """
        customers = (key.removeprefix(CASE) for key in keys if key.startswith(CASE))
        self._dirty.update(customer.decode() for customer in customers)
        if any(key.startswith(POLICY) for key in keys):
            self.timeline.rewrite()

    # -- one customer at a time ------------------------------------------------------------------

    def _take_all(
        self,
        kind: str,
        records: Sequence[Record],
        offsets: Sequence[int],
        take_one: Callable[[Record], list[Action]],
    ) -> list[Action]:
        self._watched()
        actions: list[Action] = []
        expected = self.next_offset.get(kind, 0)
        for record, offset in zip(records, offsets, strict=True):
            if offset >= expected:
                actions += take_one(record)
        if len(offsets):
            self.passed(kind, offsets[-1])
        return actions

    def _find(self, finding: Finding) -> list[Action]:
        is_idle = finding.shadow or finding.level == "early"
        if is_idle or finding.rule not in self.timeline.base.rules:
            return []
        return self._take(finding.customer_id, known_ms(finding), found, finding)

    def _answer(self, result: EnforcementResult) -> list[Action]:
        turn, now_ms = self._turn_at(result.customer_id, result.time_ms)
        if turn.dossier.is_out(result.action_id):
            return self._hand(turn, now_ms, answered, result)
        # The clock stays: what leads to the action is older than its answer. And of a customer who
        # has just been forgotten it is forgotten, as if a tick had seen to that.
        if turn.dossier.is_empty:
            turn.dossier = Dossier()
        keep_early(turn, result)
        return self._keep(turn)

    def _decide(self, decision: Decision) -> list[Action]:
        if is_about_brake(decision):
            is_off = decision.kind == "release_brake"
            return self._release_brake(decision) if is_off else self._drop_held(decision)
        return self._take(decision.customer_id, decision.time_ms, decided, decision)

    def _release_brake(self, decision: Decision) -> list[Action]:
        """Let go of what is held, in order; what lost its cause meanwhile is dropped on the way."""
        actions = self._come_to_held(decision)
        self.brake.release(decision.rule)

        def go(turn: Turn, held: HeldAction) -> None:
            if held.action_id in turn.dossier.orders:
                let_go(turn, held.action_id, decision)

        return actions + self._with_held(decision, go)

    def _drop_held(self, decision: Decision) -> list[Action]:
        """Drop what is held of a rule, and close the cases it belongs to."""
        self._counts["unmatched"] += not self.brake.held_of(decision.rule)

        def drop(turn: Turn, held: HeldAction) -> None:
            turn.drop(held.action_id)
            close_case(turn, held.rule, decision)

        return self._come_to_held(decision) + self._with_held(decision, drop)

    def _come_to_held(self, decision: Decision) -> list[Action]:
        """Bring customers of whom something is held to a decision: until then the brake was on."""
        actions: list[Action] = []
        held_of = self.brake.held_of(decision.rule)
        for customer_id in dict.fromkeys(held.customer_id for held in held_of):
            turn, _ = self._turn_at(customer_id, decision.time_ms)
            actions += self._keep(turn)
        return actions

    def _with_held(
        self, decision: Decision, handle: Callable[[Turn, HeldAction], None]
    ) -> list[Action]:
        actions: list[Action] = []
        for held in self.brake.held_of(decision.rule):
            actions += self._take(held.customer_id, decision.time_ms, handle, held)
        return actions

    def _take(
        self, customer_id: str, time_ms: int, handle: Callable[[Turn, Any], None], record: Any
    ) -> list[Action]:
        """Take in a record of a customer, after everything that became due before it."""
        turn, now_ms = self._turn_at(customer_id, time_ms)
        return self._hand(turn, now_ms, handle, record)

    def _turn_at(self, customer_id: str, time_ms: int) -> tuple[Turn, int]:
        """A customer's turn after all that became due by a time, and the moment it then is."""
        turn = self._turn(customer_id)
        now_ms = max(turn.dossier.clock_ms, time_ms)
        if self._watched().may_be_due(customer_id, now_ms):
            self._advance(turn, now_ms)
        return turn, now_ms

    def _hand(
        self, turn: Turn, now_ms: int, handle: Callable[[Turn, Any], None], record: Any
    ) -> list[Action]:
        self._put_under_policy(turn, now_ms)
        take(turn, now_ms, handle, record)
        return self._keep(turn)

    def _put_under_policy(self, turn: Turn, time_ms: int) -> None:
        """Have a turn go by what holds at a time; the brake is the same for all customers."""
        turn.policy = self.timeline.policy_of(turn.customer_id, time_ms)
        self.brake.ladder = self.timeline.policy_at(time_ms).ladder

    def _advance(self, turn: Turn, until_ms: int) -> None:
        """Fire what is due by then, each timer under the policy of its time."""
        for change_ms in self.timeline.changes_between(turn.dossier.clock_ms, until_ms):
            advance(turn, change_ms - 1)
            turn.dossier.clock_ms = change_ms
            self._put_under_policy(turn, change_ms)
        advance(turn, until_ms)

    def _turn(self, customer_id: str) -> Turn:
        packed = self.cases.get(customer_id)
        dossier = Dossier() if packed is None else unpack_dossier(packed)
        return Turn(
            customer_id=customer_id,
            dossier=dossier,
            policy=self.timeline.policy_of(customer_id, dossier.clock_ms),
            brake=self.brake,
            counts=self._counts,
            enforcement=self.enforcement,
        )

    def _keep(self, turn: Turn) -> list[Action]:
        """Pack the dossier again, and set the customer's alarm."""
        customer_id, dossier = turn.customer_id, turn.dossier
        before = self.cases.get(customer_id)
        if dossier.is_empty:
            if before is not None:
                del self.cases[customer_id]
                self._dirty.add(customer_id)
            return turn.out
        packed = pack_dossier(dossier)
        if packed != before:
            self.cases[customer_id] = packed
            self._dirty.add(customer_id)
        due_ms = self._due_ms(customer_id, dossier)
        if due_ms < NEVER_MS:
            self._watched().set(customer_id, due_ms)
        return turn.out

    def _due_ms(self, customer_id: str, dossier: Dossier) -> int:
        """When to look at a customer again: with the first timer, or another policy before it."""
        policy = self.timeline.policy_of(customer_id, dossier.clock_ms)
        due_ms = next_due_ms(dossier, policy)
        return min([due_ms, *self.timeline.changes_between(dossier.clock_ms, due_ms)])

    def _watched(self) -> Alarms:
        """Who has to be looked at when; found out anew once the cases came from elsewhere."""
        if self._alarms is None:
            due_ms: dict[str, int] = {}
            held: dict[int, HeldAction] = {}
            for customer_id, packed in self.cases.items():
                dossier = unpack_dossier(packed)
                due_ms[customer_id] = self._due_ms(customer_id, dossier)
                for action_id, order in dossier.orders.items():
                    if order.state == "held":
                        held[order.number] = HeldAction(customer_id, action_id, order.rule)
            self.brake.held = dict(sorted(held.items()))
            self._alarms = Alarms(due_ms)
        return self._alarms


def is_about_brake(record: EnforcementResult | Decision) -> bool:
    """Whether a record is a decision about what the brake holds, of any customer."""
    if not isinstance(record, Decision):
        return False
    is_of_rule = record.action_id is None and record.rule is not None
    return record.kind == "release_brake" or (record.kind == "reject" and is_of_rule)
