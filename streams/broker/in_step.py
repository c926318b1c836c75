"""Usage topics are read in step: no partition runs far ahead of one that has more to read.

A rule over several kinds, or against a mean over all partitions, decides on a period once all of
them have passed it, and has limited room for those that run ahead. Without this, a worker that
catches up would read one topic to its end before the next.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import msgspec
from faust.types import TP
from msgspec import Struct

from schemas.units import DAY_MS

AHEAD_MS = DAY_MS
"""How far a partition's event time may run ahead of another's that has more to read."""

STALLED_SECONDS = 10.0
"""How long the others wait for a partition that has records on the broker and delivers none."""

STALLED_AHEAD_MS = 5 * AHEAD_MS
"""How far they may run ahead of it afterwards: less than rules over several kinds keep room for,
and more than a worker that has caught up ever needs."""

LEFT_BEHIND_SECONDS = 120.0
"""How long until the others no longer consider it."""

UNKNOWN_MS = -1 << 62


class Timed(Struct):
    """The one field of an event that is decoded here."""

    event_time_ms: int


decoder = msgspec.json.Decoder(Timed)


def event_time_ms(record: Any) -> int:
    """Read the event time of a record.

    Parameters
    ----------
    record
        A record of a usage topic.

    Returns
    -------
    Milliseconds since the Unix epoch; `UNKNOWN_MS`, far in the past, for a record that cannot be
    decoded, so that it is never held back.
    """
    try:
        return decoder.decode(record.value).event_time_ms
    except (msgspec.MsgspecError, TypeError):
        return UNKNOWN_MS


class InStep:
    """Says how many of the fetched records of each partition may be handed on now.

    Fetched records are held back if they are more than `AHEAD_MS` ahead of the slowest partition.
    A partition with records on the broker and none fetched counts as being where its last record
    was; after `STALLED_SECONDS` the others may run further ahead of it, and after
    `LEFT_BEHIND_SECONDS` it no longer counts.
    """

    def __init__(self) -> None:
        self._reached: dict[TP, int] = {}
        self._awaited: dict[TP, tuple[float, int]] = {}
        """Per awaited partition: since when, s, and the event time of the slowest other then."""

    def in_step(
        self, fetched: Mapping[TP, Sequence[Any]], awaited: set[TP], now: float | None = None
    ) -> dict[TP, int]:
        """Count the records of each fetched partition that may be handed on.

        Parameters
        ----------
        fetched
            The fetched records of each partition, at least one.
        awaited
            Partitions with records on the broker and none fetched.
        now
            Monotonic time, seconds.

        Returns
        -------
        The count for each partition; one that is held back is left out.
        """
        now = monotonic() if now is None else now
        next_ms = {tp: event_time_ms(records[0]) for tp, records in fetched.items()}
        begun = now, min(next_ms.values())
        self._awaited = {tp: self._awaited.get(tp, begun) for tp in awaited}
        limit_ms = min((next_ms | self._held_at(now)).values()) + AHEAD_MS
        return {
            tp: self._within(records, limit_ms)
            for tp, records in fetched.items()
            if next_ms[tp] <= limit_ms
        }

    def _held_at(self, now: float) -> dict[TP, int]:
        """Event time at which each awaited partition counts as being, until it is left behind."""
        held = {}
        for tp, (since, others_ms) in self._awaited.items():
            if now - since < STALLED_SECONDS:
                held[tp] = self._reached.get(tp, UNKNOWN_MS)
            elif now - since < LEFT_BEHIND_SECONDS:
                held[tp] = self._reached.get(tp, others_ms) + STALLED_AHEAD_MS - AHEAD_MS
        return held

    def _within(self, records: Sequence[Any], limit_ms: int) -> int:
        """Count the records up to the first past the limit, assuming that they are in order of
        time; at least one."""
        if event_time_ms(records[-1]) <= limit_ms:
            return len(records)
        return max(1, bisect_right(records, limit_ms, key=event_time_ms))

    def handed_on(self, records: Mapping[TP, Sequence[Any]]) -> None:
        """Note how far each partition has come.

        Parameters
        ----------
        records
            The records of each partition that were handed on, at least one.
        """
        self._reached |= {tp: event_time_ms(of_tp[-1]) for tp, of_tp in records.items()}

    def forget_all_but(self, kept: set[TP]) -> None:
        """Forget the partitions that other workers read now.

        Parameters
        ----------
        kept
            The partitions that this worker reads.
        """
        self._reached = {tp: time_ms for tp, time_ms in self._reached.items() if tp in kept}
