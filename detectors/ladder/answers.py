"""What enforcement answers to actions, and what happens without an answer."""

from operator import attrgetter

from detectors.ladder.dossier import EARLY_MAX, KEPT_BACK, EarlyAnswer, Order
from detectors.ladder.orders import answer, lift_again, raise_again
from detectors.ladder.steps import deliver, try_next_channel
from detectors.ladder.turn import Turn
from schemas.records import EnforcementResult

ACCEPTED = "accepted"
"""Enforcement has received the action; another answer says what became of it."""

CARRIED_OUT = ("applied", "delivered")


def answered(turn: Turn, result: EnforcementResult) -> None:
    """Apply the answer to an action."""
    order = turn.dossier.orders.get(result.action_id)
    rule = _rule_of_notice(turn, result.action_id)
    if rule is not None and result.status == "delivered":
        deliver(turn, rule, result.time_ms)
    elif order is None:
        _answered_late(turn, result)
    elif order.state in KEPT_BACK:
        turn.counts["unmatched"] += 1
    elif result.status in CARRIED_OUT:
        answer(turn, result.action_id, order, result.time_ms)
    elif result.status != ACCEPTED:
        _failed(turn, result.action_id, order)


def keep_early(turn: Turn, result: EnforcementResult) -> None:
    """Keep an answer about an action that was not sent yet.

    After a crash, answers may be read again before the findings that lead to their actions. An
    answer "accepted" changes nothing and is not kept.
    """
    if result.status == ACCEPTED:
        return
    early, known = EarlyAnswer(result.action_id, result.status, result.time_ms), turn.unplaced.early
    if early not in known:
        turn.counts["unmatched"] += len(known) >= EARLY_MAX
        turn.unplaced.early = [*known, early][-EARLY_MAX:]


def take_early(turn: Turn, action_id: str) -> None:
    """Apply the earliest answer that was kept for an action, now that the action was sent."""
    first = _take_off_early(turn, action_id)
    result = EnforcementResult(
        action_id=action_id,
        customer_id=turn.customer_id,
        status=first.status,
        time_ms=first.time_ms,
    )
    answered(turn, result)


def give_up_early(turn: Turn, action_id: str) -> None:
    """Drop an answer whose action was not sent in time, and count it."""
    _take_off_early(turn, action_id)
    turn.counts["unmatched"] += 1


def _take_off_early(turn: Turn, action_id: str) -> EarlyAnswer:
    answers = (early for early in turn.unplaced.early if early.action_id == action_id)
    first = min(answers, key=attrgetter("time_ms"))
    turn.unplaced.early = [early for early in turn.unplaced.early if early != first]
    return first


def unanswered(turn: Turn, action_id: str) -> None:
    """Send an action again that was not answered in time; after the last attempt give it up."""
    order = turn.dossier.orders[action_id]
    if raise_again(turn, action_id, order):
        turn.counts["retried"] += 1
        return
    turn.counts["unanswered"] += 1
    if order.kind == "notify" and _is_newest_notice(turn, action_id, order):
        try_next_channel(turn, order.rule)
    elif turn.dossier.governs(action_id):
        order.state, order.due_ms = "answered", 0
    else:
        turn.drop(action_id)


def _failed(turn: Turn, action_id: str, order: Order) -> None:
    """Send a failed notice by the next channel; any other action goes out again when it is due."""
    if order.kind == "notify" and _is_newest_notice(turn, action_id, order):
        try_next_channel(turn, order.rule)
    elif order.state == "answered":
        order.state = "sent"
        order.due_ms = turn.answer_due_ms


def _answered_late(turn: Turn, result: EnforcementResult) -> None:
    """Apply an answer about an action that is over, or count one that was never known.

    A restriction that was applied although it had been lifted, or replaced by another one, is
    lifted once more.
    """
    held = [h for h in turn.dossier.in_force.values() if result.action_id in h.ended]
    if not held:
        turn.counts["unmatched"] += 1
        return
    order = turn.dossier.orders[held[0].action_id]
    is_drift = result.status == "applied" and 0 < order.answered_ms < result.time_ms
    if is_drift and lift_again(turn, order, result.action_id):
        turn.counts["drift"] += 1


def _rule_of_notice(turn: Turn, action_id: str) -> str | None:
    """The rule whose case waits for this notice to be delivered."""
    cases = turn.dossier.cases.items()
    return next((rule for rule, case in cases if action_id in case.notices), None)


def _is_newest_notice(turn: Turn, action_id: str, order: Order) -> bool:
    case = turn.case(order.rule)
    return case is not None and case.notices[-1:] == [action_id]
