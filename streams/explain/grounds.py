"""Finds an action, the notice before it, and the findings that it rests on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from schemas.records import Action, Customer, Finding
from streams.errors import FairuseError


class ExplainError(FairuseError):
    """An action can't be explained; the message says why and what to do."""


class Records(Protocol):
    """Where the records are that belong to an action, except for usage."""

    def actions(self) -> Iterable[Action]:
        """Read the actions.

        Returns
        -------
        Every action, in order.
        """
        ...

    def findings(self, customer_id: str) -> Iterable[Finding]:
        """Read the findings about a customer.

        Parameters
        ----------
        customer_id
            The customer.

        Returns
        -------
        These findings in order, perhaps with others.
        """
        ...

    def customers(self, customer_id: str) -> Iterable[Customer]:
        """Read which plans customers have.

        Parameters
        ----------
        customer_id
            The customer.

        Returns
        -------
        All customers of that customer's partition, perhaps with others.
        """
        ...

    def policies(self) -> Iterable[bytes]:
        """Read the policies that took effect while events flowed.

        Returns
        -------
        The records of their topic.
        """
        ...


@dataclass(frozen=True, slots=True)
class Grounds:
    """What there is to explain; `notice` is the last one of the same rule before the action."""

    action: Action
    notice: Action | None
    findings: list[Finding]


def grounds_of(
    action_id: str,
    actions: Callable[[], Iterable[Action]],
    findings: Callable[[Action], Iterable[Finding]],
) -> Grounds:
    """Find an action by its id, and what belongs to it; actions are read twice.

    Parameters
    ----------
    action_id
        The action.
    actions
        Gives every action, in order.
    findings
        Gives the findings about the customer of an action.

    Returns
    -------
    The action, its notice and its findings.

    Raises
    ------
    ExplainError
        The action or one of its findings is not there.
    """
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
    return Grounds(action, notices[0] if notices else None, of_action)


def _notices_before(action: Action, actions: Iterable[Action]) -> Iterator[Action]:
    for one in actions:
        if one.action_id == action.action_id:
            return
        same_case = (one.customer_id, one.rule) == (action.customer_id, action.rule)
        if same_case and one.kind == "notify":
            yield one
