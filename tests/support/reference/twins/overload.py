"""Kilobytes in rolling windows, one session at a time."""

from fractions import Fraction
from math import ceil, floor

from schemas.events import Data
from tests.support.reference import naive
from tests.support.strategies.drawing import MINUTE_MS, choices, events_of

LOW = {"limit_kilobytes": 100, "length_seconds": 900, "step_seconds": 300}
SESSIONS = choices(
    bytes_uplink=(999, 1_000, 40_000),
    bytes_downlink=(0, 59_000, 59_001, 61_000, 2**53),
    duration_ms=(None, 0, 900_000, 900_001, 1_800_000, 2**53),
)
CASES = {
    "steps": (
        {},
        events_of(
            Data,
            SESSIONS,
            5 * MINUTE_MS,
            jitters=(0, -1, MINUTE_MS, 15 * MINUTE_MS, 16 * MINUTE_MS),
        ),
    ),
    "retained": (
        {"retention_periods": 2, "applies_to": "unlimited"},
        events_of(Data, SESSIONS, 15 * MINUTE_MS, jitters=(0, -1, 5 * MINUTE_MS)),
    ),
}


class Twin(naive.Counting):
    """A long session counts with what one window can hold of it."""

    reads = ("data",)

    def __init__(self, policy, plans):
        limit = policy.rules["overload"].limit_kilobytes
        super().__init__("overload", policy, plans, None, limit)

    def pieces(self, event):
        length = self.parameters.length_seconds
        seconds = max(length, ceil(Fraction(event.duration_ms or 0, 1000)))
        kilobytes = (event.bytes_uplink + event.bytes_downlink) // 1000
        if amount := floor(kilobytes * Fraction(length, seconds)):
            yield self.periods.of(event.event_time_ms), amount
