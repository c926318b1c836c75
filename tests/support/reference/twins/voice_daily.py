"""Calls of a local day."""

from schemas.events import CALL_MS_MAX, Voice
from tests.support.reference import naive
from tests.support.strategies.drawing import HOUR_MS, choices, events_of

LOW = {
    "limit_ms": HOUR_MS - 1,
    "retention_periods": 2,
    "regular_periods": 2,
    "regular_window": 3,
}


class Twin(naive.Calls):
    """A sum for each customer and day."""

    def __init__(self, policy, plans):
        limit = policy.rules["voice_daily"].limit_ms
        super().__init__("voice_daily", policy, plans, naive.Days, limit)


CALLS = choices(
    duration_ms=(
        *(0, 1, HOUR_MS, 2 * HOUR_MS, 2 * HOUR_MS + 1, 5 * HOUR_MS),
        *(26 * HOUR_MS, 73 * HOUR_MS, CALL_MS_MAX),
    ),
    direction=("mo", "mo", "mo", "mt"),
)
HISTORIES = events_of(Voice, CALLS, other_party="o")
CASES = {}
"""They are tried together with others, in tests/support/strategies/histories.py."""
