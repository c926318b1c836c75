"""Restrictions as policy counters: 3GPP Nchf_SpendingLimitControl notifications (TS 29.594)."""

from collections.abc import Iterable
from typing import Any

import msgspec

from schemas.records import Action, Service
from schemas.units import iso
from streams.enforce.account import UNDOING, Order, Restriction
from streams.enforce.adapters.contract import SEVERITY, spelled, strictest
from streams.enforce.http import post

SERVICES = frozenset({"mobile", "sms", "voice", "data", "internet"})
"""Those that a policy control function knows; each has a counter of its own."""


class PolicyCounter:
    """Notifies a policy control function (PCF) of a counter's status, as a charging function does.

    A counter stands for one service of a customer, its status for the strictest restriction in
    force; what takes effect later is a pending status with its activation time. Each notification
    says all about the counter, so that it may be said twice.

    Parameters
    ----------
    url
        The notification URI that the PCF gave; "/notify" is put behind it.
    """

    announces = True

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url.rstrip("/") + "/notify"
        self._timeout_seconds = timeout_seconds

    def handles(self, action: Action) -> bool:
        """Restrictions of a service in the network, and what undoes them."""
        return action.service in SERVICES and (action.kind in SEVERITY or action.kind in UNDOING)

    def carry_out(self, order: Order) -> str:
        """Send the counter's status; a sentence about it."""
        body = msgspec.json.encode(spending_limit_status(order))
        status = post(self._url, body, {}, self._timeout_seconds)
        return f"the policy control function answered {status}"


def spending_limit_status(order: Order) -> dict[str, Any]:
    """The notification: what the counter of the order's service says now, and what it will say.

    `supi` is the customer's id as it is.
    """
    service = order.action.service
    counter = f"fairuse-{service}"
    in_force = _of(service, order.in_force)
    info: dict[str, Any] = {
        "policyCounterId": counter,
        "currentStatus": spelled(strictest(in_force)),
    }
    if pending := _pending(in_force, _of(service, order.coming)):
        info["penPolCounterStatuses"] = pending
    return {"supi": order.action.customer_id, "statusInfos": {counter: info}}


def _pending(in_force: list[Restriction], coming: list[Restriction]) -> list[dict[str, str]]:
    """Each later status, and from when on; none for what something stricter hides."""
    pending: dict[str, str] = {}
    held = in_force
    for restriction in coming:
        before = spelled(strictest(held))
        held = [each for each in held if each.action_id != restriction.supersedes]
        held.append(restriction)
        if (after := spelled(strictest(held))) != before:
            pending[iso(restriction.effective_ms)] = after
    return [
        {"policyCounterStatus": status, "activationTime": time} for time, status in pending.items()
    ]


def _of(service: Service, restrictions: Iterable[Restriction]) -> list[Restriction]:
    return [each for each in restrictions if each.service == service]
