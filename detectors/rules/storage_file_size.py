"""A file larger than is allowed."""

from typing import ClassVar

from detectors.rules.contract import Declaration
from detectors.rules.families.gauge import Gauge
from schemas.amounts import BYTES


class StorageFileSize(Gauge):
    """Report the snapshot whose largest file is above the limit, and the next one without.

    What it catches: every stretch with a file above the limit, from the first snapshot in it.
    What it misses: a second large file while the first is there; a file that came and went
    between two snapshots.
    Delay: none, it is reported with the snapshot that shows it.
    False alarms: none, a gauge is compared with a number. A disk image or a film is as large as any
    other file. Of 9,000 generated customers (62 days, seeds 1 to 3) nobody was wrongly found; no
    real data was at hand.

    References
    ----------
    Clause base-cloud 3.11.
    """

    name: ClassVar[str] = "storage_file_size"
    declaration: ClassVar[Declaration] = Declaration(
        section="Storage",
        services=("storage",),
        units=(BYTES,),
        what="size of the largest file, newest snapshot",
        limit="{limit:bytes}",
        misses="a second large file beside the first; what came and went between two snapshots",
    )
    quantity: ClassVar[str] = "largest_file_bytes"
