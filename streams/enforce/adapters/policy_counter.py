"""Restrictions as policy counters: 3GPP Nchf_SpendingLimitControl notifications (TS 29.594)."""

from collections.abc import Iterable
from typing import Any

import msgspec

from schemas.records import Action, Service
from schemas.units import iso
from streams.enforce.account import UNDOING, Instruction, Restriction
from streams.enforce.adapters.contract import SEVERITY, Adapter, spelled, strictest
from streams.enforce.adapters.http import post

SERVICES = frozenset({"mobile", "sms", "voice", "data", "internet"})
"""The services that a policy control function knows; each has a counter of its own."""


class PolicyCounter(Adapter):
    """Notifies a policy control function (PCF) of a counter's status, as a charging function does.

    A counter stands for one service of a customer, its status for the strictest restriction in
    force. A restriction that takes effect later is a pending status with its activation time. Each
    notification holds the whole status, so that sending it twice changes nothing.

    Parameters
    ----------
    url
        The notification URI that the PCF gave; "/notify" is appended.
    timeout_seconds
        How long an answer may take.
    """

    announces = True

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url.rstrip("/") + "/notify"
        self._timeout_seconds = timeout_seconds

    def handles(self, action: Action) -> bool:
        """Handle restrictions of network services, and what undoes them."""
        return action.service in SERVICES and (action.kind in SEVERITY or action.kind in UNDOING)

    def carry_out(self, instruction: Instruction) -> str:
        """Send the counter's status."""
        body = msgspec.json.encode(spending_limit_status(instruction))
        status = post(self._url, body, {}, self._timeout_seconds)
        return f"the policy control function answered {status}"


def spending_limit_status(instruction: Instruction) -> dict[str, Any]:
    """Compose the notification; `supi` is the customer's id unchanged.

    Parameters
    ----------
    instruction
        The instruction.

    Returns
    -------
    The present and the pending statuses of the counter of the instruction's service.
    """
    service = instruction.action.service
    counter = f"fairuse-{service}"
    in_force = _of(service, instruction.in_force)
    info: dict[str, Any] = {
        "policyCounterId": counter,
        "currentStatus": spelled(strictest(in_force)),
    }
    if pending := _pending(in_force, _of(service, instruction.coming)):
        info["penPolCounterStatuses"] = pending
    return {"supi": instruction.action.customer_id, "statusInfos": {counter: info}}


def _pending(in_force: list[Restriction], coming: list[Restriction]) -> list[dict[str, str]]:
    """Each later status and its time; a restriction under a stricter one changes no status."""
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
