"""What becomes due with time: ends of notice periods and reviews, answers that do not come.

Timers are not stored; they follow from the dossier. Before a later record of the same service is
applied, all due timers fire in the order of their times, each at its own time. So it makes no
difference when somebody looked at the dossier.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TypeVar

from detectors.ladder.answers import answered, give_up_early, take_early, unanswered
from detectors.ladder.decisions import refuse
from detectors.ladder.dossier import (
    EARLY_MS,
    NEVER_MS,
    Case,
    Dossier,
    EarlyAnswer,
    needs_regular,
    notice_end_ms,
    over_ms,
)
from detectors.ladder.steps import (
    climb,
    end_episode,
    propose_termination,
    relieve,
    take_finding,
    try_next_channel,
)
from detectors.ladder.turn import Turn
from schemas.policy import Policy, RuleParameters
from schemas.records import Finding
from schemas.units import DAY_MS, HOUR_MS

Timer = tuple[int, Callable[[Turn, str], None], str]
Record = TypeVar("Record")

NOTHING: Timer = (NEVER_MS, lambda turn, subject: None, "")


def take(turn: Turn, now_ms: int, handle: Callable[[Turn, Record], None], record: Record) -> None:
    """Apply a record once all timers until then have fired; assumed answers follow at once."""
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


def advance(turn: Turn, until_ms: int) -> None:
    """Fire the timers of a service that are due by `until_ms`, in the order of their times."""
    while True:
        timer = _first(turn.dossier, turn.policy, turn.unplaced.early)
        if _fires_ms(timer) > until_ms:
            return
        due_ms, fire, subject = timer
        take(turn, max(turn.dossier.clock_ms, due_ms), fire, subject)


def next_due_ms(dossier: Dossier, policy: Policy, early: Sequence[EarlyAnswer]) -> int:
    """When the first timer fires; `NEVER_MS` if there is none.

    `early` are the customer's answers that came before their actions.
    """
    return _fires_ms(_first(dossier, policy, early))


def _fires_ms(timer: Timer) -> int:
    """The time from which a timer fires.

    A waiting finding is applied 1 ms after its own time, so that the order of arrival within a
    millisecond has no effect.
    """
    due_ms, fire, _ = timer
    return due_ms + (fire is _take_waiting)


def _first(dossier: Dossier, policy: Policy, early: Sequence[EarlyAnswer]) -> Timer:
    """The earliest timer; of several at a time, the first in a fixed order."""
    timers: list[Timer] = []
    for name in dossier.cases:
        timers += _case_timers(dossier, policy, name)
    for action_id, order in dossier.orders.items():
        if order.due_ms:
            fire = refuse if order.state == "review" else unanswered
            timers.append((order.due_ms, fire, action_id))
    for service, hold in dossier.in_force.items():
        if not hold.rule:
            memory_ms = policy.ladder.memory_days * DAY_MS
            timers.append((hold.since_ms + memory_ms, _forget_lifted, service))
    for name, exemption in dossier.exemptions.items():
        if exemption.until_ms:
            timers.append((exemption.until_ms, _end_exemption, name))
    # An answer waits a while for its action, and then for its own time.
    timers += [
        (answer.time_ms, take_early, answer.action_id)
        for answer in early
        if dossier.clock_ms < answer.time_ms + EARLY_MS and dossier.is_out(answer.action_id)
    ]
    timers += [(a.time_ms + EARLY_MS, give_up_early, a.action_id) for a in dossier.early]
    if dossier.waiting:
        first = first_waiting(dossier)
        timers.append((first.known_ms, _take_waiting, first.finding_id))
    return min(timers, key=itemgetter(0), default=NOTHING)


def first_waiting(dossier: Dossier) -> Finding:
    """The waiting finding that is known first; of several, the first by name of the rule."""
    return min(dossier.waiting, key=lambda finding: (finding.known_ms, finding.rule))


def _take_waiting(turn: Turn, _finding_id: str) -> None:
    first = first_waiting(turn.dossier)
    turn.dossier.waiting.remove(first)
    if first.rule in turn.policy.rules:
        take_finding(turn, first)


def _case_timers(dossier: Dossier, policy: Policy, name: str) -> list[Timer]:
    case, rule = dossier.cases[name], policy.rules.get(name)
    if rule is None:
        return [(0, _retire, name)]
    timers: list[Timer] = []
    if case.notices and not case.delivered_ms:
        order = dossier.orders.get(case.notices[-1])
        if order is not None and order.state in ("sent", "answered"):
            timeout_ms = policy.ladder.delivery_timeout_hours * HOUR_MS
            timers.append((case.noticed_ms + timeout_ms, try_next_channel, name))
    if case.stage in ("restricted", "suspended"):
        return timers + _restricted_timers(dossier, policy, name, case)
    memory_ms = policy.ladder.memory_days * DAY_MS
    if case.stage == "released":
        return [*timers, (case.released_ms + memory_ms, _forget, name)]
    kept_back = dossier.kept_back(name)
    if case.stage == "notified" and kept_back is None and _climbs_by_itself(case, rule):
        end_ms = notice_end_ms(case, rule, policy)
        timers.append((max(end_ms, case.snoozed_until_ms), climb, name))
    if case.stage == "acted":
        timers.append((over_ms(case, rule, policy), _end_act, name))
    if case.stage != "open" or kept_back is None:
        since_ms = max(case.last_breach_ms, case.ended_ms, case.consented_ms)
        forgotten_ms = max(since_ms + memory_ms, case.snoozed_until_ms)
        timers.append((forgotten_ms, _forget, name))
    else:
        timers.append((over_ms(case, rule, policy), end_episode, name))
    return timers


def _restricted_timers(dossier: Dossier, policy: Policy, name: str, case: Case) -> list[Timer]:
    timers: list[Timer] = [(over_ms(case, policy.rules[name], policy), relieve, name)]
    held = dossier.in_force_of(name)
    if held and held[1].kind == "suspend" and not case.termination:
        end_ms = held[1].since_ms + policy.ladder.suspension_days_max * DAY_MS
        timers.append((max(end_ms, case.snoozed_until_ms), propose_termination, name))
    return timers


def _climbs_by_itself(case: Case, rule: RuleParameters) -> bool:
    """Whether the end of the notice period alone leads to the restriction, since a state lasts."""
    is_new = case.window_ms > case.spent_ms
    return case.lasts and bool(case.delivered_ms) and is_new and not needs_regular(rule)


def _end_act(turn: Turn, rule: str) -> None:
    """The cause of a single act is gone; the notice still counts."""
    case = turn.dossier.cases[rule]
    case.stage, case.spent_ms = "notified", case.window_ms


def _forget(turn: Turn, rule: str) -> None:
    """Forget a case: the next breach begins anew."""
    del turn.dossier.cases[rule]
    turn.drop_where(rule, lambda order: True)


def _retire(turn: Turn, rule: str) -> None:
    """Undo and forget a case whose rule the policy no longer has."""
    end_episode(turn, rule)
    _forget(turn, rule)


def _forget_lifted(turn: Turn, service: str) -> None:
    turn.drop(turn.dossier.in_force.pop(service).action_id)


def _end_exemption(turn: Turn, rule: str) -> None:
    del turn.dossier.exemptions[rule]
