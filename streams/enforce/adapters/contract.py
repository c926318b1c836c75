"""The interface of an adapter, and what adapters share."""

from collections.abc import Iterable
from typing import Protocol

from schemas.records import Action, ActionKind
from streams.enforce.account import Instruction, Restriction

SEVERITY: dict[ActionKind, int] = {
    "throttle": 1,
    "cut_data": 2,
    "minimum_service": 3,
    "suspend": 4,
}
"""Severity of the kinds that a network knows; of two restrictions the more severe one holds."""


class AdapterError(Exception):
    """An instruction was not carried out; the message says why in one sentence."""


class Unavailable(AdapterError):
    """The instruction may work later: there was no answer, or one that says so."""


class Refused(AdapterError):
    """The instruction will not work however often it is tried."""


class Adapter(Protocol):
    """Carries out instructions in some network or system."""

    announces: bool
    """Whether it wants to be told of restrictions before they take effect."""

    def handles(self, action: Action) -> bool:
        """Decide whether an action is for this adapter; other actions get no result.

        Parameters
        ----------
        action
            The action.

        Returns
        -------
        Whether the adapter carries it out.
        """
        ...

    def carry_out(self, instruction: Instruction) -> str:
        """Carry out an instruction; repeated after a crash, it must change nothing further.

        Parameters
        ----------
        instruction
            What to do, and what holds for the customer afterwards.

        Returns
        -------
        A sentence that says what was done.

        Raises
        ------
        Unavailable
            It may work later.
        Refused
            It will never work.
        """
        ...


def strictest(restrictions: Iterable[Restriction]) -> Restriction | None:
    """Choose the restriction that holds: suspension, minimum service, no data, the lowest speed.

    Parameters
    ----------
    restrictions
        Restrictions of one customer.

    Returns
    -------
    The strictest; None if there is none that a network knows.
    """
    known = [each for each in restrictions if each.kind in SEVERITY]
    return max(known, key=_severity, default=None)


def spelled(restriction: Restriction | None) -> str:
    """Write a restriction and all its parameters as one word, for systems that know only names.

    Parameters
    ----------
    restriction
        The restriction; None for none.

    Returns
    -------
    Its kind and parameters, with a slash between them.

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
    """Read the speed of a throttle.

    Parameters
    ----------
    restriction
        The throttle.

    Returns
    -------
    Its speed, kbit/s.

    Raises
    ------
    Refused
        It names no speed of 1 kbit/s or more.
    """
    rate = restriction.parameters.get("rate_kbps")
    if type(rate) is not int or rate < 1:
        raise Refused("the throttle names no rate_kbps of 1 or more")
    return rate


def _severity(restriction: Restriction) -> tuple[int, int]:
    slower = -rate_kbps(restriction) if restriction.kind == "throttle" else 0
    return SEVERITY[restriction.kind], slower
