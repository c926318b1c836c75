"""What enforcement knows of one customer, and what to do next.

Pure functions: an account and an action (or the outcome of an order) in, the next account and the
results to report out. Neither clock nor network nor file; the time is handed in.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from schemas.records import Action, ActionKind, EnforcementResult, Service
from schemas.safeguards import CALLING, NEVER_BARRED
from schemas.units import iso

HELD_MAX = 64
"""Actions waiting and restrictions in force of one customer; what comes on top is refused.

What undoes has as much room again.
"""

ANSWERS_MAX = 256
"""Action ids that are remembered of one customer; the oldest are forgotten."""

DETAIL_LENGTH_MAX = 256
BACKOFF_MS_FIRST = 1_000
BACKOFF_MS_MAX = 60_000

LASTING: frozenset[ActionKind] = frozenset(
    {"throttle", "minimum_service", "restrict_storage", "convert_prepaid", "suspend"}
)
"""Kinds that hold until they are undone; they take the place of what they name."""

UNDOING: frozenset[ActionKind] = frozenset({"release", "withdraw"})

Status = Literal["accepted", "delivered", "applied", "failed", "expired"]

NOT_DONE: tuple[Status | None, ...] = (None, "failed")
"""What was last said of an action that may still be done if it comes (again)."""


class Answer(Struct, frozen=True, omit_defaults=True):
    """What was last said about an action; no status if it was left alone, or has not come yet."""

    status: Status | None = None
    time_ms: int = 0
    detail: str | None = None
    supersedes: str | None = None


class Waiting(Struct, frozen=True, omit_defaults=True):
    """An accepted action that is still to be done.

    `offset` is where it stood in its partition, `next_ms` when it may be tried (again).
    """

    action: Action
    offset: int
    next_ms: int
    attempts: int = 0
    announced: bool = True

    @property
    def rank(self) -> tuple[int, int]:
        """A customer's actions are done in the order in which they take effect, then came."""
        return self.action.effective_ms, self.offset


class Restriction(Struct, frozen=True):
    """What an action put in force, or will."""

    action_id: str
    kind: ActionKind
    service: Service
    parameters: dict[str, Any]
    effective_ms: int
    supersedes: str | None = None


class Account(Struct, frozen=True, omit_defaults=True):
    """All that is known of one customer; `waiting` in the order in which it will be done."""

    waiting: tuple[Waiting, ...] = ()
    in_force: tuple[Restriction, ...] = ()
    answers: dict[str, Answer] = {}


class Order(Struct, frozen=True):
    """What an adapter is to do now.

    `in_force` is what holds for the customer once it is done, `undone` what no longer does,
    `coming` what was accepted and takes effect later. An order that only announces changes
    nothing yet.
    """

    action: Action
    in_force: tuple[Restriction, ...]
    undone: tuple[Restriction, ...] = ()
    coming: tuple[Restriction, ...] = ()
    announces: bool = False


class Outcome(Struct, frozen=True):
    """What an adapter made of an order: done, failed, or failed in a way that may pass."""

    detail: str | None
    fault: Literal["none", "passing", "lasting"] = "none"


Step = tuple[Account, list[EnforcementResult]]


def take(account: Account, action: Action, offset: int, now_ms: int, *, announce: bool) -> Step:
    """Accept an action, or say again what was said about it before.

    One that failed is accepted anew: whoever sends it again, and how often, bounds the attempts.
    What a person still has to look at is left alone: it comes again once it was approved. A release
    cancels what it names at once, even while the release itself still has to be carried out.
    """
    if action.human_review:
        return note(account, action), []
    known = account.answers.get(action.action_id)
    if known is not None and known.status not in NOT_DONE:
        return account, [_result(action, known)]
    if problem := _problem(account, action):
        return _answer(account, action, "failed", now_ms, problem)
    later = action.effective_ms > now_ms
    detail = f"takes effect at {iso(action.effective_ms)}" if later else None
    account, results = _answer(account, action, "accepted", now_ms, detail)
    if action.kind in UNDOING and not later:
        account, cancelled = _cancel(account, action, now_ms)
        results += cancelled
    waiting = Waiting(
        action=action,
        offset=offset,
        next_ms=now_ms if announce else action.effective_ms,
        announced=not (announce and later and action.kind in LASTING),
    )
    in_order = tuple(sorted((*account.waiting, waiting), key=lambda each: each.rank))
    return msgspec.structs.replace(account, waiting=in_order), results


