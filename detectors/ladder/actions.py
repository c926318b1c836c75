"""Actions, built from a case and the finding that they rest on."""

from typing import Any

import msgspec
from msgspec import structs

from detectors.ladder.dossier import Case, InForce, unpack_finding
from detectors.ladder.reasons import reason
from detectors.ladder.turn import Turn
from detectors.rules.registry import RULES
from schemas.ids import action_id
from schemas.policy import RuleParameters
from schemas.records import Action, ActionKind, Finding, Notice
from schemas.safeguards import CALLING, NEVER_BARRED

GRAVE: frozenset[ActionKind] = frozenset(
    {"suspend", "delete_storage", "propose_termination", "reclaim_number"}
)
"""Kinds with legal or similarly grave effect (GDPR art. 22)."""

UNANNOUNCED: frozenset[ActionKind] = frozenset({"notify", "release", "withdraw", "report_upstream"})
"""Kinds that take nothing from the customer."""

STRENGTH: dict[ActionKind, int] = {
    "throttle": 1,
    "restrict_storage": 2,
    "convert_prepaid": 3,
    "cut_data": 4,
    "minimum_service": 5,
    "suspend": 6,
}
"""Restrictions by strength; of each service only the strongest one is in force."""

pack_action = msgspec.msgpack.Encoder().encode
unpack_action = msgspec.msgpack.Decoder(Action).decode


def strength(kind: ActionKind, rate_kbps: int) -> tuple[int, int]:
    """How much a restriction takes from the customer; a lower rate takes more."""
    return STRENGTH[kind], -rate_kbps


def build(
    turn: Turn,
    rule_name: str,
    case: Case,
    kind: ActionKind,
    *,
    finding: Finding | None = None,
    supersedes: str | None = None,
    more: dict[str, Any] | None = None,
) -> Action:
    """The next action of a case; it rests on `finding`, or else on the newest of the case.

    `more` are parameters beside those that follow from the rule.
    """
    rule = turn.policy.rules[rule_name]
    finding = finding or unpack_finding(case.proof)
    return Action(
        action_id=_next_id(case, kind),
        kind=kind,
        customer_id=turn.customer_id,
        service=rule.service,
        parameters=_parameters(kind, rule) | (more or {}),
        rule=rule_name,
        clause=rule.clause,
        reason=reason(kind, finding),
        decided_ms=turn.now_ms,
        effective_ms=turn.now_ms,
        expires_ms=None,
        notice=_notice(rule_name, case, kind),
        human_review=kind == "propose_termination" or (rule.human_review and kind in GRAVE),
        supersedes=supersedes,
        finding_ids=_proofs(case, finding),
        policy=finding.policy,
        evidence=_evidence(finding, case),
    )


def build_release(turn: Turn, case: Case, hold: InForce, finding: Finding | None) -> Action:
    """The release of the restriction in force, also of a rule that the policy no longer has."""
    lifted = unpack_action(turn.dossier.orders[hold.action_id].action)
    finding = finding or unpack_finding(case.proof)
    return structs.replace(
        lifted,
        action_id=_next_id(case, "release"),
        kind="release",
        parameters={},
        reason=reason("release", finding),
        decided_ms=turn.now_ms,
        effective_ms=turn.now_ms,
        expires_ms=None,
        notice=Notice(required=False),
        human_review=False,
        supersedes=lifted.action_id,
        finding_ids=_proofs(case, finding),
        evidence=_evidence(finding, case),
    )


def renewed(turn: Turn, case: Case | None, action: Action, **changed: Any) -> Action:
    """An action that was kept back, as it is sent now: effective from now on."""
    decisions = _decisions(case) if case else {}
    return structs.replace(
        action,
        effective_ms=max(action.effective_ms, turn.now_ms),
        evidence=action.evidence | decisions,
        **changed,
    )


def _next_id(case: Case, kind: ActionKind) -> str:
    identity = action_id(kind, case.root, case.action_number)
    case.action_number += 1
    return identity


def _notice(rule_name: str, case: Case, kind: ActionKind) -> Notice:
    is_waived = kind not in UNANNOUNCED and not case.delivered_ms
    urgency = RULES[rule_name].declaration.urgency or "urgency"
    return Notice(
        required=kind not in UNANNOUNCED,
        waived_because=urgency if is_waived else None,
        delivered_ms=case.delivered_ms or None,
    )


def _proofs(case: Case, finding: Finding) -> list[str]:
    """The finding an action rests on, and the one that opened the episode."""
    return [finding.finding_id] + [case.root] * (case.root != finding.finding_id)


def _evidence(finding: Finding, case: Case) -> dict[str, Any]:
    about = {"level": finding.level, "window": msgspec.to_builtins(finding.window)}
    return about | finding.evidence | _decisions(case)


def _decisions(case: Case) -> dict[str, Any]:
    """The decisions of a case, if there are any."""
    if not case.decisions:
        return {}
    names = ("decision_id", "kind", "decided_by", "reason", "time_ms")
    return {"decisions": [{name: getattr(n, name) for name in names} for n in case.decisions]}


def _parameters(kind: ActionKind, rule: RuleParameters) -> dict[str, Any]:
    """What enforcement needs to know; emergency and free numbers always stay open."""
    if kind == "throttle":
        return {"rate_kbps": rule.rate_kbps}
    if kind == "minimum_service":
        return {"incoming": "national", "outgoing": list(NEVER_BARRED)}
    if kind == "suspend" and rule.service in CALLING:
        return {"outgoing": list(NEVER_BARRED)}
    return {}
