"""The slow twin of `voice_weekly`: the counting rules' own, with weeks."""

from schemas.events import Voice
from tests.support.reference import naive
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, MIDNIGHTS_MS, choices, events_of

WEEK_MS = 7 * DAY_MS


class Twin(naive.Calls):
    """What of a call lies in each local week."""

    def __init__(self, policy, plans):
        limit_ms = policy.rules["voice_weekly"].limit_ms
        super().__init__("voice_weekly", policy, plans, naive.Weeks, limit_ms)


LOW = {
    "limit_ms": 2 * HOUR_MS,
    "retention_periods": 2,
    "regular_periods": 2,
    "regular_window": 3,
}
CALLS = choices(
    duration_ms=(0, 1, HOUR_MS, 2 * HOUR_MS, 2 * HOUR_MS + 1, 26 * HOUR_MS, WEEK_MS - 1, WEEK_MS),
    direction=("mo", "mo", "mo", "mt"),
)
CASES = {
    "weeks": ({}, events_of(Voice, CALLS, WEEK_MS, other_party="o")),
    "days": ({"retention_periods": 1}, events_of(Voice, CALLS, other_party="o")),
    "unlimited": ({"applies_to": "unlimited"}, events_of(Voice, CALLS, WEEK_MS, other_party="o")),
    "rolling": (
        {
            "window": "rolling",
            "length_seconds": 7 * 86_400,
            "step_seconds": 86_400,
            "regular_periods": None,
            "regular_window": None,
        },
        events_of(Voice, CALLS, 3 * DAY_MS, other_party="o"),
    ),
}


def call(number, time_ms, duration_ms):
    return Voice(
        event_id=f"e-{number}",
        customer_id="c0",
        event_time_ms=time_ms,
        other_party="o",
        duration_ms=duration_ms,
    )


EDGES = {
    # It starts a millisecond before the Monday of a week of 169 hours and reaches into the next.
    "a call of seven days in three weeks": (
        {"limit_ms": 0, "regular_periods": 3},
        [call(0, MIDNIGHTS_MS[3] - WEEK_MS - HOUR_MS - 1, WEEK_MS), call(1, MIDNIGHTS_MS[3], 1)],
    ),
}
