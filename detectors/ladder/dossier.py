"""What the ladder remembers of one service of a customer: cases, actions, what is in force.

A dossier is kept packed, as it is stored, and unpacked while the ladder works on it: a million of
them take little room, and what survives the wire is by construction all there is.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from detectors.rules.registry import RULES
from schemas.policy import Policy, RuleParameters
from schemas.records import Decision, Finding
from schemas.units import DAY_MS

SEEN_MAX = 16
"""Findings a case remembers by id, so that one that comes twice is answered once."""

DECISIONS_MAX = 4
"""Decisions a case remembers, the newest."""

ORDERS_MAX = 64
"""Actions of a service that are remembered until they are answered."""

WAITING_MAX = 64
"""Findings of closed periods that wait for their time; of more, the earliest wait no longer."""

ENDED_MAX = 8
"""Restrictions of a service that are over and still known, so that one that comes back shows."""

EARLY_MAX = 8
"""Answers of a customer that are kept because they came before their action."""

EARLY_MS = DAY_MS
"""How long after its own time an answer still may find its action."""

NEVER_MS = 1 << 62

Stage = Literal["open", "notified", "restricted", "suspended", "released", "acted"]
"""`restricted` and `suspended` say what the case calls for; `Hold` says what is in force. `acted`
is a case that led to something done once, such as a charge."""

OrderState = Literal["held", "review", "passed", "sent", "answered"]

KEPT_BACK: frozenset[OrderState] = frozenset({"held", "review", "passed"})
"""Not in force: held by the brake, before a person, or passed by both and waiting its turn."""

AnswerStatus = Literal["delivered", "applied", "failed", "expired"]


class Note(Struct, array_like=True, frozen=True):
    """What a person decided: who, when and why."""

    decision_id: str
    kind: str
    decided_by: str
    reason: str
    time_ms: int


class Case(Struct, array_like=True):
    """What stands between the operator and one customer about one rule; times are 0 for never.

    `root` is the finding that opened the episode and `step` numbers its actions: their ids follow
    from both. `proof` is the newest finding, packed. `holds` says that it told of a state which
    lasts until it is cleared. `spent_ms` is the newest window that led to all it may lead to.
    """

    stage: Stage = "open"
    root: str = ""
    step: int = 0
    proof: bytes = b""
    window_ms: int = -1
    holds: bool = False
    last_breach_ms: int = 0
    announced_ms: int = 0
    """When the first notice of the episode went out."""
    noticed_ms: int = 0
    """When the newest one did."""
    notices: list[str] = []
    """Action ids of the notices that are out and not delivered yet, one for each channel tried."""
    delivered_ms: int = 0
    carried: bool = False
    """Whether the episode's restriction has been in force."""
    released_ms: int = 0
    closed_ms: int = 0
    """When an episode was ended without a release to remember, as by a correction."""
    termination: Literal["", "proposed", "approved"] = ""
    spent_ms: int = -1
    snoozed_until_ms: int = 0
    withdrawn: bool = False
    """Whether a finding was withdrawn: its id may come again, so steps go on counting."""
    seen: dict[str, int] = {}
    """Ids of findings and the start of their windows, oldest first."""
    decisions: list[Note] = []

    def see(self, finding: Finding, is_lasting: bool) -> None:
        """Take in a breach, and whether it lasts until it is cleared."""
        self.seen[finding.finding_id] = finding.window.start_ms
        if len(self.seen) > SEEN_MAX:
            del self.seen[next(iter(self.seen))]
        if finding.event_time_ms >= self.last_breach_ms or not self.proof:
            self.proof = pack_finding(finding)
            self.holds = is_lasting
        self.last_breach_ms = max(self.last_breach_ms, finding.event_time_ms)
        self.window_ms = max(self.window_ms, finding.window.start_ms)

    def begin(self, finding: Finding) -> None:
        """Open an episode."""
        self.root = finding.finding_id
        self.step = self.step if self.withdrawn else 0
        self.carried = False
        self.notices = []

    def close(self) -> None:
        """Let go of the episode; what was seen and decided stays known for a while."""
        self.stage, self.root, self.termination = "open", "", ""
        self.notices, self.carried = [], False
        self.announced_ms = self.noticed_ms = self.delivered_ms = self.released_ms = 0
        self.snoozed_until_ms = 0

    def fall_back(self) -> None:
        """Stand where the case stood before it called for a restriction that did not come."""
        self.termination = ""
        self.stage = "released" if self.released_ms else "notified" if self.announced_ms else "open"

    def note(self, decision: Decision) -> None:
        """Keep a decision."""
        noted = note_of(decision)
        if noted not in self.decisions:
            self.decisions = [*self.decisions, noted][-DECISIONS_MAX:]


class Order(Struct, array_like=True):
    """An action that is not done with: who waits for what, and until when.

    `due_ms` is when it goes out again for want of an answer, or when a review ends; `number` is
    its place among what the brake holds.
    """

    rule: str
    kind: str
    state: OrderState
    action: bytes
    due_ms: int = 0
    attempts: int = 0
    answered_ms: int = 0
    number: int = 0


class Hold(Struct, array_like=True):
    """The one restriction in force of a service, or, with an empty `rule`, what lifted the last.

    `ended` are the ids of those that are over.
    """

    action_id: str
    rule: str
    kind: str = ""
    rate_kbps: int = 0
    since_ms: int = 0
    ended: list[str] = []


