"""More contacts stored than is allowed, snapshot by snapshot."""

from tests.support.reference import gauges


class Twin(gauges.Gauge):
    """The newest snapshot against the policy's limit."""

    name, quantity = "storage_contacts", "contacts"


LOW = {"limit": 12}
CASES = {
    "snapshots": ({}, gauges.snapshots("contacts")),
    "none": ({"limit": 0}, gauges.snapshots("contacts")),
}
EDGES = {"two stretches within a millisecond": ({}, gauges.twice_at_once("contacts"))}
