"""Denial of service: a flood from one customer, or from many customers to one victim."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Struct, convert
from numpy.typing import NDArray

from detectors.kernels.rolling import Episodes
from detectors.rules.contract import Batch, Customers, Declaration, Hit, Standing
from detectors.rules.families.flood import (
    RATES,
    FloodMemory,
    FloodParameters,
    FloodWatch,
    MinuteCells,
    Rows,
    window_of,
)
from detectors.state.cells import Cells
from detectors.state.log import LogsOfRule
from schemas.amounts import Unit
from schemas.hashing import Hashes, mix
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.safeguards import LINE
from schemas.units import MINUTE_MS, Ints, Mask

FAILED = 3
"""Index of the failed flows among a pair's amounts."""


PART = Unit(
    "failed_flows_per_minute",
    "a part in {observed} unanswered requests to one address in a minute, two minutes running",
)


class DdosParameters(FloodParameters, kw_only=True, frozen=True):
    """Limits of one customer, and of all customers of a partition who flood one victim.

    A victim is flooded when `victim_customers` or more together exceed `victim_failed_per_second`
    failed flows. Only customers with `customer_failed_per_second` or more of their own count.
    """

    victim_failed_per_second: Annotated[Positive, LIVE]
    victim_customers: Annotated[Positive, LIVE]
    customer_failed_per_second: Annotated[Positive, LIVE]


class Flood(NamedTuple):
    """A flood that begins: its row in the batch and among the watched rows, and its last minute.

    `variant` is "source" for a flood by one customer alone, "victim" for one by many.
    """

    row: int
    variant: str
    position: int
    end: int


class DdosMemory(Struct, frozen=True):
    """What is remembered of floods by source and by victim, and reported windows by customer."""

    by_source: FloodMemory
    victims: Any
    by_victim: dict[int, list[list[int]]]
    reported: dict[int, list[int]]


