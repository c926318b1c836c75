"""More contacts stored than is allowed."""

from typing import ClassVar

from detectors.rules.contract import Declaration
from detectors.rules.families.gauge import Gauge
from schemas.amounts import Unit

CONTACTS = Unit("contacts", "{observed} contacts where the limit is {limit}")


class StorageContacts(Gauge):
    """Report the snapshot with more contacts than the limit, and the next one at or below it.

    What it catches: every stretch above the limit, from the first snapshot in it.
    What it misses: what came and went between two snapshots.
    Delay: none, it is reported with the snapshot that shows it.
    False alarms: none, a gauge is compared with a number. A sync that stores every contact twice
    for an hour is reported too. Of 9,000 generated customers (62 days, seeds 1 to 3) nobody was
    wrongly found; no real data was at hand.

    References
    ----------
    Clause base-cloud 3.11.
    """

    name: ClassVar[str] = "storage_contacts"
    declaration: ClassVar[Declaration] = Declaration(
        section="Storage",
        services=("storage",),
        units=(CONTACTS,),
        what="contacts stored, newest snapshot",
        limit="{limit:,} contacts",
        misses="what came and went between two snapshots",
    )
    quantity: ClassVar[str] = "contacts"
    stored: ClassVar[str] = "<u4"
