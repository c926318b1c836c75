"""What becomes due by itself: ends of periods, answers that do not come.

Timers are not stored, they follow from the dossier. They fire before anything later of the same
customer is taken in, in the order of their times, and what comes of one is decided at its time: so
it makes no difference who looked at the customer when.
"""

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import TypeVar

from detectors.calendar import DAY_MS
from detectors.cases import Case, Dossier, clear_ms, needs_regular, notice_end_ms
from detectors.decisions import refuse
from detectors.ladder import climb, end_episode, propose_termination, relieve, try_next_channel
from detectors.orders import HOUR_MS
from detectors.results import answered, unanswered
from detectors.turn import Turn
from schemas.policy import Policy, RuleParameters

Timer = tuple[int, Callable[[Turn, str], None], str]
Record = TypeVar("Record")

NEVER_MS = 1 << 62


def take(turn: Turn, time_ms: int, handle: Callable[[Turn, Record], None], record: Record) -> None:
    """Take in a record of a customer, after everything that became due before it."""
    time_ms = max(turn.dossier.clock_ms, time_ms)
    advance(turn, time_ms)
    _at(turn, time_ms, handle, record)


def advance(turn: Turn, until_ms: int) -> None:
    """Fire a customer's timers that are due by then, in the order of their times."""
    while True:
        due_ms, fire, subject = _first(turn.dossier, turn.policy)
        if due_ms > until_ms:
            return
        _at(turn, max(turn.dossier.clock_ms, due_ms), fire, subject)


def next_due_ms(dossier: Dossier, policy: Policy) -> int:
    """When something becomes due; `NEVER_MS` if nothing does."""
    return _first(dossier, policy)[0]


def _at(turn: Turn, now_ms: int, handle: Callable[[Turn, Record], None], record: Record) -> None:
    turn.now_ms = turn.dossier.clock_ms = now_ms
    number = len(turn.out)
    handle(turn, record)
    if turn.enforcement is None:
        return
    while number < len(turn.out):
        result = turn.enforcement.answer(turn.out[number])
        number += 1
        if result is not None:
            answered(turn, result)


def _first(dossier: Dossier, policy: Policy) -> Timer:
    return min(_timers(dossier, policy), key=itemgetter(0), default=(NEVER_MS, _forget, ""))


def _timers(dossier: Dossier, policy: Policy) -> Iterator[Timer]:
    """Every timer of a customer, in a fixed order."""
    for name, case in dossier.cases.items():
        yield from _case_timers(dossier, policy, name, case)
    for action_id, order in dossier.orders.items():
        if order.due_ms:
            yield order.due_ms, refuse if order.state == "review" else unanswered, action_id
    memory_ms = policy.ladder.memory_days * DAY_MS
    for service, hold in dossier.holds.items():
        if not hold.rule:
            yield hold.since_ms + memory_ms, _forget_hold, service
    for name, exemption in dossier.exemptions.items():
        if exemption.until_ms:
            yield exemption.until_ms, _end_exemption, name


def _case_timers(dossier: Dossier, policy: Policy, name: str, case: Case) -> Iterator[Timer]:
    rule = policy.rules.get(name)
    if rule is None:
        yield 0, _retire, name
        return
    if case.notices and not case.delivered_ms:
        order = dossier.orders.get(case.notices[-1])
        if order is not None and order.state in ("sent", "answered"):
            timeout_ms = policy.ladder.delivery_timeout_hours * HOUR_MS
            yield case.noticed_ms + timeout_ms, try_next_channel, name
    if case.stage in ("restricted", "suspended"):
        yield from _restricted_timers(dossier, policy, name, case)
        return
    memory_ms = policy.ladder.memory_days * DAY_MS
    if case.stage == "released":
        yield case.released_ms + memory_ms, _forget, name
        return
    kept_back = dossier.kept_back(name)
    if case.stage == "notified" and _climbs_by_itself(case, rule) and kept_back is None:
        end_ms = notice_end_ms(case, rule, policy)
        yield max(end_ms, case.snoozed_until_ms), climb, name
    if case.stage == "acted" and not case.holds:
        yield clear_ms(case, rule, policy), _end_act, name
    if case.stage == "open" and kept_back is not None:
        if not case.holds:
            yield clear_ms(case, rule, policy), end_episode, name
    else:
        yield max(case.last_breach_ms + memory_ms, case.snoozed_until_ms), _forget, name


def _restricted_timers(dossier: Dossier, policy: Policy, name: str, case: Case) -> Iterator[Timer]:
    if not case.holds and case.termination != "approved":
        yield clear_ms(case, policy.rules[name], policy), relieve, name
    held = dossier.hold_of(name)
    if held and held[1].kind == "suspend" and not case.termination:
        days = policy.ladder.suspension_days_max
        end_ms = held[1].since_ms + days * DAY_MS
        yield max(end_ms, case.snoozed_until_ms), propose_termination, name


def _climbs_by_itself(case: Case, rule: RuleParameters) -> bool:
    """Whether a state that was announced lasts, so that no further finding has to come."""
    is_new = case.window_ms > case.spent_ms
    return case.holds and bool(case.delivered_ms) and is_new and not needs_regular(rule)


def _end_act(turn: Turn, rule: str) -> None:
    """The cause of what was done once is gone; the notice of it still stands."""
    case = turn.dossier.cases[rule]
    case.stage, case.spent_ms = "notified", case.window_ms


def _forget(turn: Turn, rule: str) -> None:
    """The ladder begins anew."""
    del turn.dossier.cases[rule]
    turn.drop_where(rule, lambda order: True)


def _retire(turn: Turn, rule: str) -> None:
    """The policy no longer has the rule: nothing rests on it any more."""
    end_episode(turn, rule)
    _forget(turn, rule)


def _forget_hold(turn: Turn, service: str) -> None:
    turn.drop(turn.dossier.holds.pop(service).action_id)


def _end_exemption(turn: Turn, rule: str) -> None:
    del turn.dossier.exemptions[rule]
