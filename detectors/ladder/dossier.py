"""The dossier: what the ladder keeps of one service of a customer.

A dossier is kept packed in MessagePack, and unpacked only while the ladder works on it. So a
million of them take little memory, and what is stored is all that the ladder knows.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from detectors.rules.registry import RULES
from schemas.policy import Policy, RuleParameters
from schemas.records import Decision, Finding
from schemas.units import DAY_MS

SEEN_MAX = 16
"""Ids of findings that a case remembers, so that a finding that comes twice counts once."""

DECISIONS_MAX = 4
"""Decisions a case remembers, the newest."""

ORDERS_MAX = 64
"""Actions of a service that are remembered until they are answered."""

WAITING_MAX = 64
"""Findings of closed periods that wait; past that number the earliest is applied at once."""

ENDED_MAX = 8
"""Lifted restrictions of a service that are remembered, to notice if one is applied again."""

EARLY_MAX = 8
"""Answers of a customer that came before their action and wait for it."""

EARLY_MS = DAY_MS
"""How long an answer waits for its action, from the answer's own time on."""

NEVER_MS = 1 << 62

Stage = Literal["open", "notified", "restricted", "suspended", "released", "acted"]
"""`restricted` and `suspended` say what the case calls for; `InForce` says what is in force. In
stage `acted` the case led to a single act, such as a charge."""

OrderState = Literal["held", "review", "passed", "sent", "answered"]

KEPT_BACK: frozenset[OrderState] = frozenset({"held", "review", "passed"})
"""Not in force: held by the brake, in review by a person, or passed by both and waiting because a
stronger restriction is in force."""

AnswerStatus = Literal["delivered", "applied", "failed", "expired"]


class Note(Struct, array_like=True, frozen=True):
    """A decision as a case keeps it: who decided what, when and why."""

    decision_id: str
    kind: str
    decided_by: str
    reason: str
    time_ms: int


class Case(Struct, array_like=True):
    """What the ladder knows of one customer and one rule; a time of 0 means never.

    `root` is the id of the finding that opened the episode, and `action_number` counts its actions:
    action ids follow from both. `proof` is the newest finding, packed. `window_ms` is the start of
    the newest window with a breach; `spent_ms` that of the newest window that has already produced
    its restriction. `lasts` tells that the breach is a state, which goes on until it is "cleared".
    """

    stage: Stage = "open"
    root: str = ""
    action_number: int = 0
    proof: bytes = b""
    window_ms: int = -1
    lasts: bool = False
    last_breach_ms: int = 0
    announced_ms: int = 0
    """When the first notice of the episode went out."""
    noticed_ms: int = 0
    """When the newest notice of the episode went out."""
    notices: list[str] = []
    """Action ids of the notices that are not delivered yet, one for each channel tried."""
    delivered_ms: int = 0
    was_restricted: bool = False
    """Whether a restriction of the episode has been in force."""
    released_ms: int = 0
    ended_ms: int = 0
    """When the last episode ended other than by a release, as by a correction."""
    termination: Literal["", "proposed", "approved"] = ""
    spent_ms: int = -1
    snoozed_until_ms: int = 0
    withdrawn: bool = False
    """Whether a finding was withdrawn. The same id may come again, so `action_number` goes on."""
    seen: dict[str, int] = {}
    """Start of the window of each finding that was seen, by finding id, oldest first."""
    decisions: list[Note] = []
    consented_ms: int = 0
    """When the customer last consented to use beyond the limit."""

    def has_consent(self, finding: Finding) -> bool:
        """Whether the customer consented within the window of a finding."""
        window = finding.window
        is_open = window.end_ms is None or self.consented_ms < window.end_ms
        return window.start_ms <= self.consented_ms and is_open

    def see(self, finding: Finding, is_lasting: bool) -> None:
        """Note a breach; `is_lasting` tells that it goes on until a finding says "cleared"."""
        self.seen[finding.finding_id] = finding.window.start_ms
        if len(self.seen) > SEEN_MAX:
            del self.seen[next(iter(self.seen))]
        if finding.event_time_ms >= self.last_breach_ms or not self.proof:
            self.proof = pack_finding(finding)
            self.lasts = is_lasting
        self.last_breach_ms = max(self.last_breach_ms, finding.event_time_ms)
        self.window_ms = max(self.window_ms, finding.window.start_ms)

    def begin(self, finding: Finding) -> None:
        """Open an episode."""
        self.root = finding.finding_id
        self.action_number = self.action_number if self.withdrawn else 0
        self.was_restricted = False
        self.notices = []

    def end_episode(self) -> None:
        """Forget the episode; findings that were seen and decisions are still remembered."""
        self.stage, self.root, self.termination = "open", "", ""
        self.notices, self.was_restricted = [], False
        self.announced_ms = self.noticed_ms = self.delivered_ms = self.released_ms = 0
        self.snoozed_until_ms = 0

    def fall_back(self) -> None:
        """Go back to the stage before a restriction that was not carried out."""
        self.termination = ""
        self.stage = "released" if self.released_ms else "notified" if self.announced_ms else "open"

    def note(self, decision: Decision) -> None:
        """Keep a decision."""
        noted = note_of(decision)
        if noted not in self.decisions:
            self.decisions = [*self.decisions, noted][-DECISIONS_MAX:]


class Order(Struct, array_like=True):
    """An action that is not finished, and what it waits for.

    `due_ms` is when the action is sent again for want of an answer, or when its review ends.
    `number` is its place in the order in which the brake holds actions. Times are 0 for never.
    """

    rule: str
    kind: str
    state: OrderState
    action: bytes
    due_ms: int = 0
    attempts: int = 0
    answered_ms: int = 0
    number: int = 0


