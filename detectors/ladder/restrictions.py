"""Of each service the strongest restriction that a case calls for is in force, and no other."""

from detectors.ladder.actions import build, build_release, renewed, strength, unpack_action
from detectors.ladder.dossier import Case, InForce, over_ms
from detectors.ladder.orders import dispatch, hand_out
from detectors.ladder.turn import Turn
from schemas.records import ActionKind, Finding


def apply_strongest(turn: Turn, service: str, finding: Finding | None = None) -> None:
    """Put the strongest restriction that the cases of a service call for in force.

    It takes the place of the one in force; a weaker one waits in its case, without an action. A
    restriction that the brake or a person keeps back is not in force: the next strongest is. If no
    case calls for a restriction any more, the one in force is released.
    """
    hold = turn.dossier.in_force.get(service)
    in_force = hold.action_id if hold is not None and hold.rule else None
    for rule, case, kind in _called_for(turn, service, hold):
        if in_force and hold is not None and (hold.rule, hold.kind) == (rule, kind):
            return
        if _is_out(turn, rule, case, kind, in_force):
            return
    if in_force and hold is not None:
        case = turn.case(hold.rule)
        assert case is not None, "what is in force belongs to a case"
        hand_out(turn, build_release(turn, case, hold, finding))


def _called_for(
    turn: Turn, service: str, hold: InForce | None
) -> list[tuple[str, Case, ActionKind]]:
    """Cases that call for a restriction, the strongest first; of equal ones the one in force."""
    wanted = []
    for rule, case in turn.dossier.cases.items():
        parameters = turn.policy.rules.get(rule)
        if case.stage not in ("restricted", "suspended") or turn.dossier.is_exempt(rule):
            continue
        if parameters is None or parameters.service != service:
            continue
        if over_ms(case, parameters, turn.policy) <= turn.now_ms:
            continue
        kind: ActionKind = "suspend" if case.stage == "suspended" else parameters.restriction
        power = strength(kind, parameters.rate_kbps or 0 if kind == "throttle" else 0)
        is_in_force = hold is not None and hold.rule == rule
        wanted.append(((power, is_in_force), (rule, case, kind)))
    wanted.sort(key=lambda pair: pair[0], reverse=True)
    return [entry for _, entry in wanted]


def _is_out(turn: Turn, rule: str, case: Case, kind: ActionKind, supersedes: str | None) -> bool:
    """Send a case's restriction; False if it is kept back or was dropped instead."""
    for action_id, order in turn.dossier.orders.items():
        if order.rule == rule and order.kind == kind and order.state in ("held", "review"):
            return False
        if order.rule == rule and order.kind == kind and order.state == "passed":
            kept = unpack_action(order.action)
            turn.drop(action_id)
            return hand_out(turn, renewed(turn, case, kept, supersedes=supersedes)) == "out"
    action = build(turn, rule, case, kind, supersedes=supersedes)
    outcome = dispatch(turn, action)
    if outcome == "dropped":
        case.fall_back()
    return outcome == "out"
