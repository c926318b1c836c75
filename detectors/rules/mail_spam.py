"""Spam: mail is sent to so many servers as no mail program does it."""

from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta

from detectors.periods.ring import Steps
from detectors.rules.contract import Batch, Customers, Declaration
from detectors.rules.families.distinct import (
    Crossing,
    DistinctParameters,
    DistinctRule,
    Sightings,
    Span,
    Windows,
)
from schemas.amounts import Unit
from schemas.fields import MAIL_PORTS, TCP
from schemas.hashing import mix
from schemas.policy import LIVE, Policy, RuleParameters
from schemas.safeguards import LINE
from schemas.units import HOUR_MS

VARIANTS = ("minute", "hour")
STEP_MS = 10_000
SPANS = (Span(steps=6), Span(steps=360, stride=30))
"""A minute in steps of ten seconds, an hour in steps of five minutes."""

AtLeastTwo = Annotated[int, Meta(ge=2)]


SERVERS = Unit("servers", "mail sent straight to {observed} mail servers")


class MailSpamParameters(DistinctParameters, kw_only=True, frozen=True):
    """Spam is `minute_servers` or more in a minute, or `hour_servers` or more in an hour."""

    minute_servers: Annotated[AtLeastTwo, LIVE]
    hour_servers: Annotated[AtLeastTwo, LIVE]


class MailSpam(DistinctRule):
    """Report a customer whose line contacts many mail servers in a minute, or in an hour.

    What it catches: spam that is sent directly to the recipients' servers, answered or refused, in
    a burst or steadily; if both happen in one window, the first is reported. What it misses: spam
    through one relay or web mail; fewer servers than the limit.
    Delay: none, it is reported with the flow that crosses.
    False alarms: somebody who runs a mail server or a mailing list at home; scans of mail ports,
    which `portscan` reports, too. Of 9,000 generated customers (62 days, seeds 1 to 3) nobody was
    wrongly found, nor in two published recordings of Zeek.

    References
    ----------
    Clauses base-internet/aup 2 and base-internet 2.4(i)(b).
    """

    name: ClassVar[str] = "mail_spam"
    declaration: ClassVar[Declaration] = Declaration(
        section="Network",
        services=LINE,
        urgency="urgency",
        units=(SERVERS, SERVERS),
        what="mail servers (TCP 25, 465, 587) that a line speaks to",
        limit="{minute_servers} in a minute, or {hour_servers} in an hour, or more",
        misses="spam by way of one relay or web mail",
    )
    reads: ClassVar[tuple[str, ...]] = ("flow",)
    Parameters: ClassVar[type[RuleParameters]] = MailSpamParameters
    limit_counts: ClassVar[bool] = True

    def windows(self, policy: Policy) -> Windows:
        """Both windows in steps of the shorter one."""
        return Windows(Steps(STEP_MS), SPANS, self.parameters.retention_hours * HOUR_MS // STEP_MS)

    def sightings(self, batch: Batch, customers: Customers) -> Sightings:
        """Each mail server twice, as an element of the minute's and of the hour's group."""
        fields = batch.fields
        row = np.flatnonzero(
            fields["is_outbound"]
            & (fields["protocol"] == TCP)
            & np.isin(fields["destination_port"], MAIL_PORTS)
        )
        customer = customers.directory.hashes(batch.slot[row])
        server, one = fields["destination_address"][row], np.ones(len(row), np.uint64)
        minute = mix(customer, one), server, self.parameters.minute_servers
        hour = mix(customer, one + one), server, self.parameters.hour_servers
        return Sightings.of_spans(row, minute, hour)

    def evidence(self, batch: Batch, crossing: Crossing) -> dict[str, Any]:
        """Which of the two windows it is."""
        return {"variant": VARIANTS[crossing.span]}