class Ddos(LogsOfRule):
    """Report a customer who floods an address for two minutes, alone or together with others.

    What it catches: by source, more packets, flows or unacknowledged SYNs from one customer to one
    address than a minute may hold, in two consecutive minutes; by victim, many customers whose
    failed flows to one address are too many together, each customer who has a part in it. Sampled
    flows are scaled up.
    What it misses: floods below the limits of one partition; floods inside a few answered TCP
    connections; answered transfers of large packets; a customer who stops before all of them
    together are above the limit. A victim's customers are counted, not source addresses: thousands
    of addresses that one customer forges are one customer.
    Delay: up to two minutes. In each minute, only what comes once the customer's load is high is
    counted.
    False alarms: none by speed tests, downloads and uploads, which are few, large and answered
    connections. A service that is down gets failed flows from everybody, but a client that tries
    again makes fewer than `customer_failed_per_second`. Of 9,000 generated customers (62 days,
    seeds 1 to 3) nobody was wrongly found, nor in two published recordings of Zeek.

    References
    ----------
    Clause base-internet/aup 2, 3. Limits as in FastNetMon.
    """

    name: ClassVar[str] = "ddos"
    declaration: ClassVar[Declaration] = Declaration(
        section="Network",
        services=LINE,
        urgency="urgency",
        may_suspend_at_once=True,
        units=(*RATES, PART),
        what="packets, flows and unacknowledged SYNs from one customer to one address, and failed "
        "flows from many customers to one, two minutes running",
        limit="{packets_per_second:,} packets, {flows_per_second:,} flows, {syn_per_second} SYNs a "
        "second; together {victim_failed_per_second:,} failed flows a second of {victim_customers} "
        "customers or more",
        misses="floods inside answered TCP connections or in answered transfers of large packets; "
        "many customers over several partitions",
    )
    reads: ClassVar[tuple[str, ...]] = ("flow",)
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = DdosParameters

    def __init__(self, parameters: DdosParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.watch = FloodWatch(self.name, parameters)
        self.fields = (self.watch.field,)
        self.victim_limit = 60 * parameters.victim_failed_per_second
        self.part = 60 * parameters.customer_failed_per_second
        self.victims = MinuteCells(Cells(parameters.cells_max, 2), self._is_flooded)
        self.logs = (self.watch.pairs.cells, self.victims.cells)
        self.by_victim = Episodes(self.watch.episodes.steps)
        self.reported: dict[int, list[int]] = {}

    @property
    def evicted(self) -> int:
        """Cells forgotten early, and flows not counted, for lack of room."""
        return self.watch.pairs.cells.evicted + self.victims.cells.evicted

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether each flow's minute still takes late flows, shape (n,)."""
        return self.watch.in_time(time_ms, watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Count outbound flows by minutes and report the floods that begin."""
        out = batch.fields["is_outbound"] & ~batch.fields["is_to_group"]
        row = np.flatnonzero(out & self.accepts(batch.time_ms, batch.watermark_ms))

        def pairs(rows: Ints) -> Hashes:
            address = batch.fields["destination_address"][rows]
            return mix(customers.directory.hashes(batch.slot[rows]), address)

        pair = self.watch.add(columns[self.watch.field.name], batch, row, pairs)
        floods = [
            Flood(int(pair.row[position]), "source", position, end)
            for position, end in self.watch.starts(pair)
        ]
        failed = np.flatnonzero(pair.amount[:, FAILED] > 0)
        victim = self._add_victims(batch, pair, failed)
        floods += self._victim_floods(pair, victim)
        hits = []
        for flood in sorted(floods):
            customer = customers.directory.hash(batch.slot[flood.row])
            if self._record_report(customer, flood.end):
                hits.append(self._hit(batch, pair, victim, flood))
        self._forget(batch.newest_ms // MINUTE_MS)
        return hits

    def _is_flooded(self, amounts: Ints) -> Mask:
        enough = amounts[:, 1] >= self.parameters.victim_customers
        return (amounts[:, 0] > self.victim_limit) & enough

    def _add_victims(self, batch: Batch, pair: Rows, failed: Ints) -> Rows:
        """Add failed flows to their victims' minutes; `row` is then the position in `pair`.

        A customer takes part, and is counted for the victim, once their failed flows reach
        `part`; those before that flow are added with it.
        """
        amount, total = pair.amount[failed, FAILED], pair.total[failed, FAILED]
        joined = (total >= self.part) & (total - amount < self.part)
        counted = np.where(total >= self.part, np.where(joined, total, amount), 0)
        taking_part = np.flatnonzero(counted)
        failed = failed[taking_part]
        victim = batch.fields["destination_address"][pair.row[failed]] if len(failed) else failed
        needed = batch.watermark_ms[pair.row[failed]] // MINUTE_MS - self.watch.retained - 1
        amounts = np.stack([counted[taking_part], joined[taking_part]], axis=1).astype(np.int64)
        group = victim.astype(np.uint64)
        return self.victims.add(failed, group, pair.minute[failed], amounts, needed)

    def _victim_floods(self, pair: Rows, victim: Rows) -> Iterator[Flood]:
        """Of each customer who takes part, the first flow once the victim is flooded."""
        found: dict[tuple[int, int], list[int]] = {}
        flooded = np.flatnonzero(self.victims.is_hot(victim.total))
        minute, floor = victim.minute[flooded], victim.floor[flooded]
        customer = pair.group[victim.row[flooded]]
        for end, other in ((minute, minute - 1), (minute + 1, minute + 1)):
            since = self._since(victim, victim.group[flooded], other)
            hot = np.flatnonzero((flooded >= since) & (other >= floor))
            _, first = np.unique(mix(customer[hot], end[hot]), return_index=True)
            for at in hot[first].tolist():
                place = int(victim.row[flooded[at]]), int(customer[at])
                found.setdefault(place, []).append(int(end[at]))
        for (position, key), ends in sorted(found.items()):
            new = self.by_victim.note(key, sorted(ends))
            if new is not None:
                yield Flood(int(pair.row[position]), "victim", position, new)

    def _since(self, victim: Rows, group: Hashes, minute: Ints) -> Ints:
        """Position from which on each victim's minute is flooded, shape (k,)."""
        distinct, inverse = np.unique(mix(group, minute), return_inverse=True)
        since = np.zeros(len(distinct), np.int64)
        for number in range(len(distinct)):
            at = int(np.flatnonzero(inverse == number)[0])
            since[number] = self.victims.hot_since(victim, group[at], int(minute[at]))
        return since[inverse]

    def _record_report(self, customer: int, end: int) -> bool:
        """Record that a window is reported; False if the customer has a report in it already."""
        reported = self.reported.setdefault(customer, [])
        if end in reported:
            return False
        reported.append(end)
        return True

    def _hit(self, batch: Batch, pair: Rows, victim: Rows, flood: Flood) -> Hit:
        row, position = flood.row, flood.position
        more: dict[str, Any] = {
            "variant": flood.variant,
            "destination_address": batch.fields["destination_address_text"][row],
            "minutes": self.watch.minutes(pair, position, flood.end),
        }
        if flood.variant == "source":
            observed, limit, unit = self.watch.observed(pair, position)
        else:
            at = int(np.flatnonzero(victim.row == position)[0])
            observed, customers = victim.total[at].tolist()
            limit, unit = self.victim_limit, PART
            more |= {"customers": customers, "own_part": int(pair.total[position, FAILED])}
        return Hit(
            slot=int(batch.slot[row]),
            event_time_ms=int(batch.time_ms[row]),
            level="breach",
            window=window_of(flood.end),
            observed=observed,
            limit=limit,
            unit=unit.name,
            offset=int(batch.offset[row]),
            evidence=more,
        )

    def _forget(self, newest: int) -> None:
        """Drop the state of minutes that no flow in time can reach any more."""
        self.watch.forget(newest)
        floor = newest - self.watch.retained
        self.victims.cells.forget(floor - 1)
        self.by_victim.forget(floor)
        kept = ((c, [end for end in ends if end >= floor]) for c, ends in self.reported.items())
        self.reported = {customer: ends for customer, ends in kept if ends}

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Zero the cells that were reused for later minutes after a row was written."""
        self.watch.catch_up(columns, slots, written_ms)

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The customer's latest flood that is still remembered; nothing without a flood."""
        customer = customers.directory.hash(slot)
        return [
            Standing(window=window_of(end), observed=1, limit=0, unit="floods")
            for end in sorted(self.reported.get(customer, []))[-1:]
        ]

    def remember(self) -> Any:
        """A `DdosMemory`; the rest is in logs and columns."""
        return DdosMemory(
            by_source=self.watch.remember(),
            victims=self.victims.cells.remember(),
            by_victim=self.by_victim.stretches,
            reported=self.reported,
        )

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, DdosMemory)
        self.watch.recall(kept.by_source)
        self.victims.cells.recall(kept.victims)
        self.by_victim.stretches, self.reported = kept.by_victim, kept.reported
