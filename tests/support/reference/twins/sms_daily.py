"""Messages of a local day."""

from hypothesis import strategies as st

from schemas.events import Sms
from tests.support.reference import naive
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, choices, events_of

LOW = {"limit": 0, "retention_periods": 2, "regular_periods": 2, "regular_window": 3}


class Twin(naive.Messages):
    """A count for each customer and day."""

    def __init__(self, policy, plans):
        limit = policy.rules["sms_daily"].limit
        super().__init__("sms_daily", policy, plans, naive.Days, limit)


MESSAGES = choices(
    direction=(*["mo"] * 6, "mt"),
    service=(*["sms"] * 6, "mms"),
    segment_number=(*[None] * 4, 1, 2),
)
HISTORIES = st.sampled_from((DAY_MS, 5 * HOUR_MS, 10 * DAY_MS)).flatmap(
    lambda spread: events_of(Sms, MESSAGES, spread, recipient="r")
)
CASES = {}
"""They are tried together with others, in tests/support/strategies/histories.py."""
