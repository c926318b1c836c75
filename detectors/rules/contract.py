"""What a rule is: a fold over the columns of one partition's events.

A rule keeps per-customer numbers in columns of its group, and what belongs to the partition as a
whole in its `memory`. It knows no clock, no broker and no other partition.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detectors.state.columns import Field
from detectors.state.customers import Customers
from schemas.amounts import Unit
from schemas.fields import Fields
from schemas.policy import Policy, RuleParameters
from schemas.records import CohortAverage, CohortSum, Level, Window
from schemas.safeguards import Terms
from schemas.units import Ints, Mask

NEVER = int(np.iinfo(np.int64).max)
"""A limit that nobody reaches."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one kind of one partition that passed the screen, in the partition's order.

    All columns have shape (n,). `watermark_ms` is the highest event time up to and with each row;
    `offset` is where the event stood.
    """

    kind: str
    slot: Ints
    time_ms: Ints
    watermark_ms: Ints
    offset: Ints
    fields: Fields

    @property
    def newest_ms(self) -> int:
        """Watermark at the end of the batch."""
        return int(self.watermark_ms[-1])

    def cut(self, places: Sequence[int]) -> list["Batch"]:
        """The parts between these rows, in order; the batch itself where none is inside it."""
        ends = sorted({0, *places, len(self.slot)})
        if len(ends) == 2:
            return [self]
        return [self.part(start, end) for start, end in pairwise(ends)]

    def part(self, start: int, end: int) -> "Batch":
        """The rows from `start` up to `end`, which is left out."""
        return self.take(np.arange(start, end))

    def take(self, rows: Ints | Mask) -> "Batch":
        """The given rows, in the given order."""
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Batch(
            kind=self.kind,
            slot=self.slot[rows],
            time_ms=self.time_ms[rows],
            watermark_ms=self.watermark_ms[rows],
            offset=self.offset[rows],
            fields=self.fields.take(rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A crossing that a rule saw; the partition makes a finding of it.

    `offset` is that of the crossing event; None where the closed period itself was judged.
    `rests_on_ms` is a time outside of the window whose use it rests on, too. `known_ms` is when a
    closed period's hit could be known, if that is not when its period was closed. `corrects` is the
    id of the event that was corrected, where a correction led to the hit.
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
    rests_on_ms: int | None = None
    known_ms: int | None = None
    corrects: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a customer stands now against one limit; a null limit is not known yet, or none."""

    window: Window
    observed: int
    limit: int | None
    unit: str


@dataclass(frozen=True, slots=True)
class PeriodSums:
    """One partition's part of a closed period: what each cohort's customers used."""

    period_start_ms: int
    period_end_ms: int
    sums: tuple[CohortSum, ...]


@dataclass(frozen=True, slots=True)
class RuleOutput:
    """What the closing of periods led to: whom it puts in breach, and shares of cohorts."""

    hits: tuple[Hit, ...] = ()
    sums: tuple[PeriodSums, ...] = ()


