"""More items linked from elsewhere than is allowed."""

from typing import ClassVar

from detectors.rules.contract import Declaration
from detectors.rules.families.gauge import Gauge
from schemas.amounts import Unit

ITEMS = Unit("linked_items", "{observed} linked items where the limit is {limit}")


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
    declaration: ClassVar[Declaration] = Declaration(
        section="Storage",
        services=("storage",),
        units=(ITEMS,),
        what="items of a linked account (Dropbox), newest snapshot",
        limit="{limit:,} items",
        misses="what came and went between two snapshots; how large the items are",
    )
    quantity: ClassVar[str] = "linked_items"
    stored: ClassVar[str] = "<u4"
