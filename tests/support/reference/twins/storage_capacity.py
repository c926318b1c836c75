"""More stored than the plan or the snapshot itself allows."""

from schemas.events import Storage
from tests.support.reference import gauges
from tests.support.strategies.drawing import choices, events_of

LOW = {}


class Twin(gauges.Gauge):
    """The newest snapshot against the plan."""

    name, quantity = "storage_capacity", "used_bytes"

    def limit(self, snapshot):
        if snapshot.capacity_bytes is not None:
            return snapshot.capacity_bytes
        return self.plans.of(snapshot.customer_id).storage_capacity_bytes


SNAPSHOTS = choices(
    used_bytes=(0, 12, 13, 2_000_000_000, None),
    capacity_bytes=(None, None, 0, 12, 3_000_000_000),
)
HISTORIES = events_of(Storage, SNAPSHOTS, contacts=1) | events_of(
    Storage, SNAPSHOTS, spread=1, jitters=(0,), contacts=1
)
CASES = {}
"""They are tried together with others, in tests/support/strategies/histories.py."""