class InForce(Struct, array_like=True):
    """The one restriction in force of a service; with an empty `rule`, the action that lifted it.

    `ended` are the ids of earlier restrictions of the service.
    """

    action_id: str
    rule: str
    kind: str = ""
    rate_kbps: int = 0
    since_ms: int = 0
    ended: list[str] = []


class Exemption(Struct, array_like=True):
    """Until when findings lead to no action (0: until further notice), and who decided that."""

    until_ms: int
    note: Note


class EarlyAnswer(Struct, array_like=True, frozen=True):
    """What enforcement answered about an action that, as far as is known here, was not sent yet."""

    action_id: str
    status: AnswerStatus
    time_ms: int


class Dossier(Struct, array_like=True):
    """Everything about one service of a customer.

    Each service has a clock of its own, because findings about different services come from topics
    that are read side by side. `in_force` is by service, `cases` and `exemptions` are by rule; an
    exemption from all rules has the key "".
    """

    clock_ms: int = 0
    """The latest moment at which anything was taken in or became due."""
    cases: dict[str, Case] = {}
    orders: dict[str, Order] = {}
    in_force: dict[str, InForce] = {}
    exemptions: dict[str, Exemption] = {}
    early: list[EarlyAnswer] = []
    """Answers that came before their action, in the order in which they came. They are kept in the
    dossier `UNPLACED`, because the service is not known before the action is."""
    waiting: list[Finding] = []
    """Findings of closed periods whose time has not come yet."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        kept = (self.cases, self.orders, self.in_force, self.exemptions, self.early, self.waiting)
        return not any(kept)

    def is_out(self, action_id: str) -> bool:
        """Whether an action was sent, and is still known."""
        order = self.orders.get(action_id)
        if order is not None and order.state not in KEPT_BACK:
            return True
        is_notice = any(action_id in case.notices for case in self.cases.values())
        return is_notice or any(action_id in each.ended for each in self.in_force.values())

    def is_exempt(self, rule: str) -> bool:
        """Whether a rule's findings lead to no action for now."""
        return rule in self.exemptions or "" in self.exemptions

    def awaits(self, cleared: Finding) -> bool:
        """Whether the breach that a "cleared" finding ends is still waiting to be applied."""
        about = [w for w in self.waiting if w.rule == cleared.rule and w.level != cleared.level]
        return any(breach.known_ms <= cleared.known_ms for breach in about)

    def wait_no_more(self, finding: Finding) -> None:
        """Drop the waiting findings about the window of a finding that was corrected."""
        about = finding.rule, finding.window.start_ms
        self.waiting = [w for w in self.waiting if (w.rule, w.window.start_ms) != about]

    def in_force_of(self, rule: str) -> tuple[str, InForce] | None:
        """The service that is restricted because of a rule, and the restriction."""
        for service, restriction in self.in_force.items():
            if restriction.rule == rule:
                return service, restriction
        return None

    def governs(self, action_id: str) -> bool:
        """Whether an action is the last one that restricted its service or lifted a restriction."""
        return any(each.action_id == action_id for each in self.in_force.values())

    def is_notifying(self, rule: str) -> bool:
        """Whether a rule's notice is on its way."""
        return any(o.rule == rule and o.kind == "notify" for o in self.orders.values())

    def kept_back(self, rule: str) -> Order | None:
        """A rule's oldest action in one of the states `KEPT_BACK`; None if there is none."""
        for order in self.orders.values():
            if order.rule == rule and order.state in KEPT_BACK:
                return order
        return None


pack_finding = msgspec.msgpack.Encoder().encode
unpack_finding = msgspec.msgpack.Decoder(Finding).decode
pack_dossier = msgspec.msgpack.Encoder().encode
unpack_dossier = msgspec.msgpack.Decoder(Dossier).decode

UNPLACED = ""
"""In place of a service: for what cannot be assigned to one yet."""


def key_of(service: str, customer_id: str) -> str:
    """The key of the dossier of a customer's service."""
    return f"{service} {customer_id}"


def customer_of(key: str) -> str:
    """The customer of a dossier's key."""
    return key.partition(" ")[2]


def note_of(decision: Decision) -> Note:
    """A decision as a case keeps it."""
    return Note(
        decision_id=decision.decision_id,
        kind=decision.kind,
        decided_by=decision.decided_by,
        reason=decision.reason,
        time_ms=decision.time_ms,
    )


def notice_end_ms(case: Case, rule: RuleParameters, policy: Policy) -> int:
    """When the notice period ends that began with the delivery of the notice."""
    days = policy.ladder.notice_days if rule.notice_days is None else rule.notice_days
    return case.delivered_ms + days * DAY_MS


def over_ms(case: Case, rule: RuleParameters, policy: Policy) -> int:
    """When the cause counts as gone, unless there is another breach before.

    `NEVER_MS` while a state lasts, and once a person approved the termination of the contract.
    """
    if case.lasts or case.termination == "approved":
        return NEVER_MS
    return case.last_breach_ms + (rule.clear_after_days or policy.ladder.clear_after_days) * DAY_MS


def lasts(finding: Finding, rule: RuleParameters) -> bool:
    """Whether a breach goes on, without further findings, until one says "cleared".

    A gauge above its limit does, and so does a used-up bundle. A rule with `at_once` does not: its
    breach is over when no more of it is seen.
    """
    if RULES[finding.rule].declaration.urgency == "contract":
        return True
    return finding.window.kind == "state" and finding.window.end_ms is None and not rule.at_once


def needs_regular(rule: RuleParameters) -> bool:
    """Whether only a "regular" finding may lead to a restriction."""
    return (getattr(rule, "regular_periods", None) or 1) > 1
