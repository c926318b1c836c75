"""What a rule is: a fold over the columns of one partition's events.

A rule keeps per-customer numbers in columns of its group, and what belongs to the partition as a
whole in its `memory`. It knows no clock, no broker and no other partition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.state import ColumnGroup, Directory, Field
from schemas.policy import Policy, RuleParameters
from schemas.records import Level, Window

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
