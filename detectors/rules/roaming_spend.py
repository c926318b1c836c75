"""More charged abroad in a month than the customer's limit on spending abroad."""

from collections.abc import Mapping
from typing import ClassVar

from detectors.rules.contract import Batch, Declaration
from detectors.rules.families.spending import SpendingRule
from schemas.amounts import CHARGES
from schemas.units import Mask


class RoamingSpend(SpendingRule):
    """Report a month whose charges abroad pass the limit, a warning before it, and the new month.

    What it catches: `early` past the policy's share of the plan's `roaming_spend_limit_microeur`,
    `breach` past all of it, `cleared` when the month is over, or when a correction brings the
    charges back to the limit. `charge_microeur` of texts, calls and data sessions with a
    `visited_plmn` counts, before tax.
    What it misses: use whose record names no charge or no visited network; a charge whose record
    comes when its month is over, as records from abroad may; charges that pass the limit and are
    corrected within the same step. If the limit is raised within the month, the restriction still
    lasts until the month ends, unless the customer consents to more.
    Delay: until the end of the step (15 minutes) in which the record comes. A kind of event that
    stalls holds the others back, until the idle clock closes its steps.
    False alarms: none, the sum is exact; what the plan includes must not have a charge. Of 9,000
    generated customers (62 days, seeds 1 to 3) nobody was wrongly found; no real data was at hand.

    References
    ----------
    Clause base-mobile 5.7.
    """

    name: ClassVar[str] = "roaming_spend"
    declaration: ClassVar[Declaration] = Declaration(
        section="Data and plans",
        services=("data",),
        urgency="contract",
        warns_early=True,
        units=(CHARGES,),
        what="charges of a month for texts, calls and data abroad against the plan's limit on them",
        limit="the plan's limit abroad; a warning past {warning_percent} %",
        misses="charges whose record comes when the month is over",
    )
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
        SpendingRule.reads, ("charge_microeur", "is_abroad")
    )
    plan_number: ClassVar[str] = "roaming_spend_limit_microeur"

    def is_included(self, batch: Batch) -> Mask:
        """Whether each event was in a visited network, shape (n,)."""
        return batch.fields["is_abroad"]
