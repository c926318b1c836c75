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
from detectors.cases import Dossier, pack_dossier, unpack_dossier
from detectors.decisions import close_case, decided, let_go
from detectors.ladder import found
from detectors.results import answered
from detectors.timers import NEVER_MS, advance, next_due_ms, take
from detectors.turn import Turn
from schemas.policy import Policy
from schemas.records import Action, Decision, EnforcementResult, Finding

FINDINGS = "findings"
RESULTS = "enforcement.results"
DECISIONS = "decisions"

Record = TypeVar("Record", Finding, EnforcementResult, Decision)
CASES = msgspec.msgpack.Decoder(dict[str, bytes])
EMPTY = pack_dossier(Dossier())


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
        The rules and the ladder.
    enforcement
        What answers each action at once; None where answers come to `result`.
    """

    def __init__(
        self, number: int, policy: Policy, enforcement: AssumedEnforcement | None = None
    ) -> None:
        self.number = number
        self.policy = policy
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
            advance(turn, now_ms)
            actions += self._keep(turn)
        return actions

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
            keys = [b"case/" + customer.encode() for customer in customers]
            yield keys, [self.cases.get(customer, EMPTY) for customer in customers]

    def remember(self) -> bytes:
        """What belongs to the partition as a whole."""
        return msgspec.msgpack.encode(Memory(self.next_offset, self.brake.remember()))

    def restore(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Put stored dossiers back; `recall` has to follow before the next finding."""
        self._alarms = None
        for key, value in zip(keys, values, strict=True):
            customer_id = key.partition(b"/")[2].decode()
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
        """Every dossier, for a snapshot."""
        packed = msgspec.msgpack.encode(self.cases)
        return {"cases": np.frombuffer(packed, np.uint8)}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        self._alarms = None
        self.cases = CASES.decode(arrays["cases"].tobytes())

    def set_aside(self) -> None:
        """Nothing to do: a dossier says all there is to say of itself."""

    def rewrite(self, keys: Sequence[bytes]) -> None:
        """Store these dossiers again at the next checkpoint, because a lost writer touched them.

        Those that only the lost writer had are stored empty.
        """
        self._dirty.update(key.partition(b"/")[2].decode() for key in keys)

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
        if is_idle or finding.rule not in self.policy.rules:
            return []
        return self._take(finding.customer_id, finding.event_time_ms, found, finding)

    def _answer(self, result: EnforcementResult) -> list[Action]:
        return self._take(result.customer_id, result.time_ms, answered, result)

    def _decide(self, decision: Decision) -> list[Action]:
        if is_about_brake(decision):
            is_off = decision.kind == "release_brake"
            return self._release_brake(decision) if is_off else self._drop_held(decision)
        return self._take(decision.customer_id, decision.time_ms, decided, decision)

    def _release_brake(self, decision: Decision) -> list[Action]:
        """Let go of what is held, in order; what lost its cause meanwhile is dropped on the way."""
        self.brake.release(decision.rule)

        def go(turn: Turn, held: HeldAction) -> None:
            if held.action_id in turn.dossier.orders:
                let_go(turn, held.action_id, decision)

        return self._with_held(decision, go)

    def _drop_held(self, decision: Decision) -> list[Action]:
        """Drop what is held of a rule, and close the cases it belongs to."""

        def drop(turn: Turn, held: HeldAction) -> None:
            turn.drop(held.action_id)
            close_case(turn, held.rule, decision)

        return self._with_held(decision, drop)

    def _with_held(
        self, decision: Decision, handle: Callable[[Turn, HeldAction], None]
    ) -> list[Action]:
        actions: list[Action] = []
        chosen = self.brake.held_of(decision.rule)
        if not chosen:
            self._counts["unmatched"] += decision.kind == "reject"
        for held in chosen:
            actions += self._take(held.customer_id, decision.time_ms, handle, held)
        return actions

    def _take(
        self, customer_id: str, time_ms: int, handle: Callable[[Turn, Any], None], record: Any
    ) -> list[Action]:
        """Take in a record of a customer, after everything that became due before it."""
        turn = self._turn(customer_id)
        now_ms = max(turn.dossier.clock_ms, time_ms)
        if self._watched().may_be_due(customer_id, now_ms):
            advance(turn, now_ms)
        take(turn, now_ms, handle, record)
        return self._keep(turn)

    def _turn(self, customer_id: str) -> Turn:
        packed = self.cases.get(customer_id)
        return Turn(
            customer_id=customer_id,
            dossier=Dossier() if packed is None else unpack_dossier(packed),
            policy=self.policy,
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
        due_ms = next_due_ms(dossier, self.policy)
        if due_ms < NEVER_MS:
            self._watched().set(customer_id, due_ms)
        return turn.out

    def _watched(self) -> Alarms:
        """Who has to be looked at when; found out anew once the cases came from elsewhere."""
        if self._alarms is None:
            due_ms: dict[str, int] = {}
            held: dict[int, HeldAction] = {}
            for customer_id, packed in self.cases.items():
                dossier = unpack_dossier(packed)
                due_ms[customer_id] = next_due_ms(dossier, self.policy)
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
