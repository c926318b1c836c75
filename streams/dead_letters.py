"""Dead letters: input records that could not be used, kept with the reason."""

from base64 import b64encode

from schemas.records import DeadLetter

KEPT_BYTES_MAX = 1_450_000
"""Bytes of a record that are kept at most: in base64 they have to fit into a message again."""

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
    """Make the dead letter of one record; of an oversized one it keeps the beginning.

    Parameters
    ----------
    topic, partition, offset
        Where the record stands.
    key, value
        The record as it was read.
    reason
        One of `streams.metrics.REASONS`.
    detail
        What exactly is wrong.

    Returns
    -------
    The dead letter.
    """
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        reason=reason,
        detail=detail,
        key_base64=None if key is None else b64encode(key).decode(),
        value_base64=None if value is None else b64encode(value[:KEPT_BYTES_MAX]).decode(),
    )