Section = Literal[
    "Texts", "Calls", "Data and plans", "Who it is", "Network", "Storage", "Television"
]
"""Headings of the page of rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration(Terms):
    """What a rule's file says of it to the policy, to the ladder, and to the page of rules.

    Parameters
    ----------
    section
        Heading of the page of rules under which the rule stands.
    units
        Units of the rule's findings; where a rule has several kinds of window, one for each.
    period
        What `regular_periods` counts, where the rule has that parameter.
    what, limit, misses
        Cells of the page of rules. `{name}` stands for that parameter in the default policy;
        `{name:ms}` and other formats are those of `detectors.policies.rule_page`.
    """

    section: Section
    units: tuple[Unit, ...]
    period: Literal["day", "week", "month"] = "day"
    what: str
    limit: str
    misses: str


class Rule(Protocol):
    """A behaviour that the contract names. One instance serves one partition."""

    name: ClassVar[str]
    declaration: ClassVar[Declaration]
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

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Fold a batch into the columns and report what crossed a limit, in the order of rows."""
        ...

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Bring rows of a kind, written under an older watermark, to the one `memory` holds."""
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


@dataclass(frozen=True, slots=True)
class Siblings:
    """The events of a kind and customer that counted until now, as far as they are remembered.

    `events` are in the order they came, each with the watermark it came at; the one that is taken
    back is row `place`. None whose time is `complete_ms` or later is missing.
    """

    events: Batch
    place: int
    complete_ms: int

    @property
    def event(self) -> Batch:
        """The one that is taken back, as it came."""
        return self.events.part(self.place, self.place + 1)

    @property
    def others(self) -> Batch:
        """Those that still count."""
        return self.events.take(np.delete(np.arange(len(self.events.slot)), self.place))


@dataclass(frozen=True, slots=True)
class Correction:
    """The event that takes another one back: when it is about and where it stood.

    `corrects` is the other one's id; its siblings are there where a rule asks for them.
    """

    event_time_ms: int
    offset: int
    corrects: str
    siblings: Siblings

    def told(self, hit: Hit) -> Hit:
        """A hit as this correction led to it."""
        return replace(
            hit,
            event_time_ms=self.event_time_ms,
            offset=self.offset,
            corrects=self.corrects,
        )


@runtime_checkable
class CorrectableRule(Rule, Protocol):
    """A rule whose counters go back when an event is corrected or taken back.

    One that can't subtract looks at the event's siblings. Where they are not complete it keeps what
    it counted, for it would have to guess, and says how often that was (`kept`).
    """

    remembers: ClassVar[Mapping[str, tuple[str, ...]]]
    """What it reads of an event that is taken back, and of its siblings, by kind."""

    siblings_ms: int
    """How long before and up to an event its siblings matter; 0 for one that subtracts."""

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Take what these events counted off their own periods; a breach that is gone is "cleared".

        The batch has the watermark and offset of the correction, and of the events' fields those
        that rules of the policy remember.
        """
        ...


@runtime_checkable
class CusumRule(Rule, Protocol):
    """A rule whose windows start where the CUSUM last stood at its lower bound."""

    def start_cusum(self, start_ms: int) -> None:
        """Leave every CUSUM at its lower bound until an event time, to recompute a window."""
        ...


@runtime_checkable
class ClosingRule(Rule, Protocol):
    """A rule that looks at whole periods once they are closed.

    A period is closed when every kind that the rule reads has passed it, so that the order in which
    kinds come makes no difference: what a kind counted is final when its own watermark is past it.
    """

    def period_of(self, time_ms: Ints) -> Ints:
        """The period that each time is in, shape (n,)."""
        ...

    def closing_period(self, watermark_ms: Ints) -> Ints:
        """The last period closed at each watermark, shape (n,)."""
        ...

    def may_close(self, watermark_ms: int) -> bool:
        """Whether a watermark may close another period."""
        ...

    def has_closed(self, period_start_ms: int) -> bool:
        """Whether a period is closed, so that nothing more is added to it."""
        ...

    def closes_ms(self, period_end_ms: int) -> int:
        """The watermark that closes a period."""
        ...

    def closed_between(self, after_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
        """Start of each period that a watermark closes on its way, and the watermark that does."""
        ...

    def known_ms(self, time_ms: int) -> int:
        """The watermark that closes the period which holds a time, or ends with it."""
        ...

    def pass_time(
        self,
        columns: Mapping[str, NDArray],
        kind: str,
        watermark_ms: int,
        customers: Customers,
    ) -> None:
        """Settle what a kind closes by itself up to a watermark: other parameters come next."""
        ...

    def close(
        self, columns: Mapping[str, NDArray], watermark_ms: int, customers: Customers
    ) -> RuleOutput:
        """What every period leads to that the watermark closes now.

        It writes no columns but those of the customers whom it reports.
        """
        ...

    def close_ended(
        self, columns: Mapping[str, NDArray], last_event_ms: int, customers: Customers
    ) -> RuleOutput:
        """The same for every period that ended before the last event: the input is at its end."""
        ...


@runtime_checkable
class CohortRule(ClosingRule, Protocol):
    """A rule that compares customers with others, across all partitions.

    A partition hands out its share of each period that it closes; the mean of each cohort over all
    shares comes back to `judge`.
    """

    def take_mean(
        self, columns: Mapping[str, NDArray], average: CohortAverage, customers: Customers
    ) -> list[Hit]:
        """Take in a period's mean, and report whom it puts in breach."""
        ...

    def judge_by_given_means(
        self,
        columns: Mapping[str, NDArray],
        period_start_ms: int,
        given: Mapping[str, Any],
        customers: Customers,
    ) -> list[Hit]:
        """Judge a closed period by the means that a finding's evidence gives for it."""
        ...
