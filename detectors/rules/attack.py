"""Password guessing: short connections to login ports, again and again."""

from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta

from detectors.rules.contract import Batch, Customers, Declaration
from detectors.rules.families.distinct import Crossing, DistinctRule, RollingParameters, Sightings
from schemas.amounts import Unit
from schemas.events import Port
from schemas.fields import ABSENT, TCP
from schemas.hashing import mix
from schemas.policy import LIVE, Positive, RuleParameters
from schemas.safeguards import LINE
from schemas.units import Ints

VARIANTS = ("one_target", "many_targets")
AtLeastTwo = Annotated[int, Meta(ge=2)]


ATTEMPTS = Unit("attempts", "{observed} short connections to one login port within minutes")
TARGETS = Unit("targets", "short connections to login ports of {observed} computers within minutes")


class AttackParameters(RollingParameters, kw_only=True, frozen=True):
    """An attack is `target_attempts` or more at one port of a host, or attempts at `targets` hosts.

    An attempt is a connection to one of `login_ports` that was refused, or that was answered and
    had at most `short_bytes` and took at most `short_ms`.
    """

    target_attempts: Annotated[AtLeastTwo, LIVE]
    targets: Annotated[AtLeastTwo, LIVE]
    login_ports: Annotated[list[Port], Meta(min_length=1), LIVE]
    short_bytes: Annotated[Positive, LIVE]
    short_ms: Annotated[Positive, LIVE]


class Attack(DistinctRule):
    """Report a customer whose short connections to login ports are too many in a window.

    What it catches: password guessing at one target, or a few guesses at each of many targets: a
    wrong guess makes a short connection. What it misses: guesses slower than the window; many
    guesses in one connection; logins over the web.
    Delay: none, it is reported with the flow that crosses.
    False alarms: a mail program that polls very often, a script that logs in for each file. A
    connection that lasts or moves data never counts, nor one that nobody answered (see portscan).
    Of 9,000 generated customers (62 days, seeds 1 to 3) nobody was wrongly found, nor in two
    published recordings of Zeek.

    References
    ----------
    Clause base-internet/aup 2.
    """

    name: ClassVar[str] = "attack"
    declaration: ClassVar[Declaration] = Declaration(
        section="Network",
        services=LINE,
        urgency="urgency",
        units=(ATTEMPTS, TARGETS),
        what="short or refused connections to login ports in {length_seconds:seconds}",
        limit="{target_attempts} to one port of a host, or {targets} hosts, or more",
        misses="slower guesses; many guesses in one connection; web logins",
    )
    reads: ClassVar[tuple[str, ...]] = ("flow",)
    Parameters: ClassVar[type[RuleParameters]] = AttackParameters
    limit_counts: ClassVar[bool] = True

    def sightings(self, batch: Batch, customers: Customers) -> Sightings:
        """Each attempt twice: as an element of its target, and its host as an element of hosts."""
        row = self._attempts(batch)
        customer = customers.directory.hashes(batch.slot[row])
        host = batch.fields["destination_address"][row]
        port = batch.fields["destination_port"][row].astype(np.uint64)
        one = np.ones(len(row), np.uint64)
        # Every attempt is an element of its own: no two events have the same offset.
        attempt = batch.offset[row].astype(np.uint64) + one
        targets = mix(customer, one, host, port), attempt, self.parameters.target_attempts
        hosts = mix(customer, one + one), host, self.parameters.targets
        return Sightings.of_spans(row, targets, hosts)

    def _attempts(self, batch: Batch) -> Ints:
        fields, parameters = batch.fields, self.parameters
        size, took = fields["bytes"], fields["duration_ms"]
        is_short = (size <= parameters.short_bytes) & (took <= parameters.short_ms)
        is_short &= (size != ABSENT) | (took != ABSENT)
        return np.flatnonzero(
            fields["is_outbound"]
            & (fields["protocol"] == TCP)
            & np.isin(fields["destination_port"], parameters.login_ports)
            & (fields["is_rejected"] | (fields["is_answered"] & is_short))
        )

    def evidence(self, batch: Batch, crossing: Crossing) -> dict[str, Any]:
        """The target; of many targets only the port of the one that crossed."""
        fixed = {"destination_port": int(batch.fields["destination_port"][crossing.row])}
        if crossing.span == 0:
            fixed["destination_address"] = batch.fields["destination_address_text"][crossing.row]
        return {"variant": VARIANTS[crossing.span], **fixed}