def note(account: Account, action: Action) -> Account:
    """Remember what an action would have undone, for it may be named itself by a release."""
    if action.action_id in account.answers:
        return account
    return _remember(account, action.action_id, Answer(supersedes=action.supersedes))


def wake_ms(account: Account) -> int | None:
    """When there is something to do, None if nothing waits."""
    if not account.waiting:
        return None
    head = account.waiting[0]
    announcements = [each.next_ms for each in account.waiting if not each.announced]
    return min([max(head.action.effective_ms, head.next_ms), *announcements])


def begin(account: Account, now_ms: int) -> tuple[Account, list[EnforcementResult], Order | None]:
    """The order to carry out now, if any, after what expired meanwhile was answered.

    One order of a customer at a time: while the first is tried again, those behind it wait.
    """
    results: list[EnforcementResult] = []
    while (head := _due(account, now_ms)) and _is_expired(head.action, now_ms):
        why = f"it came to be done after {iso(head.action.expires_ms or 0)}, when it expired"
        account, said = _answer(_without(account, head), head.action, "expired", now_ms, why)
        results += said
    if head is not None and head.next_ms <= now_ms:
        return account, results, _order(account, head.action)
    for each in account.waiting:
        if not each.announced and each.next_ms <= now_ms:
            coming = _coming(account.waiting)
            order = Order(each.action, account.in_force, coming=coming, announces=True)
            return account, results, order
    return account, results, None


def settle(
    account: Account, order: Order, outcome: Outcome, now_ms: int, attempts_max: int
) -> Step:
    """Take in what became of an order that `begin` gave."""
    waiting = next(
        each for each in account.waiting if each.action.action_id == order.action.action_id
    )
    attempts = 1 + (waiting.attempts if waiting.announced or order.announces else 0)
    if outcome.fault == "passing" and attempts < attempts_max:
        again = msgspec.structs.replace(
            waiting,
            attempts=attempts,
            next_ms=now_ms + min(BACKOFF_MS_FIRST << (attempts - 1), BACKOFF_MS_MAX),
            announced=waiting.announced or not order.announces,
        )
        return _replaced(account, waiting, again), []
    if order.announces:
        told = msgspec.structs.replace(
            waiting, attempts=0, next_ms=waiting.action.effective_ms, announced=True
        )
        return _replaced(account, waiting, told), []
    account = _without(account, waiting)
    if outcome.fault != "none":
        return _answer(account, order.action, "failed", now_ms, outcome.detail)
    account = msgspec.structs.replace(account, in_force=order.in_force)
    status: Status = "delivered" if order.action.kind == "notify" else "applied"
    account, results = _answer(account, order.action, status, now_ms, outcome.detail)
    account, cancelled = _cancel(account, order.action, now_ms)
    return account, results + cancelled


def _problem(account: Account, action: Action) -> str | None:
    """Why an action must not be done, or cannot be."""
    if action.kind == "minimum_service" or (action.kind == "suspend" and action.service in CALLING):
        left_open = action.parameters.get("outgoing")
        if not isinstance(left_open, list) or not set(NEVER_BARRED).issubset(left_open):
            return "it would bar emergency or free numbers, which nothing may"
    held = len(account.waiting) + len(account.in_force)
    if held >= HELD_MAX * (2 if action.kind in UNDOING else 1):
        return f"{held} actions of this customer are waiting or in force already"
    return None


