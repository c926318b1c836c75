"""The month's bytes abroad against the plan's roaming volume, one event at a time."""

from hypothesis import strategies as st

from schemas.events import Data
from tests.support.reference import naive
from tests.support.strategies.drawing import DAY_MS, choices, events_of

LOW = {"retention_periods": 1}
BYTES = choices(
    bytes_uplink=(0, 1, 40),
    bytes_downlink=(0, 60, 60, 2**53),
    visited_plmn=(None, "20801", "20801", "310260"),
)
SESSIONS = st.sampled_from((DAY_MS, 17 * DAY_MS)).flatmap(
    lambda spread: events_of(Data, BYTES, spread)
)
CASES = {"all": ({}, SESSIONS), "unlimited": ({"applies_to": "unlimited"}, SESSIONS)}


class Twin(naive.Counting):
    """Sums by month of what was used in visited networks."""

    reads = ("data",)

    def __init__(self, policy, plans):
        super().__init__("roaming_volume", policy, plans, naive.Months, None)

    def feed(self, event, watermark_ms):
        self.limit = self.plans.of(event.customer_id).roaming_bundle_bytes
        return super().feed(event, watermark_ms)

    def applies(self, customer_id):
        return self.limit is not None and super().applies(customer_id)

    def pieces(self, event):
        if event.visited_plmn is not None:
            yield self.periods.of(event.event_time_ms), event.bytes_uplink + event.bytes_downlink
