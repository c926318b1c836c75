"""One partition of the input: screens events, hands them to the rules, makes findings of hits.

The live worker and the replay drive this same fold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import RULES
from detectors.duplicates import Duplicates
from detectors.identity import finding_id
from detectors.provenance import Origin, Provenance
from detectors.rule import (
    ANNOUNCED_BIT,
    CUSTOMER_FIELDS,
    UNLIMITED_BITS,
    Batch,
    ClosingRule,
    Customers,
    Hit,
    Rule,
    Share,
)
from detectors.state import STATE_VERSION, ColumnGroup, Directory
from schemas.columns import Columns
from schemas.policy import Policy
from schemas.records import CohortAverage, CohortPartial, Customer, Finding, PolicyRef

CUSTOMER_GROUP = "customer"
UNLIMITED_CAPACITY = -1


@dataclass(slots=True)
class Outcome:
    """What a batch led to; `too_late` are rows of the columns handed in, the rest are numbers."""

    findings: list[Finding] = field(default_factory=list)
    partials: list[CohortPartial] = field(default_factory=list)
    too_late: list[int] = field(default_factory=list)
    counted: int = 0
    late: int = 0
    duplicates: int = 0
    redelivered: int = 0
    unannounced: int = 0


class LayoutError(Exception):
    """The stored state was written under windows of another length."""


class Partition:
    """State and rules of one partition.

    Parameters
    ----------
    number
        The partition's number, the same for every usage topic.
    policy
        Limits and windows; their lengths decide how rows are laid out.
    dedup_entries_max
        Event ids remembered at most, for each kind of event.
    """

    def __init__(self, number: int, policy: Policy, dedup_entries_max: int) -> None:
        self.number = number
        self.policy = policy
        self.policy_ref = PolicyRef(name=policy.name, version=policy.version)
        self.rules: dict[str, Rule] = {
            name: RULES[name](parameters, policy) for name, parameters in policy.rules.items()
        }
        self.closing_rules = {
            name: rule for name, rule in self.rules.items() if isinstance(rule, ClosingRule)
        }
        kinds = sorted({kind for rule in self.rules.values() for kind in rule.reads})
        self.groups = {CUSTOMER_GROUP: ColumnGroup(CUSTOMER_GROUP, CUSTOMER_FIELDS)}
        self._group_of = {name: "+".join(rule.reads) for name, rule in self.rules.items()}
        for group in dict.fromkeys(self._group_of.values()):
            members = [self.rules[name] for name, of in self._group_of.items() if of == group]
            fields = [field_ for rule in members for field_ in rule.fields]
            if fields:
                self.groups[group] = ColumnGroup(group, fields)
        self.directory = Directory()
        plan = policy.default_plan
        capacity = plan.storage_capacity_bytes
        self.customers = Customers(
            self.directory,
            self.groups[CUSTOMER_GROUP],
            sum(UNLIMITED_BITS[service] for service in plan.unlimited),
            UNLIMITED_CAPACITY if capacity is None else capacity,
        )
        window = policy.dedup_window_hours
        self.duplicates = {kind: Duplicates(window, dedup_entries_max) for kind in kinds}
        self.provenance = {kind: Provenance() for kind in kinds}
        self.watermark_ms = dict.fromkeys(kinds, 0)
        self.next_offset: dict[str, int] = {}
        # Where the rules stand: records that were screened out may have moved the watermark on.
        self.stepped_ms = dict.fromkeys(kinds, 0)
        self._written: dict[str, NDArray[np.int64]] = {}

    # -- events ---------------------------------------------------------------------------------

    def fold(self, columns: Columns, origin: Origin) -> Outcome:
        """Take in a batch of events of one kind, in the partition's order."""
        outcome = Outcome()
        columns, given = self._behind_fence(columns, outcome)
        if len(columns) == 0 or columns.kind not in self.watermark_ms:
            outcome.counted = len(columns)
            return outcome
        kind = columns.kind
        watermark = np.maximum(np.maximum.accumulate(columns.time_ms), self.watermark_ms[kind])
        kept = self._in_time(columns, watermark, given, outcome)
        fresh = self.duplicates[kind].screen(columns.event_hash[kept], watermark[kept])
        outcome.duplicates = int((~fresh).sum())
        rows = kept[fresh]
        outcome.counted = len(rows)
        outcome.late = int((columns.time_ms[rows] < watermark[rows]).sum())
        batch = self._batch(columns, rows, watermark, outcome)
        self.provenance[kind].note(origin, columns.time_ms[rows], columns.offset[rows])
        hits = self._run(batch, outcome)
        self.watermark_ms[kind] = int(watermark[-1])
        outcome.findings += [self._finding(name, hit) for name, hit in hits]
        return outcome

    def _behind_fence(
        self, columns: Columns, outcome: Outcome
    ) -> tuple[Columns, NDArray[np.int64]]:
        """Leave out what this state already holds; the offsets of a kind only ever rise."""
        expected = self.next_offset.get(columns.kind, 0)
        given = np.flatnonzero(columns.offset >= expected)
        outcome.redelivered = len(columns) - len(given)
        if outcome.redelivered:
            columns = columns.take(given)
        if len(columns):
            self.next_offset[columns.kind] = int(columns.offset[-1]) + 1
        return columns, given

    def passed(self, kind: str, offset: int) -> None:
        """Everything of a kind up to this offset was seen, whether or not it could be used."""
        self.next_offset[kind] = max(self.next_offset.get(kind, 0), offset + 1)

    def _in_time(
        self,
        columns: Columns,
        watermark: NDArray[np.int64],
        given: NDArray[np.int64],
        outcome: Outcome,
    ) -> NDArray[np.int64]:
        accepted = np.zeros(len(columns), bool)
        for rule in self._rules_of(columns.kind):
            accepted |= rule.accepts(columns.time_ms, watermark)
        outcome.too_late = given[~accepted].tolist()
        return np.flatnonzero(accepted)

    def _rules_of(self, kind: str) -> Iterator[Rule]:
        return (rule for rule in self.rules.values() if kind in rule.reads)

    def _batch(
        self,
        columns: Columns,
        rows: NDArray[np.int64],
        watermark: NDArray[np.int64],
        outcome: Outcome,
    ) -> Batch:
        if len(rows) < len(columns):
            columns, watermark = columns.take(rows), watermark[rows]
        known = self.directory.size
        slot = self.directory.admit(columns.customer_id, columns.customer_hash)
        self._reserve()
        outcome.unannounced = self.directory.size - known
        self.groups[CUSTOMER_GROUP].touch(np.arange(known, self.directory.size))
        return Batch(
            kind=columns.kind,
            slot=slot,
            time_ms=columns.time_ms,
            watermark_ms=watermark,
            offset=columns.offset,
            fields=columns.fields,
            texts=columns.texts,
        )

    def _reserve(self) -> None:
        for group in self.groups.values():
            group.reserve(self.directory.size)

    def _run(self, batch: Batch, outcome: Outcome) -> list[tuple[str, Hit]]:
        """Run the kind's rules, cut where a period closes: its sums hold just what came before."""
        if len(batch.slot) == 0:
            return []
        hits: list[tuple[str, Hit]] = []
        for part in self._cut_at_closings(batch):
            for name, rule in self.rules.items():
                if batch.kind not in rule.reads:
                    continue
                columns = self._columns_of(name)
                if closing := self.closing_rules.get(name):
                    shares = closing.close(columns, int(part.watermark_ms[0]), self.customers)
                    outcome.partials += [self._partial(name, share) for share in shares]
                hits += [(name, hit) for hit in rule.step(columns, part, self.customers)]
        self.stepped_ms[batch.kind] = batch.newest_ms
        for group in {self._group_of[name] for name in self.rules}:
            if batch.kind in group.split("+") and group in self.groups:
                self.groups[group].touch(batch.slot)
        return hits

    def _cut_at_closings(self, batch: Batch) -> Iterator[Batch]:
        closes = np.zeros(len(batch.slot), bool)
        for rule in self.closing_rules.values():
            if batch.kind in rule.reads:
                closing = rule.closing_period(batch.watermark_ms)
                closes[1:] |= closing[1:] != closing[:-1]
        ends = [*np.flatnonzero(closes).tolist(), len(closes)]
        if len(ends) == 1:
            yield batch
            return
        for start, end in pairwise([0, *ends]):
            yield batch.part(start, end)

    def _columns_of(self, rule: str) -> Mapping[str, NDArray]:
        group = self.groups.get(self._group_of[rule])
        return group.columns if group else {}

    # -- closed periods -------------------------------------------------------------------------

    def judge(self, average: CohortAverage) -> list[Finding]:
        """Take in the mean of a closed period, and report who it puts in breach."""
        rule = self.closing_rules.get(average.rule)
        if rule is None:
            return []
        hits = rule.judge(self._columns_of(average.rule), average, self.customers)
        return [self._finding(average.rule, hit) for hit in hits]

    def end(self, last_event_ms: int) -> list[CohortPartial]:
        """Shares of every period that ended before the input's last event: no more will come."""
        partials = []
        for name, rule in self.closing_rules.items():
            shares = rule.close_ended(self._columns_of(name), last_event_ms, self.customers)
            partials += [self._partial(name, share) for share in shares]
        return partials

    def close_idle(self, kind: str, now_ms: int) -> list[CohortPartial]:
        """Shares of the periods that the clock closes while nothing comes on this partition."""
        partials = []
        for name, rule in self.closing_rules.items():
            if kind in rule.reads:
                shares = rule.close(self._columns_of(name), now_ms, self.customers)
                partials += [self._partial(name, share) for share in shares]
        return partials

    def _partial(self, rule: str, share: Share) -> CohortPartial:
        return CohortPartial(
            rule=rule,
            partition=self.number,
            period_start_ms=share.period_start_ms,
            period_end_ms=share.period_end_ms,
            total=share.total,
            customers=share.customers,
        )

    # -- customers ------------------------------------------------------------------------------

    def announce(self, customers: Sequence[Customer]) -> None:
        """Take in who has which plan; the last word on a customer counts."""
        if not customers:
            return
        slots = self.directory.admit([customer.customer_id.encode() for customer in customers])
        self._reserve()
        plans = self.groups[CUSTOMER_GROUP]
        flags = [
            ANNOUNCED_BIT | sum(UNLIMITED_BITS[service] for service in set(customer.unlimited))
            for customer in customers
        ]
        capacity = [
            UNLIMITED_CAPACITY if c.storage_capacity_bytes is None else c.storage_capacity_bytes
            for c in customers
        ]
        plans.columns["flags"][slots, 0] = flags
        plans.columns["valid_from_ms"][slots, 0] = [c.valid_from_ms for c in customers]
        plans.columns["storage_capacity_bytes"][slots, 0] = capacity
        plans.touch(slots)

    def standing(self, customer_id: str) -> dict[str, Any] | None:
        """A customer's current numbers against every limit, or None for one never seen."""
        slot = int(self.directory.find([customer_id.encode()])[0])
        if slot < 0:
            return None
        rules = {}
        for name, rule in self.rules.items():
            standings = rule.standing(self._columns_of(name), slot, self.customers)
            rules[name] = [
                {
                    "window": msgspec.to_builtins(standing.window),
                    "observed": standing.observed,
                    "limit": standing.limit,
                    "unit": standing.unit,
                }
                for standing in standings
            ]
        return {"customer_id": customer_id, "partition": self.number, "rules": rules}

    # -- findings -------------------------------------------------------------------------------

    def _finding(self, rule: str, hit: Hit) -> Finding:
        customer_id = self.directory.name(hit.slot).decode()
        end_ms = hit.window.end_ms or 0
        if hit.offset is not None:
            end_ms = max(end_ms, hit.event_time_ms + 1)
        kind, longest_ms = self.rules[rule].reads[0], self.rules[rule].longest_ms
        start_ms = min(
            [hit.window.start_ms, *(b["start_ms"] for b in hit.evidence.get("breaches", ()))]
        )
        # Use that began before the window may reach into it.
        inputs = self.provenance[kind].inputs(start_ms - longest_ms, end_ms, hit.offset)
        return Finding(
            finding_id=finding_id(rule, customer_id, hit.window, hit.level, self.policy_ref),
            rule=rule,
            customer_id=customer_id,
            event_time_ms=hit.event_time_ms,
            level=hit.level,
            window=hit.window,
            observed=hit.observed,
            limit=hit.limit,
            unit=hit.unit,
            policy=self.policy_ref,
            shadow=False,
            evidence={
                "inputs": inputs,
                "observed": hit.observed,
                "limit": hit.limit,
                **hit.evidence,
            },
        )

    # -- checkpoints ----------------------------------------------------------------------------

    def changes(self, everything: bool = False) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Keys and values of every row touched since the last call, group by group."""
        for name, group in self.groups.items():
            slots = group.take_dirty()
            if everything:
                slots = np.arange(self.directory.size)
            if len(slots):
                yield self._packed(name, group, slots)
        for name, log in self._logs().items():
            if everything:
                log.rewrite()
            chunks = log.changes()
            yield [b"#%s/%d" % (name, n) for n, _ in chunks], [stored for _, stored in chunks]

    def _packed(
        self, name: str, group: ColumnGroup, slots: NDArray[np.int64]
    ) -> tuple[list[bytes], list[bytes]]:
        prefix = name.encode() + b"/"
        keys = [prefix + customer_id for customer_id in self.directory.names(slots)]
        written = np.full((len(slots), 1), self._watermark_of(name), "<i8").view(np.uint8)
        rows = np.concatenate([written, group.pack(slots)], axis=1)
        packed, width = memoryview(rows.tobytes()), rows.shape[1]
        return keys, [bytes(packed[at : at + width]) for at in range(0, len(packed), width)]

    def _watermark_of(self, group: str) -> int:
        return max((self.stepped_ms.get(kind, 0) for kind in group.split("+")), default=0)

    def _logs(self) -> dict[bytes, Any]:
        """What is kept in chunks: event ids by kind, and the rules that have a log of their own."""
        ids = {b"ids." + kind.encode(): log for kind, log in self.duplicates.items()}
        return ids | {n.encode(): r for n, r in self.rules.items() if hasattr(r, "rewrite")}

    def remember(self) -> bytes:
        """What belongs to the partition as a whole, for the marker that ends a checkpoint."""
        memory = {
            "version": STATE_VERSION,
            "layout": self._layout(),
            "next_offset": self.next_offset,
            "watermark_ms": self.watermark_ms,
            "stepped_ms": self.stepped_ms,
            "rules": {name: rule.remember() for name, rule in self.rules.items()},
            "provenance": {kind: kept.remember() for kind, kept in self.provenance.items()},
        }
        return msgspec.msgpack.encode(memory)

    def _layout(self) -> dict[str, list[Any]]:
        return {
            name: [[field_.name, field_.dtype, field_.width] for field_ in group.fields]
            for name, group in self.groups.items()
        }

    def restore(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Put stored rows back; `recall` has to follow before the next batch."""
        by_group: dict[bytes, list[int]] = {}
        split = [key.partition(b"/") for key in keys]
        for at, (group, _, _) in enumerate(split):
            by_group.setdefault(group, []).append(at)
        logs = self._logs()
        for group, rows in by_group.items():
            if group.startswith(b"#"):
                for at in rows:
                    if (log := logs.get(group[1:])) is not None:
                        log.restore(int(split[at][2]), values[at])
            elif (name := group.decode()) in self.groups:
                self._unpack(name, [split[at][2] for at in rows], [values[at] for at in rows])

    def _unpack(self, name: str, customer_id: list[bytes], values: list[bytes]) -> None:
        group = self.groups[name]
        width = group.row_bytes + 8
        if any(len(value) != width for value in values):
            raise LayoutError(
                f"the stored {name} rows are not laid out as the policy's windows ask: "
                "restore the old window lengths or start under a new app id"
            )
        rows = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), width)
        slots = self.directory.admit(customer_id)
        self._reserve()
        group.unpack(slots, rows[:, 8:])
        written = self._written.setdefault(name, np.zeros(0, np.int64))
        if len(written) < self.directory.size:
            larger = np.zeros(2 * self.directory.size, np.int64)
            larger[: len(written)] = written
            self._written[name] = written = larger
        written[slots] = np.ascontiguousarray(rows[:, :8]).view("<i8")[:, 0]

    def recall(self, memory: bytes) -> None:
        """Take back what `remember` gave, and bring every restored row to the same moment."""
        kept = msgspec.msgpack.decode(memory, strict=False)
        if kept["layout"] != self._layout():
            raise LayoutError(
                "the stored state is laid out for other windows: restore the old window lengths in "
                "the policy or start under a new app id"
            )
        self.next_offset = kept["next_offset"]
        self.watermark_ms.update(kept["watermark_ms"])
        self.stepped_ms.update(kept["stepped_ms"])
        for name, rule in self.rules.items():
            if name in kept["rules"]:
                rule.recall(kept["rules"][name])
        for kind, spans in kept["provenance"].items():
            if kind in self.provenance:
                self.provenance[kind].recall(spans)
        for name, rule in self.rules.items():
            group = self._group_of[name]
            if group in self._written:
                slots = np.flatnonzero(self._written[group])
                rule.settle(self._columns_of(name), slots, self._written[group][slots])
        self._written = {}

    def arrays(self) -> dict[str, NDArray]:
        """Everything that rows hold, as named columns for a snapshot; `remember` has the rest."""
        size = self.directory.size
        named = {f"directory/{name}": array for name, array in self.directory.arrays().items()}
        for group in self.groups.values():
            named |= {f"{group.name}/{name}": c[:size] for name, c in group.columns.items()}
        for log, held in self._logs().items():
            named |= {f"#{log.decode()}/{name}": array for name, array in held.arrays().items()}
        return named

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave; rows written after it may follow, then `recall`."""
        parts: dict[str, dict[str, NDArray]] = {}
        for name, array in arrays.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = array
        self.directory.take_arrays(parts["directory"])
        for group in self.groups.values():
            group.take_columns(parts[group.name])
        for log, held in self._logs().items():
            held.take_arrays(parts[f"#{log.decode()}"])

    def set_aside(self) -> None:
        """Stand as at the last checkpoint, ready for rows that another writer wrote after it."""
        for name in self.groups:
            written = np.full(self.directory.size, self._watermark_of(name), np.int64)
            self._written[name] = written

    def rewrite(self, keys: Sequence[bytes]) -> None:
        """Store these rows again at the next checkpoint, because a lost writer touched them.

        Rows of customers that only the lost writer saw are stored empty: they never count.
        """
        logs = self._logs()
        for key in keys:
            group, _, rest = key.partition(b"/")
            if group.startswith(b"#"):
                if (log := logs.get(group[1:])) is not None:
                    log.rewrite(int(rest))
            elif (name := group.decode()) in self.groups:
                slots = self.directory.admit([rest])
                self._reserve()
                self.groups[name].touch(slots)
