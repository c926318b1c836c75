"""Devices of an account, in any window of days."""

from schemas.events import Stream
from tests.support.reference import naive
from tests.support.strategies.drawing import DAY_MS, MIDNIGHTS_MS, choices, events_of

LOW = {"devices": 1, "length_days": 3, "retention_days": 2}


class Twin(naive.Distinct):
    """A set of devices and days for each customer."""

    name, reads = "stream_devices", ("stream",)

    def __init__(self, policy, plans):
        self.parameters, self.plans = policy.rules[self.name], plans
        days, length = naive.Steps(DAY_MS), self.parameters.length_days
        super().__init__(days, {"all": (days, length)}, self.parameters.retention_days)

    def touched(self, viewing):
        limit = self.plans.of(viewing.customer_id).stream_devices
        limit = self.parameters.devices if limit is None else limit
        yield "all", "all", viewing.device_id, limit + 1


VIEWINGS = choices(device_id=("tv", "tablet", "phone", "", "tv" * 128))

CASES = {
    "days": ({}, events_of(Stream, VIEWINGS, DAY_MS, duration_ms=1)),
    "weeks": ({"devices": 2}, events_of(Stream, VIEWINGS, 5 * DAY_MS, duration_ms=0)),
    "none_allowed": ({"devices": 0}, events_of(Stream, VIEWINGS, 2 * DAY_MS, duration_ms=1)),
}


def viewing(number, day, customer_id="c0"):
    return Stream(
        event_id=f"e-{number}",
        customer_id=customer_id,
        event_time_ms=MIDNIGHTS_MS[0] + day * DAY_MS,
        device_id=f"d-{number}",
        duration_ms=1,
    )


EDGES = {
    # Days:   0 . . 3 . 5     two back from five, three back from three
    #         x     late
    "late viewing whose window begins before what late viewing may still reach": (
        {},
        [viewing(0, 0), *(viewing(n, 5, "c1") for n in range(1, 70)), viewing(70, 3)],
    ),
}