def _is_expired(action: Action, now_ms: int) -> bool:
    return action.expires_ms is not None and action.expires_ms <= now_ms


def _due(account: Account, now_ms: int) -> Waiting | None:
    """The action whose turn it is."""
    head = account.waiting[0] if account.waiting else None
    return head if head is not None and head.action.effective_ms <= now_ms else None


def _order(account: Account, action: Action) -> Order:
    named = _named(account, action) if action.kind in LASTING | UNDOING else []
    undone = tuple(each for each in account.in_force if each.action_id in named)
    kept = tuple(each for each in account.in_force if each.action_id not in named)
    own = (_restriction(action),) if action.kind in LASTING else ()
    others = tuple(
        each for each in account.waiting if each.action.action_id not in (*named, action.action_id)
    )
    return Order(action, kept + own, undone, _coming(others))


def _coming(waiting: tuple[Waiting, ...]) -> tuple[Restriction, ...]:
    return tuple(_restriction(each.action) for each in waiting if each.action.kind in LASTING)


def _restriction(action: Action) -> Restriction:
    return Restriction(
        action_id=action.action_id,
        kind=action.kind,
        service=action.service,
        parameters=action.parameters,
        effective_ms=action.effective_ms,
        supersedes=action.supersedes,
    )


def _named(account: Account, action: Action) -> list[str]:
    """What an action takes the place of: the one it names, what that one names, and so on.

    The whole chain, for one in it may never have been done (held for review, failed), so that what
    it was to undo is still in force.
    """
    named: list[str] = []
    name = action.supersedes
    while name is not None and name not in named:
        named.append(name)
        name = account.answers.get(name, Answer()).supersedes
    return named


def _cancel(account: Account, action: Action, now_ms: int) -> Step:
    """What an action names and was not done yet will not be done, whether or not it has come."""
    if action.kind not in LASTING | UNDOING:
        return account, []
    results: list[EnforcementResult] = []
    why = f"superseded by {action.action_id} before it was done"
    for name in _named(account, action):
        known = account.answers.get(name, Answer())
        waiting = next((each for each in account.waiting if each.action.action_id == name), None)
        if waiting is not None:
            account = _without(account, waiting)
            account, said = _answer(account, waiting.action, "expired", now_ms, why)
            results += said
        elif known.status in NOT_DONE:
            account = _remember(account, name, Answer("expired", now_ms, why, known.supersedes))
    return account, results


def _answer(
    account: Account, action: Action, status: Status, now_ms: int, detail: str | None
) -> Step:
    shortened = None if detail is None else detail[:DETAIL_LENGTH_MAX]
    answer = Answer(status, now_ms, shortened, action.supersedes)
    return _remember(account, action.action_id, answer), [_result(action, answer)]


def _result(action: Action, answer: Answer) -> EnforcementResult:
    assert answer.status is not None
    return EnforcementResult(
        action_id=action.action_id,
        customer_id=action.customer_id,
        status=answer.status,
        time_ms=answer.time_ms,
        detail=answer.detail,
    )


def _remember(account: Account, action_id: str, answer: Answer) -> Account:
    """The newest last; of those that are forgotten none is still waiting."""
    answers = {name: said for name, said in account.answers.items() if name != action_id}
    answers[action_id] = answer
    if len(answers) > ANSWERS_MAX:
        waiting = {each.action.action_id for each in account.waiting}
        del answers[next(name for name in answers if name not in waiting)]
    return msgspec.structs.replace(account, answers=answers)


def _without(account: Account, waiting: Waiting) -> Account:
    left = tuple(each for each in account.waiting if each is not waiting)
    return msgspec.structs.replace(account, waiting=left)


def _replaced(account: Account, old: Waiting, new: Waiting) -> Account:
    waiting = tuple(new if each is old else each for each in account.waiting)
    return msgspec.structs.replace(account, waiting=waiting)
