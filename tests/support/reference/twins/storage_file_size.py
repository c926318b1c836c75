"""A file larger than is allowed, snapshot by snapshot."""

from tests.support.reference import gauges


class Twin(gauges.Gauge):
    """The newest snapshot against the policy's limit."""

    name, quantity = "storage_file_size", "largest_file_bytes"


LOW = {"limit": 12}
CASES = {
    "snapshots": ({}, gauges.snapshots("largest_file_bytes")),
    "none": ({"limit": 0}, gauges.snapshots("largest_file_bytes")),
}
EDGES = {"two stretches within a millisecond": ({}, gauges.twice_at_once("largest_file_bytes"))}
