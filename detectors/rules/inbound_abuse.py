"""Scans and floods that come to a customer from another network."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.periods.ring import Steps
from detectors.rules.contract import Batch, Customers, Declaration, Hit
from detectors.rules.families.distinct import DistinctRule, Seen, Span, Start, Windows
from detectors.rules.families.flood import (
    MEASURES,
    MINUTES,
    RATES,
    FloodParameters,
    FloodWatch,
    Rows,
)
from schemas.amounts import PORTS
from schemas.hashing import Hashes, mix
from schemas.policy import LIVE, Policy, Positive
from schemas.safeguards import LINE
from schemas.units import HOUR_MS, MINUTE_MS, Ints


class InboundAbuseParameters(FloodParameters, kw_only=True, frozen=True):
    """Distinct ports of a customer that one address tries, the value itself counts; and floods.

    `contacts_max` and `retention_hours` are those of the scans, `cells_max` and `retention_minutes`
    those of the floods.
    """

    ports: Annotated[int, Meta(ge=2), LIVE]
    length_seconds: Positive
    step_seconds: Positive
    retention_hours: Positive
    contacts_max: Positive

    def __post_init__(self) -> None:
        """Refuse windows and minutes that are not made of whole steps."""
        super().__post_init__()
        if self.length_seconds % self.step_seconds or 60 % self.step_seconds:
            raise ValueError("`length_seconds`, and 60, have to be multiples of `step_seconds`")


class InboundAbuse(DistinctRule):
    """Report a foreign address that scans or floods a customer; the customer did nothing.

    What it catches: refused or unanswered flows from one address to many ports of one customer, and
    floods from one address as `ddos` has them. The finding is the customer's, whose traffic shows
    it; the address is in the evidence, for the report to its holder.
    What it misses: floods from many addresses, each below the limits; scans slower than the window;
    a scan of many customers at one port each; a second address within the same window.
    Delay: none, it is reported with the flow that crosses.
    False alarms: a forged source address names somebody who did nothing. Outbound flows never do.
    Of 9,000 generated customers (62 days, seeds 1 to 3) nobody was wrongly found, nor in two
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
        "{length_seconds:time}, floods two minutes running",
        limit="{ports} ports, or more; {packets_per_second:,} packets, {flows_per_second:,} flows, "
        "{syn_per_second} SYNs a second",
        misses="floods from many addresses; scans of many customers at one port each",
    )
    reads: ClassVar[tuple[str, ...]] = ("flow",)
    Parameters: ClassVar[type[InboundAbuseParameters]] = InboundAbuseParameters
    units: ClassVar[tuple[str, ...]] = ("ports", *(f"{name}_per_minute" for name in MEASURES))
    limit_counts: ClassVar[bool] = True

    def __init__(self, parameters: InboundAbuseParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.watch = FloodWatch(self.name, parameters)
        self.fields = (self.watch.field,)
        self.logs = (self.contacts, self.watch.pairs.cells)

    @property
    def evicted(self) -> int:
        """Contacts forgotten and cells given up early, and flows left out, for lack of room."""
        return self.contacts.evicted + self.watch.pairs.cells.evicted

    def windows(self, policy: Policy) -> Windows:
        """A scan's window, and for each measure of a flood its two minutes."""
        length, step = self.parameters.length_seconds, self.parameters.step_seconds
        self.minute_steps = 60 // step
        flood = Span(MINUTES * self.minute_steps - 1)
        retained = self.parameters.retention_hours * HOUR_MS // (step * 1000)
        return Windows(Steps(step * 1000), (Span(length // step), *[flood] * 3), retained)

    def seen(self, batch: Batch, customers: Customers) -> Seen:
        """Each failed flow that came in, as a port that its source tried."""
        fields = batch.fields
        row = np.flatnonzero(
            fields["is_failed"] & ~fields["is_outbound"] & (fields["destination_port"] >= 0)
        )
        return Seen(
            row=row,
            span=np.zeros(len(row), np.int64),
            group=self._pairs(batch, customers, row),
            element=fields["destination_port"][row].astype(np.uint64) + np.uint64(1),
            enough=np.full(len(row), self.parameters.ports),
        )

    def _pairs(self, batch: Batch, customers: Customers, row: Ints) -> Hashes:
        source = batch.fields["source_address"][row]
        return mix(customers.directory.hashes(batch.slot[row]), source)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Count what comes in, by window and by minute, and report what begins."""
        in_time = self.accepts(batch.time_ms, batch.watermark_ms)
        seen = self.seen(batch, customers)
        seen = Seen(*(column[in_time[seen.row]] for column in seen))
        minutes = self.watch.in_time(batch.time_ms, batch.watermark_ms)
        row = np.flatnonzero(in_time & minutes & ~batch.fields["is_outbound"])
        loads = columns[self.watch.field.name]
        pair = self.watch.add(loads, batch, row, lambda r: self._pairs(batch, customers, r))
        floods = dict(self._floods(pair))
        hits = []
        for start in sorted([*(self._starts(batch, seen) if len(seen.row) else ()), *floods]):
            customer = int(customers.directory.hashes(batch.slot[start.row : start.row + 1])[0])
            if self._is_news(customer, start):
                source = batch.fields["source_address_text"][start.row]
                more = {"variant": "flood" if start.span else "scan", "source_address": source}
                hits.append(self.hit(batch, start, "breach", more | floods.get(start, {})))
        self.watch.forget(batch.newest_ms // MINUTE_MS)
        self._forget(batch.newest_ms // (self.parameters.step_seconds * 1000))
        return hits

    def _floods(self, pair: Rows) -> Iterator[tuple[Start, dict[str, Any]]]:
        """Floods that begin, each with its minutes for the evidence."""
        for position, end in self.watch.starts(pair):
            observed, limit, unit = self.watch.observed(pair, position)
            last = (end + 1) * self.minute_steps - 1
            start = Start(int(pair.row[position]), self.units.index(unit), last, observed, limit)
            yield start, {"minutes": self.watch.minutes(pair, position, end)}

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Empty the minutes that later ones took over since a row was written."""
        self.watch.catch_up(columns, slots, written_ms)

    def remember(self) -> Any:
        """What the windows and the floods have that is not in logs or columns."""
        return [super().remember(), self.watch.remember()]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        windows, watch = memory
        super().recall(windows)
        self.watch.recall(watch)
