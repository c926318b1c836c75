"""What enforcement knows of one customer, and what to do next.

Pure functions: they take an account and an action (or the outcome of an instruction), and return
the next account and the results to report. They use no clock, network or file: the caller gives the
time.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from schemas.records import Action, ActionKind, EnforcementResult, Service
from schemas.safeguards import CALLING, NEVER_BARRED
from schemas.units import iso

HELD_MAX = 64
"""Waiting actions and restrictions in force of one customer; further actions are refused.

Releases and withdrawals are accepted up to twice as many, so that they never lack room.
"""

ANSWERS_MAX = 256
"""Action ids remembered for one customer; the oldest are forgotten."""

DETAIL_LENGTH_MAX = 256
BACKOFF_MS_FIRST = 1_000
BACKOFF_MS_MAX = 60_000

LASTING: frozenset[ActionKind] = frozenset(
    {
        *("throttle", "cut_data", "minimum_service"),
        *("restrict_storage", "convert_prepaid", "suspend"),
    }
)
"""Kinds that stay in force until they are undone; each replaces the action that it supersedes."""

UNDOING: frozenset[ActionKind] = frozenset({"release", "withdraw"})

Status = Literal["accepted", "delivered", "applied", "failed", "expired"]

NOT_DONE: tuple[Status | None, ...] = (None, "failed")
"""Last status of an action that is still carried out if it comes (again)."""


class Answer(Struct, frozen=True, omit_defaults=True):
    """The last result of an action; no status if it was passed over, or has not come yet."""

    status: Status | None = None
    time_ms: int = 0
    detail: str | None = None
    supersedes: str | None = None


class Waiting(Struct, frozen=True, omit_defaults=True):
    """An accepted action that is still to be carried out.

    `offset` is its offset in its partition, `next_ms` the time from which it may be tried (again).
    """

    action: Action
    offset: int
    next_ms: int
    attempts: int = 0
    announced: bool = True

    @property
    def rank(self) -> tuple[int, int]:
        """A customer's actions are carried out by the time they take effect, then by offset."""
        return self.action.effective_ms, self.offset


class Restriction(Struct, frozen=True):
    """What an action puts in force, now or later."""

    action_id: str
    kind: ActionKind
    service: Service
    parameters: dict[str, Any]
    effective_ms: int
    supersedes: str | None = None


class Account(Struct, frozen=True, omit_defaults=True):
    """All that is known of one customer; `waiting` is in the order of carrying out."""

    waiting: tuple[Waiting, ...] = ()
    in_force: tuple[Restriction, ...] = ()
    answers: dict[str, Answer] = {}


class Instruction(Struct, frozen=True):
    """What an adapter has to do now.

    `in_force` are the restrictions that hold for the customer afterwards, `undone` those that end
    by it, `coming` those that were accepted and take effect later. An instruction that only
    `announces` changes nothing yet.
    """

    action: Action
    in_force: tuple[Restriction, ...]
    undone: tuple[Restriction, ...] = ()
    coming: tuple[Restriction, ...] = ()
    announces: bool = False


class Outcome(Struct, frozen=True):
    """What came of an instruction; after a `passing` fault it may work later, never otherwise."""

    detail: str | None
    fault: Literal["none", "passing", "lasting"] = "none"


Change = tuple[Account, list[EnforcementResult]]
"""The next account, and the results to report."""


def accept(account: Account, action: Action, offset: int, now_ms: int, *, announce: bool) -> Change:
    """Accept an action, or report its last result again if it came before.

    An action that failed is accepted anew. An action that a person still has to review is passed
    over: it comes again once it is approved. A release cancels the actions that it names at once,
    even though the release itself still has to be carried out.

    Parameters
    ----------
    account
        What is known of the customer.
    action
        The action.
    offset
        Its offset in its partition.
    now_ms
        The time, ms.
    announce
        Whether the adapter wants to hear of restrictions before they take effect.

    Returns
    -------
    The next account, and the results to report.
    """
    if action.human_review:
        return pass_over(account, action), []
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


def pass_over(account: Account, action: Action) -> Account:
    """Leave an action to others, but remember what it supersedes: a release may name it later.

    Parameters
    ----------
    account
        What is known of the customer.
    action
        The action.

    Returns
    -------
    The next account.
    """
    if action.action_id in account.answers:
        return account
    return _remember(account, action.action_id, Answer(supersedes=action.supersedes))


