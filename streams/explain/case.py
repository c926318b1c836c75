"""An action, the notice that came before it, and the findings it rests on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from schemas.records import Action, Finding
from streams.errors import FairuseError


class ExplainError(FairuseError):
    """An action that can't be explained; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Case:
    """What there is to explain; `notice` is the latest one of the same rule up to the action."""

    action: Action
    notice: Action | None
    findings: list[Finding]


def case_of(
    action_id: str,
    actions: Callable[[], Iterable[Action]],
    findings: Callable[[Action], Iterable[Finding]],
) -> Case:
    """Find an action by its id, and what belongs to it; actions are read twice."""
    action = next((one for one in actions() if one.action_id == action_id), None)
    if action is None:
        raise ExplainError(f"no action {action_id} is there: check the number")
    notices = deque(_notices_before(action, actions()), maxlen=1)
    wanted = set(action.finding_ids)
    found: dict[str, Finding] = {}
    for one in findings(action):
        if one.finding_id in wanted:
            found[one.finding_id] = one
        if len(found) == len(wanted):
            break
    if missing := sorted(wanted - set(found)):
        raise ExplainError(
            f"finding {missing[0]} of the action is not there: name the findings of the same run"
        )
    of_action = [found[finding_id] for finding_id in action.finding_ids]
    return Case(action, notices[0] if notices else None, of_action)


def _notices_before(action: Action, actions: Iterable[Action]) -> Iterator[Action]:
    for one in actions:
        if one.action_id == action.action_id:
            return
        same_case = (one.customer_id, one.rule) == (action.customer_id, action.rule)
        if same_case and one.kind == "notify":
            yield one
