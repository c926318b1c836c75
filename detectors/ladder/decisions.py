"""Decisions of people: about an action in review, a customer, or what the brake holds."""

from detectors.ladder.actions import STRENGTH, renewed, unpack_action
from detectors.ladder.dossier import KEPT_BACK, Case, Exemption, Order, note_of
from detectors.ladder.orders import hand_out, wait_turn
from detectors.ladder.restrictions import apply_strongest
from detectors.ladder.steps import deliver, end_episode, give_up_notice, relieve
from detectors.ladder.turn import Turn
from schemas.records import Decision
from schemas.safeguards import CUT, DONE_ONCE


def decided(turn: Turn, decision: Decision) -> None:
    """Apply a decision about one customer; one that fits nothing known is counted."""
    is_known = {
        "approve": _approve,
        "reject": _reject,
        "exempt": _exempt,
        "snooze": _snooze,
        "consent": _consent,
    }[decision.kind](turn, decision)
    if not is_known:
        turn.counts["unmatched"] += 1


def refuse(turn: Turn, action_id: str) -> None:
    """Do not carry an action out: a person refused it, or its review ended without an answer."""
    order = turn.dossier.orders[action_id]
    turn.drop(action_id)
    case = turn.case(order.rule)
    if case is None:
        return
    if order.kind == "notify":
        give_up_notice(case)
    elif order.kind == "propose_termination":
        relieve(turn, order.rule)
    elif order.kind in DONE_ONCE:
        case.spent_ms = case.window_ms
    elif order.kind in STRENGTH:
        case.spent_ms = case.window_ms
        service = turn.service_of(order.rule)
        case.fall_back()
        apply_strongest(turn, service)


def let_go(turn: Turn, action_id: str, decision: Decision) -> None:
    """Send an action that the brake held, after a person released the brake."""
    order = turn.dossier.orders[action_id]
    case = turn.case(order.rule)
    if case is not None:
        case.note(decision)
    _pass(turn, action_id, order)


def end_case(turn: Turn, rule: str, decision: Decision) -> None:
    """Undo what followed from a rule's findings, because a person said that they were wrong."""
    case = turn.case(rule)
    if case is not None:
        case.note(decision)
        end_episode(turn, rule)


def _approve(turn: Turn, decision: Decision) -> bool:
    action_id = decision.action_id or ""
    order = turn.dossier.orders.get(action_id)
    if order is None or order.state != "review":
        return False
    case = turn.case(order.rule)
    if case is not None:
        case.note(decision)
    if order.kind == "notify":
        deliver(turn, order.rule, decision.time_ms)
    else:
        _pass(turn, action_id, order, human_review=False, expires_ms=None)
    return True


def _pass(turn: Turn, action_id: str, order: Order, **changed: object) -> None:
    """Send an action that was kept back; a restriction only if it is the strongest one."""
    case = turn.case(order.rule)
    action = renewed(turn, case, unpack_action(order.action), **changed)
    turn.drop(action_id)
    if order.kind in STRENGTH:
        wait_turn(turn, action)
        apply_strongest(turn, action.service)
    else:
        hand_out(turn, action)


def _reject(turn: Turn, decision: Decision) -> bool:
    action_id = decision.action_id or ""
    order = turn.dossier.orders.get(action_id)
    if order is None:
        return False
    case = turn.case(order.rule)
    if case is not None:
        case.note(decision)
    is_in_force = any(
        hold.rule and hold.action_id == action_id for hold in turn.dossier.in_force.values()
    )
    if order.state in KEPT_BACK:
        refuse(turn, action_id)
    elif is_in_force and case is not None:
        case.spent_ms = case.window_ms
        relieve(turn, order.rule)
    else:
        return False
    return True


def _exempt(turn: Turn, decision: Decision) -> bool:
    rule = decision.rule or ""
    if rule and rule not in turn.policy.rules:
        return False
    turn.dossier.exemptions.pop(rule, None)
    if decision.until_ms is None or decision.until_ms > turn.now_ms:
        exemption = Exemption(decision.until_ms or 0, note_of(decision))
        turn.dossier.exemptions[rule] = exemption
        names = [name for name in turn.dossier.cases if rule in (name, "")]
        # Noted in all cases first: ending the first one may already send a release.
        for name in names:
            turn.dossier.cases[name].note(decision)
        for name in names:
            end_episode(turn, name)
    return True


def _consent(turn: Turn, decision: Decision) -> bool:
    """The customer agrees to use beyond the limit, until the window of the decision's time ends."""
    rule = decision.rule or ""
    parameters = turn.policy.rules.get(rule)
    if parameters is None or parameters.restriction != CUT:
        return False
    case = turn.dossier.cases.setdefault(rule, Case())
    case.note(decision)
    case.consented_ms = max(case.consented_ms, decision.time_ms)
    if case.stage == "restricted":
        relieve(turn, rule)
    return True


def _snooze(turn: Turn, decision: Decision) -> bool:
    order = turn.dossier.orders.get(decision.action_id or "")
    rule = order.rule if order else decision.rule
    names = [rule] if rule else list(turn.dossier.cases)
    cases = [case for name in names if (case := turn.case(name))]
    if decision.until_ms is None or (decision.action_id and order is None):
        return False
    for case in cases:
        case.note(decision)
        case.snoozed_until_ms = decision.until_ms
    return bool(cases) or rule is None
