"""Records that could not be used, kept as they came."""

from base64 import b64encode

from schemas.records import DeadLetter

KEPT_BYTES_MAX = 1_450_000
"""More of a record than this is not kept: in base64 it has to fit into a message itself."""

POLICY_REASON = "policy"
"""Why a policy was refused; the detail names every mistake in it."""


def dead_letter(
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    reason: str,
    detail: str,
) -> DeadLetter:
    """The letter about one record; of an oversized one only the beginning is kept."""
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        reason=reason,
        detail=detail,
        key_base64=None if key is None else b64encode(key).decode(),
        value_base64=None if value is None else b64encode(value[:KEPT_BYTES_MAX]).decode(),
    )
