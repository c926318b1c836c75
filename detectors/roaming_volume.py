"""More data used abroad in a month than the plan includes."""

from typing import ClassVar

from detectors.bundle import BundleRule
from detectors.rule import Batch, Mask


class RoamingVolume(BundleRule):
    """Report the session abroad that takes a customer's month past the plan's roaming volume.

    What it catches: bytes used in any visited network, against `roaming_bundle_bytes` of the plan.
    What it misses: a session whose record doesn't name the network it was in; the same volume
    spread over two months. Sessions count in full in the month in which they start. A volume that
    is raised within the month and used up again is reported once more in that month, under the
    same id.
    False alarms: networks outside the agreed countries count too, where a plan bills them apart.

    References
    ----------
    Clause base-plans.
    """

    name: ClassVar[str] = "roaming_volume"
    plan_number: ClassVar[str] = "roaming_bundle_bytes"

    def is_included(self, batch: Batch) -> Mask:
        """What was used in a visited network."""
        return batch.fields["is_abroad"]
