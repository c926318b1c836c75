"""Usage topics are read in step: no partition runs far ahead of one that has more to read.

Rules over several kinds, or against a mean over all partitions, judge a period once all have passed
it, and keep room for those that run ahead for a while only. A worker that catches up would else
read one topic to its end first.
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
"""So long the others wait for a partition from which nothing comes."""

STALLED_AHEAD_MS = 5 * AHEAD_MS
"""How far they may run ahead of it then: less than what rules over several kinds remember of those
that lag, and more than a worker that has caught up ever comes by."""

LEFT_BEHIND_SECONDS = 120.0
"""After so long they go on without it."""

UNKNOWN_MS = -1 << 62


class Timed(Struct):
    """What is read of an event to know how far its topic has come."""

    event_time_ms: int


decoder = msgspec.json.Decoder(Timed)


def event_time_ms(record: Any) -> int:
    """Event time of a record; far in the past where it can't be read, so that it holds up none."""
    try:
        return decoder.decode(record.value).event_time_ms
    except (msgspec.MsgspecError, TypeError):
        return UNKNOWN_MS


class InStep:
    """Says of the partitions that were fetched how much of each may be handed on now.

    A partition from which more is to come, but nothing was fetched yet, holds the others at what
    was handed on of it last; `STALLED_SECONDS` later they may run further ahead, and
    `LEFT_BEHIND_SECONDS` later it is left behind.
    """

    def __init__(self) -> None:
        self._reached: dict[TP, int] = {}
        self._awaited: dict[TP, tuple[float, int]] = {}
        """Since when, and where the slowest of the others was then."""

    def in_step(
        self, fetched: Mapping[TP, Sequence[Any]], awaited: set[TP], now: float | None = None
    ) -> dict[TP, int]:
        """How many records to hand on of each fetched partition; those held back are left out.

        Parameters
        ----------
        fetched
            Records at hand, by partition, none of them empty.
        awaited
            Partitions that have more to read, and none of it at hand.
        now
            Monotonic time, seconds.
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
        """Where each awaited partition holds the others."""
        held = {}
        for tp, (since, others_ms) in self._awaited.items():
            if now - since < STALLED_SECONDS:
                held[tp] = self._reached.get(tp, UNKNOWN_MS)
            elif now - since < LEFT_BEHIND_SECONDS:
                held[tp] = self._reached.get(tp, others_ms) + STALLED_AHEAD_MS - AHEAD_MS
        return held

    def _within(self, records: Sequence[Any], limit_ms: int) -> int:
        """Records up to the first that is past the limit, if they came in order of time."""
        if event_time_ms(records[-1]) <= limit_ms:
            return len(records)
        return max(1, bisect_right(records, limit_ms, key=event_time_ms))

    def handed_on(self, records: Mapping[TP, Sequence[Any]]) -> None:
        """Note how far each partition has come with these records, none of them empty."""
        self._reached |= {tp: event_time_ms(of_tp[-1]) for tp, of_tp in records.items()}

    def forget_all_but(self, kept: set[TP]) -> None:
        """Forget the partitions that others read now."""
        self._reached = {tp: time_ms for tp, time_ms in self._reached.items() if tp in kept}
