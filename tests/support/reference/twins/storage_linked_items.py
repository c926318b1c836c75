"""More items linked from elsewhere than is allowed, snapshot by snapshot."""

from tests.support.reference import gauges


class Twin(gauges.Gauge):
    """The newest snapshot against the policy's limit."""

    name, quantity = "storage_linked_items", "linked_items"


LOW = {"limit": 12}
CASES = {
    "snapshots": ({}, gauges.snapshots("linked_items")),
    "none": ({"limit": 0}, gauges.snapshots("linked_items")),
}
EDGES = {"two stretches within a millisecond": ({}, gauges.twice_at_once("linked_items"))}
