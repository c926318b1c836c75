"""More files or folders shared than is allowed, snapshot by snapshot."""

from tests.support.reference import gauges


class Twin(gauges.Gauge):
    """The newest snapshot against the policy's limit."""

    name, quantity = "storage_shared_items", "shared_items"


LOW = {"limit": 12}
CASES = {
    "snapshots": ({}, gauges.snapshots("shared_items")),
    "none": ({"limit": 0}, gauges.snapshots("shared_items")),
}
EDGES = {"two stretches within a millisecond": ({}, gauges.twice_at_once("shared_items"))}
