"""Scans and floods from another network against a customer."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct, convert
from numpy.typing import NDArray

from detectors.periods.ring import Steps
from detectors.rules.contract import Batch, Customers, Declaration, Hit
from detectors.rules.families.distinct import (
    Crossing,
    DistinctMemory,
    DistinctRule,
    Sightings,
    Span,
    Windows,
)
from detectors.rules.families.flood import (
    MINUTES,
    RATES,
    FloodMemory,
    FloodParameters,
    FloodWatch,
    Rows,
)
from schemas.amounts import PORTS
from schemas.hashing import Hashes, mix
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.safeguards import LINE
from schemas.units import HOUR_MS, MINUTE_MS, Ints


class InboundAbuseParameters(FloodParameters, kw_only=True, frozen=True):
    """A scan is `ports` or more of a customer that one address tries; floods as in the base class.

    `contacts_max` and `retention_hours` are for scans, `cells_max` and `retention_minutes` for
    floods.
    """

    ports: Annotated[int, Meta(ge=2), LIVE]
    length_seconds: Positive
    step_seconds: Positive
    retention_hours: Positive
    contacts_max: Positive

    def __post_init__(self) -> None:
        """Refuse a step that does not divide the window and the minute."""
        super().__post_init__()
        if self.length_seconds % self.step_seconds or 60 % self.step_seconds:
            raise ValueError("`length_seconds`, and 60, have to be multiples of `step_seconds`")


class InboundMemory(Struct, frozen=True):
    """What is remembered of scans, and of floods."""

    scans: DistinctMemory
    floods: FloodMemory


class InboundAbuse(DistinctRule):
    """Report a foreign address that scans or floods a customer; the customer did nothing.

    What it catches: refused or unanswered flows from one address to many ports of one customer, and
    floods from one address with the limits of `ddos`. The finding names the attacked customer, as
    it is their traffic; the address is in the evidence, for a report to its holder.
    What it misses: floods from many addresses, each below the limits; scans slower than the window;
    a scan of many customers at one port each; a second address within the same window.
    Delay: none, it is reported with the flow that crosses.
    False alarms: a forged source address names somebody who did nothing. Outbound flows do not
    count. Of 9,000 generated customers (62 days, seeds 1 to 3) nobody was wrongly found, nor in two
    published recordings of Zeek.

    References
    ----------
    Clauses base-internet 1.4 and base-internet/aup 3.
    """

    name: ClassVar[str] = "inbound_abuse"
    declaration: ClassVar[Declaration] = Declaration(
        section="Network",
        services=LINE,
        is_done_to_customer=True,
        units=(PORTS, *RATES),
        what="what one foreign address does to a customer: refused or unanswered flows in "
        "{length_seconds:seconds}, floods two minutes running",
        limit="{ports} ports, or more; {packets_per_second:,} packets, {flows_per_second:,} flows, "
        "{syn_per_second} SYNs a second",
        misses="floods from many addresses; scans of many customers at one port each",
    )
    reads: ClassVar[tuple[str, ...]] = ("flow",)
    Parameters: ClassVar[type[RuleParameters]] = InboundAbuseParameters
    limit_counts: ClassVar[bool] = True

    def __init__(self, parameters: InboundAbuseParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.watch = FloodWatch(self.name, parameters)
        self.fields = (self.watch.field,)
        self.logs = (self.contacts, self.watch.pairs.cells)

    @property
    def evicted(self) -> int:
        """Contacts and cells forgotten early, and flows not counted, for lack of room."""
        return self.contacts.evicted + self.watch.pairs.cells.evicted

    def windows(self, policy: Policy) -> Windows:
        """The window of scans, and for each measure of floods a window of two minutes."""
        length, step = self.parameters.length_seconds, self.parameters.step_seconds
        self.minute_steps = 60 // step
        flood = Span(MINUTES * self.minute_steps - 1)
        retained = self.parameters.retention_hours * HOUR_MS // (step * 1000)
        return Windows(Steps(step * 1000), (Span(length // step), *[flood] * 3), retained)

    def sightings(self, batch: Batch, customers: Customers) -> Sightings:
        """Each failed inbound flow: its port as an element of its source address."""
        fields = batch.fields
        row = np.flatnonzero(
            fields["is_failed"] & ~fields["is_outbound"] & (fields["destination_port"] >= 0)
        )
        port = fields["destination_port"][row].astype(np.uint64) + np.uint64(1)
        return Sightings.of_spans(
            row, (self._pairs(batch, customers, row), port, self.parameters.ports)
        )

    def _pairs(self, batch: Batch, customers: Customers, row: Ints) -> Hashes:
        source = batch.fields["source_address"][row]
        return mix(customers.directory.hashes(batch.slot[row]), source)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Count inbound flows by window and by minute; report the scans and floods that begin."""
        in_time = self.accepts(batch.time_ms, batch.watermark_ms)
        seen = self.sightings(batch, customers)
        seen = seen.take(in_time[seen.row])
        minutes = self.watch.in_time(batch.time_ms, batch.watermark_ms)
        row = np.flatnonzero(in_time & minutes & ~batch.fields["is_outbound"])
        loads = columns[self.watch.field.name]
        pair = self.watch.add(loads, batch, row, lambda r: self._pairs(batch, customers, r))
        floods = dict(self._floods(pair))
        scans = self._crossings(batch, seen) if len(seen.row) else []
        hits = []
        for crossing in sorted([*scans, *floods]):
            slot = batch.slot[crossing.row : crossing.row + 1]
            if self._record_report(int(customers.directory.hashes(slot)[0]), crossing):
                source = batch.fields["source_address_text"][crossing.row]
                more = {"variant": "flood" if crossing.span else "scan", "source_address": source}
                hits.append(self.hit(batch, crossing, "breach", more | floods.get(crossing, {})))
        self.watch.forget(batch.newest_ms // MINUTE_MS)
        self._forget(batch.newest_ms // (self.parameters.step_seconds * 1000))
        return hits

    def _floods(self, pair: Rows) -> Iterator[tuple[Crossing, dict[str, Any]]]:
        """Floods that begin, each with its minutes for the evidence."""
        for position, end in self.watch.starts(pair):
            observed, limit, unit = self.watch.observed(pair, position)
            last, span = (end + 1) * self.minute_steps - 1, self.declaration.units.index(unit)
            crossing = Crossing(int(pair.row[position]), span, last, observed, limit)
            yield crossing, {"minutes": self.watch.minutes(pair, position, end)}

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Zero the cells that were reused for later minutes after a row was written."""
        self.watch.catch_up(columns, slots, written_ms)

    def remember(self) -> Any:
        """An `InboundMemory`; the rest is in logs and columns."""
        return InboundMemory(super().remember(), self.watch.remember())

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, InboundMemory)
        super().recall(kept.scans)
        self.watch.recall(kept.floods)
