"""More stored than the plan's capacity."""

from typing import ClassVar

from detectors.rules.contract import Declaration
from detectors.rules.families.gauge import CapacityGauge
from schemas.amounts import BYTES


class StorageCapacity(CapacityGauge):
    """Report the snapshot above the plan's capacity, and the next one that fits it.

    What it catches: every stretch above the capacity, from the first snapshot in it.
    What it misses: what came and went between two snapshots; a change of plan shows with the next
    snapshot. A snapshot that is older than the newest one is ignored.
    Delay: none, it is reported with the snapshot that shows it.
    False alarms: none, a gauge is compared with a number. Of 9,000 generated customers (62 days,
    seeds 1 to 3) nobody was wrongly found; no real data was at hand.

    References
    ----------
    Clauses base-cloud 3.10 and 3.13.
    """

    name: ClassVar[str] = "storage_capacity"
    declaration: ClassVar[Declaration] = Declaration(
        section="Storage",
        services=("storage",),
        units=(BYTES,),
        what="bytes stored, newest snapshot",
        limit="the plan's capacity; {default_plan.storage_capacity_bytes:bytes} by default",
        misses="what came and went between two snapshots; a change of plan until the next one",
    )
