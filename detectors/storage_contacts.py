"""More contacts stored than is allowed."""

from typing import ClassVar

from detectors.gauge import Gauge


class StorageContacts(Gauge):
    """Report the snapshot with more contacts than the limit, and the one with no more.

    What it catches: every stretch above the limit, from the first snapshot in it.
    What it misses: what came and went between two snapshots.
    False alarms: none, a gauge is compared with a number. A sync that stores every
    contact twice for an hour is reported too.

    References
    ----------
    Clause base-cloud 3.11.
    """

    name: ClassVar[str] = "storage_contacts"
    quantity: ClassVar[str] = "contacts"
    unit: ClassVar[str] = "contacts"
    stored: ClassVar[str] = "<u4"
