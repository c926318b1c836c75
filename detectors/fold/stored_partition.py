"""What a partition keeps: rules, columns and logs, and their way to the changelog and back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.fold.event_ledger import REMEMBERED, Ledger
from detectors.fold.provenance import Provenance, StoredDay
from detectors.fold.rule_set import Progress, RuleSet
from detectors.fold.trials import Trials
from detectors.policies.timeline import Timeline
from detectors.rules.contract import CorrectableRule, Rule
from detectors.rules.registry import RULES
from detectors.state.columns import ColumnGroup
from detectors.state.customers import CUSTOMER_FIELDS, NONE, PLAN_NUMBERS, UNLIMITED_BITS, Customers
from detectors.state.directory import Directory
from detectors.state.event_ids import Duplicates
from detectors.state.log import Log
from detectors.state.version import STATE_VERSION, LayoutError, read_memory
from schemas.policy import Policy
from schemas.records import CohortAverage
from schemas.units import HOUR_MS, Ints

CUSTOMER_GROUP = "customer"


class PartitionMemory(Struct, frozen=True):
    """What belongs to a partition as a whole, as the marker of a checkpoint holds it.

    `layout` are the columns and their types by group, `rules` what each rule remembers.
    """

    version: int
    layout: dict[str, list[Any]]
    next_offset: dict[str, int]
    watermark_ms: dict[str, int]
    stepped_ms: dict[str, int]
    began_ms: dict[str, int]
    cohort_names: dict[int, str]
    rules: dict[str, Any]
    early_means: list[CohortAverage]
    lost_expiry: dict[str, int]
    provenance: dict[str, list[StoredDay]]


class StoredPartition:
    """What a partition keeps, and its way to the changelog, to snapshots and back.

    `restore` reads rows back, once for each checkpoint; then `recall` brings all of them to the
    watermarks of the last one.
    """

    def __init__(self, number: int, policy: Policy, dedup_entries_max: int) -> None:
        self.number = number
        self.policy = policy
        self.timeline = Timeline(policy)
        self.directory = Directory()
        plans = ColumnGroup(CUSTOMER_GROUP, CUSTOMER_FIELDS)
        self.customers = self._customers(plans)
        kinds = sorted({kind for name in policy.rules for kind in RULES[name].reads})
        self.progress = Progress(dict.fromkeys(kinds, 0))
        self.main = RuleSet(self.timeline, self.customers, self.progress)
        self.trials = Trials(self.main)
        self.groups = {CUSTOMER_GROUP: plans, **self.main.groups}
        window = policy.dedup_window_hours
        self.duplicates = {kind: Duplicates(window, dedup_entries_max) for kind in kinds}
        self.ledgers = {
            kind: self._ledger(kind, dedup_entries_max) for kind in kinds if kind in REMEMBERED
        }
        self.provenance = {kind: Provenance() for kind in kinds}
        self.watermark_ms = dict.fromkeys(kinds, 0)
        self.next_offset: dict[str, int] = {}
        self._written: dict[str, Ints] = {}

    @property
    def rules(self) -> dict[str, Rule]:
        """The rules, as they stand under the policy for everybody."""
        return self.main.rules

    def _customers(self, plans: ColumnGroup) -> Customers:
        plan = self.policy.default_plan
        numbers = {name: getattr(plan, name) for name in PLAN_NUMBERS}
        return Customers(
            directory=self.directory,
            plans=plans,
            default_flags=sum(UNLIMITED_BITS[service] for service in plan.unlimited),
            default_numbers={n: NONE if value is None else value for n, value in numbers.items()},
            default_cohort=plan.plan,
            cohort_names={},
        )

    def _ledger(self, kind: str, entries_max: int) -> Ledger:
        """The ledger of a kind; it stores only the fields that rules of the policy ask for."""
        rules = [
            rule
            for rule in self.rules.values()
            if kind in rule.reads and isinstance(rule, CorrectableRule)
        ]
        return Ledger(
            kind,
            asked={name for rule in rules for name in rule.remembers[kind]},
            window_hours=self.policy.corrections_window_hours,
            siblings_hours=-(-max((rule.siblings_ms for rule in rules), default=0) // HOUR_MS),
            entries_max=entries_max,
        )

    def reserve(self) -> None:
        """Make room for every customer in the directory."""
        for group in self.groups.values():
            group.reserve(self.directory.size)
        self.trials.reserve(self.directory.size)

    def touch(self, kind: str, slots: Ints) -> None:
        """Store these customers' rows of a kind at the next checkpoint, if rules keep any."""
        if kind in self.groups:
            self.groups[kind].touch(slots)

    def passed(self, kind: str, offset: int) -> None:
        """Everything of a kind up to this offset was seen, whether or not it could be used."""
        self.next_offset[kind] = max(self.next_offset.get(kind, 0), offset + 1)

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
        self.trials.forget_changes()

    def _packed(
        self, name: str, group: ColumnGroup, slots: Ints
    ) -> tuple[list[bytes], list[bytes]]:
        prefix = name.encode() + b"/"
        keys = [prefix + customer_id for customer_id in self.directory.names(slots)]
        written = np.full((len(slots), 1), self._watermark_of(name), "<i8").view(np.uint8)
        rows = np.concatenate([written, group.pack(slots)], axis=1)
        packed, width = memoryview(rows.tobytes()), rows.shape[1]
        return keys, [bytes(packed[at : at + width]) for at in range(0, len(packed), width)]

    def _watermark_of(self, group: str) -> int:
        return self.progress.stepped_ms.get(group, 0)

    def _logs(self) -> dict[bytes, Log]:
        """What is stored in chunks: event ids and events by kind, policies, logs of rules."""
        logs: dict[bytes, Log] = {
            b"ids." + kind.encode(): log for kind, log in self.duplicates.items()
        }
        logs |= {b"counted." + kind.encode(): log for kind, log in self.ledgers.items()}
        logs |= {name.encode(): rule for name, rule in self.main.logs.items()}
        return logs | {b"policies": self.timeline}

    def remember(self) -> bytes:
        """A `PartitionMemory`, for the marker that ends a checkpoint."""
        memory = PartitionMemory(
            version=STATE_VERSION,
            layout=self._layout(),
            next_offset=self.next_offset,
            watermark_ms=self.watermark_ms,
            stepped_ms=self.progress.stepped_ms,
            began_ms=self.progress.began_ms,
            cohort_names=self.customers.cohort_names,
            rules={name: rule.remember() for name, rule in self.rules.items()},
            early_means=list(self.main.early.values()),
            lost_expiry={kind: ledger.lost_expiry for kind, ledger in self.ledgers.items()},
            provenance={kind: kept.remember() for kind, kept in self.provenance.items()},
        )
        return msgspec.msgpack.encode(memory)

    def _layout(self) -> dict[str, list[Any]]:
        columns = {
            name: [[field_.name, field_.dtype, field_.width] for field_ in group.fields]
            for name, group in self.groups.items()
        }
        events = {f"counted.{kind}": held.layout for kind, held in self.ledgers.items()}
        return columns | events

    def restore(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Take back stored rows; call `recall` before the next batch."""
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
        self.reserve()
        group.unpack(slots, rows[:, 8:])
        written = self._written.setdefault(name, np.zeros(0, np.int64))
        if len(written) < self.directory.size:
            larger = np.zeros(2 * self.directory.size, np.int64)
            larger[: len(written)] = written
            self._written[name] = written = larger
        written[slots] = np.ascontiguousarray(rows[:, :8]).view("<i8")[:, 0]

    def recall(self, memory: bytes) -> None:
        """Take back what `remember` gave, and bring every restored row to the same moment.

        Raises
        ------
        LayoutError
            If the state is of another version, or laid out for other windows or rules.
        """
        kept = read_memory(memory, PartitionMemory, f"the stored state of partition {self.number}")
        if kept.layout != self._layout():
            raise LayoutError(
                "the stored state is laid out for other windows or rules: restore those of the old "
                "policy or start under a new app id"
            )
        self.next_offset = kept.next_offset
        self.watermark_ms.update(kept.watermark_ms)
        self.progress.stepped_ms.update(kept.stepped_ms)
        self.progress.began_ms.update(kept.began_ms)
        self.trials.stop()
        self.customers.cohort_names.update(kept.cohort_names)
        for name, rule in self.rules.items():
            if name in kept.rules:
                rule.recall(kept.rules[name])
        self.main.early = {(m.rule, m.cohort, m.period_start_ms): m for m in kept.early_means}
        for kind, ledger in self.ledgers.items():
            ledger.lost_expiry = kept.lost_expiry.get(kind, 0)
        for kind, days in kept.provenance.items():
            if kind in self.provenance:
                self.provenance[kind].recall(days)
        self._catch_up()

    def _catch_up(self) -> None:
        """Bring the restored rows of each rule from their own watermark to the partition's."""
        for name, rule in self.rules.items():
            for kind in rule.reads:
                if (written := self._written.get(kind)) is not None:
                    slots = np.flatnonzero(written)
                    rule.catch_up(kind, self.main.columns_of(name), slots, written[slots])
        self._written = {}

    def arrays(self) -> dict[str, NDArray]:
        """The columns and logs, for a snapshot; `remember` has the rest."""
        size = self.directory.size
        named = {f"directory/{name}": array for name, array in self.directory.arrays().items()}
        for group in self.groups.values():
            named |= {f"{group.name}/{name}": c[:size] for name, c in group.columns.items()}
        for log, held in self._logs().items():
            named |= {f"#{log.decode()}/{name}": array for name, array in held.arrays().items()}
        return named

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave; newer rows may follow, then `recall`."""
        parts: dict[str, dict[str, NDArray]] = {}
        for name, array in arrays.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = array
        self.directory.take_arrays(parts["directory"])
        for group in self.groups.values():
            group.take_columns(parts[group.name])
        for log, held in self._logs().items():
            held.take_arrays(parts.get(f"#{log.decode()}", {}))

    def set_aside(self) -> None:
        """Be ready for rows that another writer wrote after the last checkpoint."""
        for name in self.groups:
            written = np.full(self.directory.size, self._watermark_of(name), np.int64)
            self._written[name] = written

    def rewrite(self, keys: Sequence[bytes]) -> None:
        """Store these rows again at the next checkpoint, because a lost writer wrote them.

        Rows of customers that only the lost writer saw are stored empty.
        """
        logs = self._logs()
        for key in keys:
            group, _, rest = key.partition(b"/")
            if group.startswith(b"#"):
                if (log := logs.get(group[1:])) is not None:
                    log.rewrite(int(rest))
            elif (name := group.decode()) in self.groups:
                slots = self.directory.admit([rest])
                self.reserve()
                self.groups[name].touch(slots)