def wake_ms(account: Account) -> int | None:
    """Find the time at which `begin` has something to do.

    Parameters
    ----------
    account
        What is known of the customer.

    Returns
    -------
    The time, ms; None if nothing waits.
    """
    if not account.waiting:
        return None
    head = account.waiting[0]
    announcements = [each.next_ms for each in account.waiting if not each.announced]
    return min([max(head.action.effective_ms, head.next_ms), *announcements])


def begin(
    account: Account, now_ms: int
) -> tuple[Account, list[EnforcementResult], Instruction | None]:
    """Expire what is overdue, and give the instruction to carry out now.

    A customer has one instruction at a time: while it is tried again, the others wait.

    Parameters
    ----------
    account
        What is known of the customer.
    now_ms
        The time, ms.

    Returns
    -------
    The next account, the results to report, and the instruction, None if there is nothing to do.
    """
    results: list[EnforcementResult] = []
    while (head := _due(account, now_ms)) and _is_expired(head.action, now_ms):
        why = f"it came to be done after {iso(head.action.expires_ms or 0)}, when it expired"
        account, said = _answer(_without(account, head), head.action, "expired", now_ms, why)
        results += said
    if head is not None and head.next_ms <= now_ms:
        return account, results, _instruction(account, head.action)
    for each in account.waiting:
        if not each.announced and each.next_ms <= now_ms:
            coming = _coming(account.waiting)
            only_told = Instruction(each.action, account.in_force, coming=coming, announces=True)
            return account, results, only_told
    return account, results, None


def finish(
    account: Account, instruction: Instruction, outcome: Outcome, now_ms: int, attempts_max: int
) -> Change:
    """Take in what came of an instruction that `begin` gave.

    Parameters
    ----------
    account
        The account that `begin` returned.
    instruction
        The instruction.
    outcome
        What the adapter made of it.
    now_ms
        The time, ms.
    attempts_max
        How often an instruction is tried before it has failed.

    Returns
    -------
    The next account, and the results to report.
    """
    waiting = next(
        each for each in account.waiting if each.action.action_id == instruction.action.action_id
    )
    attempts = 1 + (waiting.attempts if waiting.announced or instruction.announces else 0)
    if outcome.fault == "passing" and attempts < attempts_max:
        again = msgspec.structs.replace(
            waiting,
            attempts=attempts,
            next_ms=now_ms + min(BACKOFF_MS_FIRST << (attempts - 1), BACKOFF_MS_MAX),
            announced=waiting.announced or not instruction.announces,
        )
        return _replaced(account, waiting, again), []
    if instruction.announces:
        told = msgspec.structs.replace(
            waiting, attempts=0, next_ms=waiting.action.effective_ms, announced=True
        )
        return _replaced(account, waiting, told), []
    account = _without(account, waiting)
    if outcome.fault != "none":
        return _answer(account, instruction.action, "failed", now_ms, outcome.detail)
    account = msgspec.structs.replace(account, in_force=instruction.in_force)
    status: Status = "delivered" if instruction.action.kind == "notify" else "applied"
    account, results = _answer(account, instruction.action, status, now_ms, outcome.detail)
    account, cancelled = _cancel(account, instruction.action, now_ms)
    return account, results + cancelled


def _problem(account: Account, action: Action) -> str | None:
    """Why an action must not or cannot be carried out."""
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


def _instruction(account: Account, action: Action) -> Instruction:
    named = _named(account, action) if action.kind in LASTING | UNDOING else []
    undone = tuple(each for each in account.in_force if each.action_id in named)
    kept = tuple(each for each in account.in_force if each.action_id not in named)
    own = (_restriction(action),) if action.kind in LASTING else ()
    others = tuple(
        each for each in account.waiting if each.action.action_id not in (*named, action.action_id)
    )
    return Instruction(action, kept + own, undone, _coming(others))


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
    """Ids of the actions that an action replaces: the one it names, the one that this names, ...

    An action of this chain may never have been carried out (held for review, failed). Then what it
    was to replace is still in force, so that the whole chain counts.
    """
    named: list[str] = []
    name = action.supersedes
    while name is not None and name not in named:
        named.append(name)
        name = account.answers.get(name, Answer()).supersedes
    return named


def _cancel(account: Account, action: Action, now_ms: int) -> Change:
    """Call off the actions that an action replaces and that are not done, or have not come yet."""
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
) -> Change:
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
    """Put the newest answer last; answers of waiting actions are never forgotten."""
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
