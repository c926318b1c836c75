"""More files or folders shared than is allowed."""

from typing import ClassVar

from detectors.gauge import Gauge


class StorageSharedItems(Gauge):
    """Report the snapshot with more shared items than the limit, and the one with no more.

    What it catches: every stretch above the limit, from the first snapshot in it.
    What it misses: what came and went between two snapshots; with how many people an item is
    shared.
    False alarms: none, a gauge is compared with a number. An album shared photo by
    photo counts photo by photo.

    References
    ----------
    Clause base-cloud 3.11.
    """

    name: ClassVar[str] = "storage_shared_items"
    quantity: ClassVar[str] = "shared_items"
    unit: ClassVar[str] = "shared_items"
    stored: ClassVar[str] = "<u4"
