"""What a rule is: a fold over the columns of one partition's events.

A rule keeps per-customer numbers in columns of its group, and what belongs to the partition as a
whole in its `memory`. It knows no clock, no broker and no other partition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detectors.state import ColumnGroup, Directory, Field
from schemas.policy import Policy, RuleParameters
from schemas.records import CohortAverage, Level, Window

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

UNLIMITED_BITS = {"sms": 1, "voice": 2, "data": 4}
ANNOUNCED_BIT = 8

CUSTOMER_FIELDS = (
    Field("flags", "<u1"),
    Field("valid_from_ms", "<i8"),
    Field("storage_capacity_bytes", "<i8"),
)
"""What the rules need of a customer's plan; a capacity of -1 is unlimited."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one kind of one partition that passed the screen, in the partition's order.

    All columns have shape (n,). `watermark_ms` is the highest event time up to and with each row;
    `offset` is where the event stood, `texts` holds what only evidence needs.
    """

    kind: str
    slot: Ints
    time_ms: Ints
    watermark_ms: Ints
    offset: Ints
    fields: Mapping[str, NDArray]
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def newest_ms(self) -> int:
        """Watermark at the end of the batch."""
        return int(self.watermark_ms[-1])

    def part(self, start: int, end: int) -> "Batch":
        """The rows from `start` up to `end`, which is left out."""
        return Batch(
            kind=self.kind,
            slot=self.slot[start:end],
            time_ms=self.time_ms[start:end],
            watermark_ms=self.watermark_ms[start:end],
            offset=self.offset[start:end],
            fields={name: column[start:end] for name, column in self.fields.items()},
            texts={name: column[start:end] for name, column in self.texts.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A crossing that a rule saw; the partition makes a finding of it.

    `offset` is that of the crossing event; None where the closed period itself was judged.
    """

    slot: int
    event_time_ms: int
    level: Level
    window: Window
    observed: int
    limit: int
    unit: str
    offset: int | None
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a customer stands now against one limit; a null limit is not known yet, or none."""

    window: Window
    observed: int
    limit: int | None
    unit: str


@dataclass(frozen=True, slots=True)
class Share:
    """One partition's part of a closed period: what its customers used, and how many they are."""

    period_start_ms: int
    period_end_ms: int
    total: int
    customers: int


@dataclass(frozen=True, slots=True)
class Customers:
    """Who the slots of a partition belong to, and their plans."""

    directory: Directory
    plans: ColumnGroup
    default_flags: int
    default_capacity_bytes: int

    def has_unlimited(self, service: str, slot: Ints) -> Mask:
        """Whether each customer's plan is unlimited for a service, shape (n,)."""
        flags = self.plans.columns["flags"][slot, 0]
        known = (flags & ANNOUNCED_BIT) != 0
        return (np.where(known, flags, self.default_flags) & UNLIMITED_BITS[service]) != 0

    def storage_capacity_bytes(self, slot: Ints) -> Ints:
        """Storage each customer's plan holds, -1 for unlimited, shape (n,)."""
        known = (self.plans.columns["flags"][slot, 0] & ANNOUNCED_BIT) != 0
        capacity = self.plans.columns["storage_capacity_bytes"][slot, 0]
        return np.where(known, capacity, self.default_capacity_bytes)


class Rule(Protocol):
    """A behaviour that the contract names. One instance serves one partition."""

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    Parameters: ClassVar[type[RuleParameters]]
    longest_ms: ClassVar[int]
    """How far one event's use may reach past its start."""

    parameters: RuleParameters
    fields: tuple[Field, ...]

    def __init__(self, parameters: Any, policy: Policy) -> None: ...

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Which events are not too late for this rule, shape (n,)."""
        ...

    def step(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Fold a batch into the columns and report what crossed a limit, in the order of rows."""
        ...

    def settle(self, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints) -> None:
        """Bring rows written under an older watermark to the one that `memory` holds."""
        ...

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """One customer's current numbers against the rule's limits."""
        ...

    def remember(self) -> Any:
        """What belongs to the partition as a whole, as plain data."""
        ...

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        ...


@runtime_checkable
class ClosingRule(Rule, Protocol):
    """A rule that compares customers with all others, once a period is closed in every partition.

    A partition hands out its share of each period that it closes; the mean over all shares comes
    back to `judge`.
    """

    def closing_period(self, watermark_ms: Ints) -> Ints:
        """The last period closed at each watermark, shape (n,)."""
        ...

    def close(
        self, columns: Mapping[str, NDArray], watermark_ms: int, customers: Customers
    ) -> list[Share]:
        """This partition's share of every period that the watermark closes now."""
        ...

    def close_ended(
        self, columns: Mapping[str, NDArray], last_event_ms: int, customers: Customers
    ) -> list[Share]:
        """Shares of every period that ended before the last event: the input is at its end."""
        ...

    def judge(
        self, columns: Mapping[str, NDArray], average: CohortAverage, customers: Customers
    ) -> list[Hit]:
        """Take in a period's mean, and report whom it puts in breach."""
        ...