class Exemption(Struct, array_like=True):
    """Until when findings lead to nothing (0: until further notice), and who said so."""

    until_ms: int
    note: Note


class EarlyAnswer(Struct, array_like=True, frozen=True):
    """What enforcement said of an action that has not gone out yet, as far as is known here."""

    action_id: str
    status: AnswerStatus
    time_ms: int


class Dossier(Struct, array_like=True):
    """Everything about one service of a customer; exemptions are by rule, those of all under "".

    One service's breach never touches another, and each has a clock of its own: what is found
    about them comes from topics that are read side by side.
    """

    clock_ms: int = 0
    """The latest moment at which anything was taken in or became due."""
    cases: dict[str, Case] = {}
    orders: dict[str, Order] = {}
    holds: dict[str, Hold] = {}
    exemptions: dict[str, Exemption] = {}
    early: list[EarlyAnswer] = []
    """Answers that came before their action, in the order in which they came. They are kept under
    no service: it is not known yet which one they are about."""
    waiting: list[Finding] = []
    """Findings of closed periods whose time has not come yet."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        kept = (self.cases, self.orders, self.holds, self.exemptions, self.early, self.waiting)
        return not any(kept)

    def is_out(self, action_id: str) -> bool:
        """Whether an action has gone out, and what it belongs to is remembered."""
        order = self.orders.get(action_id)
        if order is not None and order.state not in KEPT_BACK:
            return True
        is_notice = any(action_id in case.notices for case in self.cases.values())
        return is_notice or any(action_id in hold.ended for hold in self.holds.values())

    def is_exempt(self, rule: str) -> bool:
        """Whether a rule's findings lead to nothing for now."""
        return rule in self.exemptions or "" in self.exemptions

    def awaits(self, cleared: Finding) -> bool:
        """Whether the breach that a finding ends still waits for the time of both."""
        about = [w for w in self.waiting if w.rule == cleared.rule and w.level != cleared.level]
        return any(breach.known_ms <= cleared.known_ms for breach in about)

    def wait_no_more(self, finding: Finding) -> None:
        """Let go of what waits about the window of a finding, which was corrected meanwhile."""
        about = finding.rule, finding.window.start_ms
        self.waiting = [w for w in self.waiting if (w.rule, w.window.start_ms) != about]

    def hold_of(self, rule: str) -> tuple[str, Hold] | None:
        """The service that is restricted because of a rule, and how."""
        for service, hold in self.holds.items():
            if hold.rule == rule:
                return service, hold
        return None

    def governs(self, action_id: str) -> bool:
        """Whether an action says what is in force of its service."""
        return any(hold.action_id == action_id for hold in self.holds.values())

    def is_telling(self, rule: str) -> bool:
        """Whether a rule's notice is on its way."""
        return any(o.rule == rule and o.kind == "notify" for o in self.orders.values())

    def kept_back(self, rule: str) -> Order | None:
        """A rule's action that waits for the brake, for a person or for its turn, the oldest."""
        for order in self.orders.values():
            if order.rule == rule and order.state in KEPT_BACK:
                return order
        return None


pack_finding = msgspec.msgpack.Encoder().encode
unpack_finding = msgspec.msgpack.Decoder(Finding).decode
pack_dossier = msgspec.msgpack.Encoder().encode
unpack_dossier = msgspec.msgpack.Decoder(Dossier).decode

UNPLACED = ""
"""In place of a service: what is not known to belong to one."""


def key_of(service: str, customer_id: str) -> str:
    """What the dossier of a customer's service is kept under."""
    return f"{service} {customer_id}"


def customer_of(key: str) -> str:
    """Whose dossier is kept under a key."""
    return key.partition(" ")[2]


def note_of(decision: Decision) -> Note:
    """What is kept of a decision."""
    return Note(
        decision_id=decision.decision_id,
        kind=decision.kind,
        decided_by=decision.decided_by,
        reason=decision.reason,
        time_ms=decision.time_ms,
    )


def notice_end_ms(case: Case, rule: RuleParameters, policy: Policy) -> int:
    """When the notice period is over that began with the delivery."""
    days = policy.ladder.notice_days if rule.notice_days is None else rule.notice_days
    return case.delivered_ms + days * DAY_MS


def over_ms(case: Case, rule: RuleParameters, policy: Policy) -> int:
    """When the cause counts as gone, unless there is another breach before.

    Never while it lasts, nor once a person agreed that the contract ends because of it.
    """
    if case.holds or case.termination == "approved":
        return NEVER_MS
    return case.last_breach_ms + (rule.clear_after_days or policy.ladder.clear_after_days) * DAY_MS


def lasts(finding: Finding, rule: RuleParameters) -> bool:
    """Whether what was found goes on, without further findings, until one says "cleared".

    A gauge above its limit does, and a bundle that is used up. What is urgent does not: it was met
    at once, and is over when no more of it is seen.
    """
    if RULES[finding.rule].declaration.urgency == "contract":
        return True
    return finding.window.kind == "state" and finding.window.end_ms is None and not rule.at_once


def needs_regular(rule: RuleParameters) -> bool:
    """Whether only regular use is a breach of the contract."""
    return (getattr(rule, "regular_periods", None) or 1) > 1
