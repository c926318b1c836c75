"""From findings to actions: notice first, then the rule's restriction, then suspension.

A pure state machine: a case and a finding in, the next case and the actions out. Time is the
findings' own event time.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from detectors.calendar import DAY_MS
from detectors.identity import action_id
from detectors.reasons import reason
from schemas.policy import Policy, RuleParameters
from schemas.records import Action, ActionKind, Finding, Notice

SEEN_MAX = 256
"""Findings a case remembers by id, so that one that comes twice is answered once."""

GRAVE: frozenset[ActionKind] = frozenset(
    {"suspend", "delete_storage", "propose_termination", "reclaim_number"}
)
"""Kinds with legal or similarly grave effect (GDPR art. 22)."""

UNANNOUNCED: frozenset[ActionKind] = frozenset({"notify", "release", "withdraw", "report_upstream"})
"""Kinds that take nothing from the customer."""

Stage = Literal["open", "notified", "restricted", "suspended"]


class Case(Struct, frozen=True):
    """What stands between the operator and one customer about one rule.

    `window_start_ms` is that of the window that led to the present stage, `notice_end_ms` when the
    notice period is over, `effective_ms` when the last restriction takes effect.
    """

    stage: Stage = "open"
    window_start_ms: int = 0
    notice_end_ms: int = 0
    effective_ms: int = 0
    last_ms: int = 0
    in_force: str | None = None
    seen: tuple[str, ...] = ()


def decide(case: Case, finding: Finding, policy: Policy) -> tuple[Case, list[Action]]:
    """The case after a finding, and what is to be done about it.

    A breach -> `notify`. "regular", or a breach in a later window -> the rule's restriction,
    effective when the notice period is over. A breach in a later window once that is in effect ->
    `suspend`. Rules that restrict at once do so with the notice. "cleared" -> `release`, or
    `withdraw` where a correction took the breach back. "early" leads to nothing, nor does a shadow
    policy's finding or one that was seen before. What comes from another network is reported to
    its holder, each time, and nothing else.
    """
    if finding.finding_id in case.seen or finding.shadow or finding.level == "early":
        return case, []
    seen = (*case.seen, finding.finding_id)[-SEEN_MAX:]
    case = msgspec.structs.replace(case, seen=seen)
    if finding.level == "cleared":
        kind: ActionKind = "withdraw" if "corrects" in finding.evidence else "release"
        return _undo(case, kind, finding, policy)
    if finding.event_time_ms - case.last_ms > policy.ladder.memory_days * DAY_MS:
        # The ladder begins anew; what is in force stays known, so that a release can undo it.
        case = msgspec.structs.replace(case, stage="open")
    rule = policy.rules[finding.rule]
    if rule.restriction == "report_upstream":
        # It was done to the customer, not by them: there is nothing to notify or restrict.
        now_ms = finding.event_time_ms
        return case, [_action("report_upstream", finding, policy, rule, now_ms, None)]
    return _climb(case, finding, policy, rule)


def _climb(
    case: Case, finding: Finding, policy: Policy, rule: RuleParameters
) -> tuple[Case, list[Action]]:
    """The next step, if the finding leads to one."""
    later = finding.window.start_ms > case.window_start_ms
    if case.stage == "open":
        return _notify(case, finding, policy, rule)
    if case.stage == "notified" and (later or finding.level == "regular"):
        return _restrict(case, finding, policy, rule)
    in_effect = finding.event_time_ms >= max(case.effective_ms, case.notice_end_ms)
    if case.stage == "restricted" and later and in_effect:
        return _suspend(case, finding, policy, rule)
    return case, []


def _notify(
    case: Case, finding: Finding, policy: Policy, rule: RuleParameters
) -> tuple[Case, list[Action]]:
    now_ms = finding.event_time_ms
    notice = _action("notify", finding, policy, rule, now_ms, None)
    case = msgspec.structs.replace(
        case,
        stage="notified",
        window_start_ms=finding.window.start_ms,
        notice_end_ms=now_ms + policy.ladder.notice_days * DAY_MS,
        last_ms=now_ms,
    )
    if not rule.at_once:
        return case, [notice]
    restriction = _action(
        rule.restriction, finding, policy, rule, now_ms, case.in_force, waived="urgency"
    )
    case = msgspec.structs.replace(
        case, stage=_restricted_by(rule), effective_ms=now_ms, in_force=restriction.action_id
    )
    return case, [notice, restriction]


def _restrict(
    case: Case, finding: Finding, policy: Policy, rule: RuleParameters
) -> tuple[Case, list[Action]]:
    effective_ms = max(finding.event_time_ms, case.notice_end_ms)
    action = _action(rule.restriction, finding, policy, rule, effective_ms, case.in_force)
    return _advanced(case, _restricted_by(rule), finding, action), [action]


def _restricted_by(rule: RuleParameters) -> Stage:
    """Where a rule's restriction leads; there is nothing to add to one that suspends."""
    return "suspended" if rule.restriction == "suspend" else "restricted"


def _suspend(
    case: Case, finding: Finding, policy: Policy, rule: RuleParameters
) -> tuple[Case, list[Action]]:
    action = _action("suspend", finding, policy, rule, finding.event_time_ms, case.in_force)
    return _advanced(case, "suspended", finding, action), [action]


def _undo(
    case: Case, kind: ActionKind, finding: Finding, policy: Policy
) -> tuple[Case, list[Action]]:
    if case.stage == "open":
        return case, []
    rule = policy.rules[finding.rule]
    action = _action(kind, finding, policy, rule, finding.event_time_ms, case.in_force)
    case = _advanced(case, "open", finding, action)
    return msgspec.structs.replace(case, in_force=None), [action]


def _advanced(case: Case, stage: Stage, finding: Finding, action: Action) -> Case:
    return msgspec.structs.replace(
        case,
        stage=stage,
        window_start_ms=finding.window.start_ms,
        effective_ms=action.effective_ms,
        last_ms=finding.event_time_ms,
        in_force=action.action_id,
    )


def _action(
    kind: ActionKind,
    finding: Finding,
    policy: Policy,
    rule: RuleParameters,
    effective_ms: int,
    supersedes: str | None,
    waived: str | None = None,
) -> Action:
    return Action(
        action_id=action_id(kind, finding.finding_id),
        kind=kind,
        customer_id=finding.customer_id,
        service=rule.service,
        parameters=_parameters(kind, rule),
        rule=finding.rule,
        clause=rule.clause,
        reason=reason(kind, finding),
        decided_ms=finding.event_time_ms,
        effective_ms=effective_ms,
        expires_ms=None,
        notice=Notice(required=kind not in UNANNOUNCED, waived_because=waived),
        human_review=rule.human_review and kind in GRAVE,
        supersedes=supersedes,
        finding_ids=[finding.finding_id],
        policy=finding.policy,
        evidence={"level": finding.level, "window": msgspec.to_builtins(finding.window)}
        | finding.evidence,
    )


def _parameters(kind: ActionKind, rule: RuleParameters) -> dict[str, Any]:
    """What enforcement needs to know; emergency and free numbers can't be configured away."""
    if kind == "throttle":
        return {"rate_kbps": rule.rate_kbps}
    if kind == "minimum_service":
        return {"incoming": "national", "outgoing": ["emergency", "free"]}
    return {}
