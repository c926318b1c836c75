"""Actions as signed HTTP requests, after the Standard Webhooks scheme."""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import sha256

import msgspec

from schemas.records import Action
from schemas.units import iso
from streams.clock import Clock
from streams.enforce.account import Order
from streams.enforce.http import post

SECRET_PREFIX = "whsec_"


class Webhook:
    """Posts each action; whoever answers with a 2xx status has taken it over.

    Parameters
    ----------
    url
        Where to.
    secret
        Shared with the receiver; from `signing_key`.
    timeout_seconds
        How long an answer may take.
    clock
        Time of the signature, by which a receiver refuses old requests.
    """

    announces = False

    def __init__(self, url: str, secret: bytes, timeout_seconds: float, clock: Clock) -> None:
        self._url = url
        self._secret = secret
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    def handles(self, action: Action) -> bool:
        """Every action."""
        return True

    def carry_out(self, order: Order) -> str:
        """Post the action, what it undoes, and what then holds for the customer."""
        body = payload(order)
        headers = signed_headers(order.action.action_id, self._clock() // 1000, body, self._secret)
        status = post(self._url, body, headers, self._timeout_seconds)
        return f"the webhook answered {status}"


def payload(order: Order) -> bytes:
    """The body of the request: the same bytes however often the order is tried."""
    data = {
        "action": order.action,
        "undone": order.undone,
        "in_force": order.in_force,
    }
    kind = f"fairuse.action.{order.action.kind}"
    document = {"type": kind, "timestamp": iso(order.action.decided_ms), "data": data}
    return msgspec.json.encode(document)


def signed_headers(
    message_id: str, timestamp_seconds: int, body: bytes, secret: bytes
) -> dict[str, str]:
    """Headers by which the receiver knows sender, age and repetitions of a request."""
    signed = b".".join((message_id.encode(), str(timestamp_seconds).encode(), body))
    signature = b64encode(hmac.digest(secret, signed, sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": f"v1,{signature}",
    }


def signing_key(secret: str) -> bytes:
    """The key in a secret: base64, after `whsec_`; ValueError if it is not.

    Examples
    --------
    >>> signing_key("whsec_ZmFpcnVzZS1mYWlydXNlLWZhaXJ1c2U=")
    b'fairuse-fairuse-fairuse'
    """
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except Base64Error as error:
        raise ValueError(str(error)) from None
    if not key:
        raise ValueError("it is empty")
    return key
