"""Actions as signed HTTP requests, after the Standard Webhooks scheme."""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import sha256

import msgspec

from schemas.records import Action
from schemas.units import iso
from streams.clock import Clock
from streams.enforce.account import Instruction
from streams.enforce.adapters.contract import Adapter
from streams.enforce.adapters.http import post

SECRET_PREFIX = "whsec_"


class Webhook(Adapter):
    """Posts each action; a receiver that answers with a 2xx status has taken it over.

    Parameters
    ----------
    url
        Where to.
    secret
        Shared with the receiver; `signing_key` decodes it.
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
        """Handle every action."""
        return True

    def carry_out(self, instruction: Instruction) -> str:
        """Post the action, what it undoes, and what then holds for the customer."""
        body = payload(instruction)
        headers = signed_headers(
            instruction.action.action_id, self._clock() // 1000, body, self._secret
        )
        status = post(self._url, body, headers, self._timeout_seconds)
        return f"the webhook answered {status}"


def payload(instruction: Instruction) -> bytes:
    """Encode the body of the request: the same bytes however often the instruction is tried.

    Parameters
    ----------
    instruction
        The instruction.

    Returns
    -------
    JSON.
    """
    data = {
        "action": instruction.action,
        "undone": instruction.undone,
        "in_force": instruction.in_force,
    }
    kind = f"fairuse.action.{instruction.action.kind}"
    document = {"type": kind, "timestamp": iso(instruction.action.decided_ms), "data": data}
    return msgspec.json.encode(document)


def signed_headers(
    message_id: str, timestamp_seconds: int, body: bytes, secret: bytes
) -> dict[str, str]:
    """Sign a request, so that the receiver can check its sender, its age and repetitions.

    Parameters
    ----------
    message_id
        The same for each repetition.
    timestamp_seconds
        Unix time, s.
    body
        The body of the request.
    secret
        The key.

    Returns
    -------
    The headers of the Standard Webhooks scheme.
    """
    signed = b".".join((message_id.encode(), str(timestamp_seconds).encode(), body))
    signature = b64encode(hmac.digest(secret, signed, sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": f"v1,{signature}",
    }


def signing_key(secret: str) -> bytes:
    """Decode the key in a secret.

    Parameters
    ----------
    secret
        Base64, after `whsec_`.

    Returns
    -------
    The key.

    Raises
    ------
    ValueError
        The secret is not base64, or is empty.

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
