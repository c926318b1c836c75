"""The way of an action: past the brake and a reviewer, sent, answered, or sent again."""

from typing import Literal

from msgspec import structs

from detectors.ladder.actions import STRENGTH, pack_action, unpack_action
from detectors.ladder.brake import HeldAction
from detectors.ladder.dossier import ENDED_MAX, ORDERS_MAX, InForce, Order
from detectors.ladder.reasons import CAME_BACK
from detectors.ladder.turn import Turn
from schemas import ids as identity
from schemas.records import Action, ActionKind, Notice
from schemas.safeguards import DONE_ONCE
from schemas.units import DAY_MS

GIVES_BACK: frozenset[ActionKind] = frozenset({"release", "withdraw"})
"""Kinds that lift a restriction: they are sent at once, even while the brake is on."""

Outcome = Literal["out", "kept", "dropped"]


def dispatch(turn: Turn, action: Action) -> Outcome:
    """Send an action, or keep it back for the brake or for a reviewer.

    It is "dropped" when the brake has no room for more.
    """
    if turn.brake.lets_through(action.rule, action.decided_ms):
        return hand_out(turn, action)
    held = HeldAction(turn.key, action.action_id, action.rule)
    number = turn.brake.hold(held)
    if not number:
        turn.counts["dropped"] += 1
        return "dropped"
    _keep(turn, action, Order(action.rule, action.kind, "held", b"", number=number))
    return "kept"


def hand_out(turn: Turn, action: Action) -> Outcome:
    """Send an action that the brake let through, or publish it for review by a person."""
    if not action.human_review:
        _take_effect(turn, action)
        _send(turn, action)
        return "out"
    due_ms = turn.now_ms + turn.policy.ladder.review_days * DAY_MS
    action = structs.replace(action, expires_ms=due_ms)
    if action.kind == "notify":
        _take_effect(turn, action)
    order = Order(action.rule, action.kind, "review", b"", due_ms=due_ms)
    _publish(turn, action, order)
    return "kept"


def wait_turn(turn: Turn, action: Action) -> None:
    """Keep an action that may be sent until no stronger restriction of its service is in force."""
    _keep(turn, action, Order(action.rule, action.kind, "passed", b""))


def raise_again(turn: Turn, action_id: str, order: Order) -> bool:
    """Send the same action once more; False after `attempts_max` attempts."""
    if order.attempts >= turn.policy.ladder.attempts_max:
        return False
    order.state = "sent"
    order.attempts += 1
    order.due_ms = turn.answer_due_ms
    turn.out.append(unpack_action(order.action))
    return True


def lift_again(turn: Turn, governing: Order, restriction_id: str) -> bool:
    """Release a restriction that was applied again after it ended; False if tried too often.

    The release has an id of its own: enforcement has carried out the one that ended the restriction
    and would not do it again. The restriction in force stays.
    """
    if governing.attempts >= turn.policy.ladder.attempts_max:
        return False
    governing.attempts += 1
    ended_by = unpack_action(governing.action)
    root = f"{ended_by.action_id} {restriction_id}"
    release = structs.replace(
        ended_by,
        action_id=identity.action_id("release", root, governing.attempts),
        kind="release",
        parameters={},
        reason=CAME_BACK,
        decided_ms=turn.now_ms,
        effective_ms=turn.now_ms,
        expires_ms=None,
        notice=Notice(required=False),
        human_review=False,
        supersedes=restriction_id,
    )
    _send(turn, release)
    return True


def answer(turn: Turn, action_id: str, order: Order, time_ms: int) -> None:
    """Note that an action was carried out; forget it unless it is a notice or is in force."""
    if order.kind == "notify" or turn.dossier.governs(action_id):
        order.state, order.due_ms = "answered", 0
        order.answered_ms = max(time_ms, 1)
    else:
        turn.drop(action_id)


def _send(turn: Turn, action: Action) -> None:
    """Send an action for the first time, and expect an answer."""
    due_ms = turn.answer_due_ms
    order = Order(action.rule, action.kind, "sent", b"", due_ms=due_ms, attempts=1)
    _publish(turn, action, order)
    _stay_within_bound(turn)


def _publish(turn: Turn, action: Action, order: Order) -> None:
    _keep(turn, action, order)
    turn.out.append(action)


def _keep(turn: Turn, action: Action, order: Order) -> None:
    turn.drop(action.action_id)
    order.action = pack_action(action)
    turn.dossier.orders[action.action_id] = order


def _take_effect(turn: Turn, action: Action) -> None:
    """Change the case and the service as an action that is sent now says."""
    case, kind = turn.case(action.rule), action.kind
    if kind == "notify" and case is not None:
        case.notices = [*case.notices, action.action_id]
        case.noticed_ms = turn.now_ms
        case.announced_ms = case.announced_ms or turn.now_ms
        if case.stage == "open":
            case.stage = "notified"
    elif kind in STRENGTH:
        assert case is not None, "a restriction belongs to a case"
        case.was_restricted = True
        rate_kbps = action.parameters.get("rate_kbps", 0)
        _put_in_force(turn, action, InForce(action.action_id, action.rule, kind, rate_kbps))
    elif kind in DONE_ONCE and case is not None:
        case.stage = "acted"
    elif kind == "propose_termination" and case is not None:
        case.termination = "approved"
    elif kind in GIVES_BACK and action.supersedes is not None:
        _put_in_force(turn, action, InForce(action.action_id, ""))


def _put_in_force(turn: Turn, action: Action, restriction: InForce) -> None:
    """Put an action in the place of the one that was in force of its service."""
    before = turn.dossier.in_force.get(action.service)
    if before is not None:
        ended = [*before.ended, before.action_id] if before.rule else before.ended
        restriction.ended = ended[-ENDED_MAX:]
        turn.drop(before.action_id)
    restriction.since_ms = action.effective_ms
    turn.dossier.in_force[action.service] = restriction


def _stay_within_bound(turn: Turn) -> None:
    """Give up the oldest unanswered action of a service that has very many."""
    orders = turn.dossier.orders
    if len(orders) > ORDERS_MAX:
        sent = (i for i, o in orders.items() if o.state == "sent" and not turn.dossier.governs(i))
        oldest = next(sent, None)
        if oldest is not None:
            turn.drop(oldest)
            turn.counts["unanswered"] += 1
