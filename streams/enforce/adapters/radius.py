"""Restrictions as RADIUS change of authorization (RFC 5176)."""

from io import StringIO

from pyrad.client import Client, Timeout
from pyrad.dictionary import Dictionary
from pyrad.packet import CoAACK, CoARequest, DisconnectACK, DisconnectRequest

from schemas.records import Action
from streams.clock import Clock
from streams.enforce.account import UNDOING, Instruction
from streams.enforce.adapters.contract import (
    SEVERITY,
    Adapter,
    Refused,
    Unavailable,
    rate_kbps,
    spelled,
    strictest,
)

SERVICES = frozenset({"mobile", "data", "internet"})
"""The services that use the connection which RADIUS opens."""

SENDS = 2
"""How often a packet is sent before its answer is taken for lost."""

BITS_MAX = 2**32 - 1
"""Largest value of a RADIUS integer."""

SESSION_CONTEXT_NOT_FOUND = 503
RESOURCES_UNAVAILABLE = 506

DICTIONARY = Dictionary(
    StringIO(
        """
ATTRIBUTE User-Name 1 string
ATTRIBUTE Filter-Id 11 string
ATTRIBUTE Event-Timestamp 55 date
ATTRIBUTE Message-Authenticator 80 octets
ATTRIBUTE Error-Cause 101 integer
VENDOR WISPr 14122
BEGIN-VENDOR WISPr
ATTRIBUTE WISPr-Bandwidth-Max-Up 7 integer
ATTRIBUTE WISPr-Bandwidth-Max-Down 8 integer
END-VENDOR WISPr
"""
    )
)


class Radius(Adapter):
    """Tells a RADIUS server what holds for a customer; disconnects customers who are suspended.

    A CoA-Request names the customer (User-Name) and the strictest restriction in force with its
    parameters (Filter-Id), a throttle also as bandwidth (WISPr, bit/s); without a restriction,
    Filter-Id is "unrestricted". A suspended customer is disconnected after that request, and so
    can't connect again in between. Requests say what holds, not what changes, so that sending one
    twice changes nothing.

    Parameters
    ----------
    host, port
        Where the server takes CoA-Requests.
    secret
        Shared with the server.
    timeout_seconds
        How long an answer may take.
    clock
        Time of a request, by which the server refuses old ones.
    """

    announces = False

    def __init__(
        self, host: str, port: int, secret: str, timeout_seconds: float, clock: Clock
    ) -> None:
        self._clock = clock
        self._client = Client(
            server=host,
            coaport=port,
            secret=secret.encode(),
            dict=DICTIONARY,
            retries=SENDS,
            timeout=timeout_seconds,  # pyright: ignore[reportArgumentType] - pyrad takes a float
        )

    def handles(self, action: Action) -> bool:
        """Handle restrictions of the connection, and what undoes them."""
        return action.service in SERVICES and (action.kind in SEVERITY or action.kind in UNDOING)

    def carry_out(self, instruction: Instruction) -> str:
        """Send what holds now."""
        customer_id = instruction.action.customer_id
        held = strictest(instruction.in_force)
        attributes: dict[str, str | int] = {"Filter-Id": spelled(held)}
        if held is not None and held.kind == "throttle":
            attributes |= _bandwidth(rate_kbps(held))
        code, cause = self._ask(CoARequest, customer_id, attributes)
        if code != CoAACK:
            raise _fault("change of authorization", cause)
        if held is None or held.kind != "suspend":
            return f"RADIUS holds {spelled(held)}"
        code, cause = self._ask(DisconnectRequest, customer_id, {})
        if code == DisconnectACK:
            return "RADIUS holds suspend and has disconnected the customer"
        if cause == SESSION_CONTEXT_NOT_FOUND:
            return "RADIUS holds suspend; the customer was not connected"
        raise _fault("disconnection", cause)

    def _ask(
        self, code: int, customer_id: str, attributes: dict[str, str | int]
    ) -> tuple[int, int | None]:
        """Send a request; return the code of the answer, and its Error-Cause if it has one."""
        packet = self._client.CreateCoAPacket(code=code, message_authenticator=True)
        try:
            packet["User-Name"] = customer_id
            packet["Event-Timestamp"] = self._clock() // 1000
            for name, value in attributes.items():
                packet[name] = value
        except ValueError as error:
            raise Refused(f"it does not fit into a RADIUS packet ({error})") from None
        try:
            reply = self._client.SendPacket(packet)
        except Timeout:
            raise Unavailable("the RADIUS server did not answer") from None
        except OSError as error:
            raise Unavailable(f"the RADIUS server can't be reached ({error.strerror})") from None
        return reply.code, next(iter(reply.get("Error-Cause", [])), None)


def _bandwidth(kbps: int) -> dict[str, str | int]:
    bits = kbps * 1000
    if bits > BITS_MAX:
        raise Refused(f"{kbps} kbit/s is more than WISPr bandwidth can say")
    return {"WISPr-Bandwidth-Max-Down": bits, "WISPr-Bandwidth-Max-Up": bits}


def _fault(what: str, cause: int | None) -> Refused | Unavailable:
    kind = Unavailable if cause == RESOURCES_UNAVAILABLE else Refused
    return kind(f"the RADIUS server refused the {what}, Error-Cause {cause or 'not given'}")
