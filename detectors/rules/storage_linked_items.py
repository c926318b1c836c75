"""More items linked from elsewhere than is allowed."""

from typing import ClassVar

from detectors.rules.families.gauge import Gauge


class StorageLinkedItems(Gauge):
    """Report the snapshot with more linked items than the limit, and the next one at or below it.

    What it catches: every stretch above the limit, from the first snapshot in it.
    What it misses: what came and went between two snapshots; how large the items are.
    Delay: none, it is reported with the snapshot that shows it.
    False alarms: none, a gauge is compared with a number. A folder of many small files counts file
    by file. Of 9,000 generated customers (62 days, seeds 1 to 3) nobody was wrongly found; no real
    data was at hand.

    References
    ----------
    Clause base-cloud 3.11.
    """

    name: ClassVar[str] = "storage_linked_items"
    quantity: ClassVar[str] = "linked_items"
    unit: ClassVar[str] = "linked_items"
    stored: ClassVar[str] = "<u4"
