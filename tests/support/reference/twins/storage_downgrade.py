"""What a smaller plan does not hold, snapshot by snapshot."""

from math import inf

from schemas.events import Storage
from tests.support.reference import gauges
from tests.support.strategies.drawing import MIDNIGHTS_MS, choices, events_of


class Twin(gauges.Gauge):
    """Remembers the capacity of the snapshot before."""

    name, quantity = "storage_downgrade", "used_bytes"

    def __init__(self, policy, plans):
        super().__init__(policy, plans)
        self.capacity = {}

    def limit(self, snapshot):
        if snapshot.capacity_bytes is not None:
            return snapshot.capacity_bytes
        return self.plans.of(snapshot.customer_id).storage_capacity_bytes

    def is_above(self, snapshot, amount, limit):
        who, now = snapshot.customer_id, inf if limit is None else limit
        shrank = now < self.capacity.get(who, now)
        self.capacity[who] = now
        return amount > now and (shrank or who in self.above_since_ms)


SNAPSHOTS = choices(
    used_bytes=(13, 13, 20, 12, 0, None), capacity_bytes=(None, None, 12, 12, 15, 3_000_000_000)
)


def story(*seen):
    """Used bytes and capacities of one customer, an hour apart."""
    return [
        Storage(
            event_id=f"e-{number}",
            customer_id="c1",
            event_time_ms=MIDNIGHTS_MS[0] + number * 3_600_000,
            used_bytes=used,
            capacity_bytes=capacity,
        )
        for number, (used, capacity) in enumerate(seen)
    ]


LOW = {}
CASES = {
    "snapshots": ({}, events_of(Storage, SNAPSHOTS, contacts=1)),
    "at_once": ({}, events_of(Storage, SNAPSHOTS, spread=1, jitters=(0,), contacts=1)),
}
EDGES = {
    "from an unlimited plan to a smaller one, and to one smaller still": (
        {},
        story((50, None), (50, 20), (50, 10), (50, 30), (30, 30), (31, 30)),
    ),
    "what grows past a smaller plan later is no downgrade": (
        {},
        story((10, 20), (10, 12), (13, 12), (13, 11), (13, 13)),
    ),
    "a plan that was too small from the first snapshot on": (
        {},
        story((50, 20), (50, 20), (50, 19), (50, None), (50, 20)),
    ),
}
