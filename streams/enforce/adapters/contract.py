"""What an adapter is, and what the adapters share."""

from collections.abc import Iterable
from typing import Protocol

from schemas.records import Action, ActionKind
from streams.enforce.account import Order, Restriction

SEVERITY: dict[ActionKind, int] = {"throttle": 1, "minimum_service": 2, "suspend": 3}
"""Of the kinds that a network knows; of two restrictions the more severe one holds."""


class AdapterError(Exception):
    """An order that was not carried out; the message says why in one sentence."""


class Unavailable(AdapterError):
    """It may work later: no answer, or an answer that says so."""


class Refused(AdapterError):
    """It will not work however often it is tried."""


class Adapter(Protocol):
    """Carries out orders in some network or system."""

    announces: bool
    """Whether it wants to hear of restrictions before they take effect."""

    def handles(self, action: Action) -> bool:
        """Whether an action is its business; others are passed over in silence."""
        ...

    def carry_out(self, order: Order) -> str:
        """Do it, and say in a sentence what was done.

        The same order may come again after a crash and must then change nothing further. Raises
        `Unavailable` or `Refused`.
        """
        ...


def strictest(restrictions: Iterable[Restriction]) -> Restriction | None:
    """The one that holds where several meet: suspended, minimum service, or the lowest speed."""
    known = [each for each in restrictions if each.kind in SEVERITY]
    return max(known, key=_severity, default=None)


def spelled(restriction: Restriction | None) -> str:
    """A restriction with all its parameters as one word, for systems that know only names.

    Nothing is left out, so that a minimum service keeps what has to stay open.

    Examples
    --------
    >>> spelled(Restriction("a-1", "minimum_service", "voice",
    ...                     {"incoming": "national", "outgoing": ["emergency", "free"]}, 0))
    'minimum_service/incoming:national/outgoing:emergency/outgoing:free'
    >>> spelled(None)
    'unrestricted'
    """
    if restriction is None:
        return "unrestricted"
    parts = [
        f"{name}:{value}"
        for name, values in sorted(restriction.parameters.items())
        for value in (values or [""] if isinstance(values, list) else [values])
    ]
    return "/".join([restriction.kind, *parts])


def rate_kbps(restriction: Restriction) -> int:
    """The speed of a throttle, kbit/s; `Refused` if it names none."""
    rate = restriction.parameters.get("rate_kbps")
    if type(rate) is not int or rate < 1:
        raise Refused("the throttle names no rate_kbps of 1 or more")
    return rate


def _severity(restriction: Restriction) -> tuple[int, int]:
    slower = -rate_kbps(restriction) if restriction.kind == "throttle" else 0
    return SEVERITY[restriction.kind], slower
