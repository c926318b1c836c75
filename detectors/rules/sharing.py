"""One subscription is used on several devices a day, and regularly so: it is shared with others."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta

from detectors.periods.calendar import calendar
from detectors.periods.regular import Regularly, RegularParameters
from detectors.rules.contract import Batch, Customers, Declaration, Hit
from detectors.rules.families.distinct import Crossing, Sightings, Span, Windows
from detectors.rules.families.distinct_corrections import CorrectableDistinct
from schemas.amounts import DEVICES
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.safeguards import LINE

Days = Annotated[int, Meta(ge=1, le=366)]


class SharingParameters(RegularParameters, kw_only=True, frozen=True):
    """`devices` or more of one SIM in a local day are too many.

    `contacts_max` is how many contacts one partition remembers, `retention_periods` by how many
    days an event may be late.
    """

    devices: Annotated[int, Meta(ge=2), LIVE]
    retention_periods: Days
    contacts_max: Positive


class Sharing(CorrectableDistinct):
    """Report the event that shows one device too many of a SIM in a local day, once for each day.

    What it catches: a SIM that moves between phones, and a hotspot where the network tells the
    devices behind it apart (`device_fingerprint`), at the event that shows the device.
    What it misses: devices behind one phone that nothing tells apart; events that name no device.
    Delay: none, it is reported with the event that names one device too many.
    False alarms: a workshop that tries phones; an event with both a fingerprint and an IMEI counts
    by its fingerprint, so a device that some events name by the one and some by the other counts as
    two. Of 9,000 generated customers (docs/CURVES.md, seeds 1 to 3) 60 were wrongly found, all of
    them among 120 households with up to five devices beside the telephone.

    References
    ----------
    Clauses base-mobile 6.3.1(viii) and base-general 7.4.4.
    """

    name: ClassVar[str] = "sharing"
    declaration: ClassVar[Declaration] = Declaration(
        section="Data and plans",
        services=LINE,
        units=(DEVICES,),
        what="devices of one SIM in a day, by fingerprint or IMEI",
        limit="{devices} devices, or more",
        misses="devices behind one phone that nothing tells apart",
    )
    reads: ClassVar[tuple[str, ...]] = ("data",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "data": ("device_fingerprint", "served_imei")
    }
    Parameters: ClassVar[type[RuleParameters]] = SharingParameters
    window_kind: ClassVar[Literal["rolling", "day"]] = "day"
    limit_counts: ClassVar[bool] = True

    def __init__(self, parameters: Any, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        self.reports_kept_longer = parameters.regular_window

    def windows(self, policy: Policy) -> Windows:
        """One window: the local day."""
        days = calendar(policy.timezone, "day")
        return Windows(days, (Span(steps=0),), self.parameters.retention_periods)

    def sightings(self, batch: Batch, customers: Customers) -> Sightings:
        """The device that each event names."""
        fingerprint = batch.fields["device_fingerprint"]
        device = np.where(fingerprint != 0, fingerprint, batch.fields["served_imei"])
        row = np.flatnonzero(device != 0)
        customer = customers.directory.hashes(batch.slot[row])
        return Sightings.of_spans(row, (customer, device[row], self.parameters.devices))

    def hits_of(self, batch: Batch, customer: int, crossing: Crossing) -> Iterator[Hit]:
        """The day's breach, and every day that it makes regular."""
        yield from super().hits_of(batch, customer, crossing)
        breaches = {report.first: report.observed for report in self.reported[customer]}
        for last, more in self.regularly.completed(breaches, crossing.end, self.periods):
            regular = crossing._replace(end=last, observed=breaches[last])
            yield self.hit(batch, regular, "regular", more)
