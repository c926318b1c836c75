"""The interface of a rule: a fold over the events of one partition.

A rule keeps numbers of each customer in columns, one row a slot. What it keeps of the partition as
a whole goes through `remember` and `recall`. It knows no clock, no broker and no other partition.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal, Protocol, cast, runtime_checkable

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
    """Events of one kind of one partition, in the partition's order, without those refused before.

    All columns have shape (n,). `watermark_ms` is the highest event time up to and including each
    row; `offset` is the event's Kafka offset, or its number in a replay.
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
        """Split before each of these rows; the batch itself where no row is inside it."""
        ends = sorted({0, *places, len(self.slot)})
        if len(ends) == 2:
            return [self]
        return [self.part(start, end) for start, end in pairwise(ends)]

    def part(self, start: int, end: int) -> "Batch":
        """Rows `start` to `end`, `end` excluded."""
        return self.take(np.arange(start, end))

    def take(self, rows: Ints | Mask) -> "Batch":
        """The rows with these numbers, in this order, or those where a mask (n,) is set."""
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else cast("Ints", rows)
        return Batch(
            kind=self.kind,
            slot=self.slot[numbers],
            time_ms=self.time_ms[numbers],
            watermark_ms=self.watermark_ms[numbers],
            offset=self.offset[numbers],
            fields=self.fields.take(numbers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """What a rule reports of one customer; the partition makes a finding of it.

    Parameters
    ----------
    offset
        Offset of the event that crossed the limit; None where a closed period was judged.
    rests_on_ms
        An earlier instant whose events also decided; the evidence's inputs reach back to it.
    known_ms
        Watermark at which a closed period's hit could be known; None if that is when the period
        was closed.
    corrects
        Id of the event that was corrected, where a correction led to the hit.
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
    """A customer's current amount against one limit; None where there is no limit, or not yet."""

    window: Window
    observed: int
    limit: int | None
    unit: str


@dataclass(frozen=True, slots=True)
class PeriodSums:
    """Partial sums of a closed period: what each cohort's customers of this partition used."""

    period_start_ms: int
    period_end_ms: int
    sums: tuple[CohortSum, ...]


@dataclass(frozen=True, slots=True)
class RuleOutput:
    """What came of closing periods: hits, and partial sums for the means of cohorts."""

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
    """A behaviour that the contracts name. One instance serves one partition."""

    name: ClassVar[str]
    """The rule's id."""

    declaration: ClassVar[Declaration]
    reads: ClassVar[tuple[str, ...]]
    """Kinds of event that it folds."""

    Parameters: ClassVar[type[RuleParameters]]
    longest_ms: ClassVar[int]
    """How long after its start one event's use may end, at most."""

    fields: tuple[Field, ...]
    """The columns that it keeps."""

    def __init__(self, parameters: Any, policy: Policy) -> None: ...

    @property
    def parameters(self) -> RuleParameters:
        """The rule's table in the policy."""
        ...

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Mask of the events that are not too late for this rule, shape (n,)."""
        ...

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Fold a batch into the columns; the hits come in the order of the batch's rows."""
        ...

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Bring columns of a kind up to the newest watermark, in rows written at `written_ms`."""
        ...

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """A customer's current amounts against the rule's limits."""
        ...

    def remember(self) -> Any:
        """What the rule keeps of the partition as a whole, as plain data."""
        ...

    def recall(self, memory: Any) -> None:
        """Go on from what `remember` returned."""
        ...


@dataclass(frozen=True, slots=True)
class Siblings:
    """A customer's counted events of one kind, as far as they are remembered.

    `events` are in order of arrival, each with the watermark at its arrival; row `place` is the one
    that is taken back. From event time `complete_ms` on no event is missing.
    """

    events: Batch
    place: int
    complete_ms: int

    @property
    def event(self) -> Batch:
        """The event that is taken back."""
        return self.events.part(self.place, self.place + 1)

    @property
    def others(self) -> Batch:
        """The events that still count."""
        return self.events.take(np.delete(np.arange(len(self.events.slot)), self.place))


@dataclass(frozen=True, slots=True)
class Correction:
    """An event that takes another one back.

    `event_time_ms` and `offset` are its own; `corrects` is the id of the event that is taken back,
    and `siblings` are that event's, where the rule asks for them.
    """

    event_time_ms: int
    offset: int
    corrects: str
    siblings: Siblings

    def caused(self, hit: Hit) -> Hit:
        """The hit with this correction as its cause."""
        return replace(
            hit,
            event_time_ms=self.event_time_ms,
            offset=self.offset,
            corrects=self.corrects,
        )


@runtime_checkable
class CorrectableRule(Rule, Protocol):
    """A rule that takes a corrected event out of its counts.

    A rule that can't subtract counts the event's siblings again. Where some of them are no longer
    remembered, the event stays counted, and the rule's attribute `kept` counts that.
    """

    remembers: ClassVar[Mapping[str, tuple[str, ...]]]
    """By kind of event, the fields that have to be remembered of each event for `take_back`."""

    siblings_ms: int
    """How long before the event its earliest sibling that matters may be; 0 if it subtracts."""

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Take events out of the counts of their own periods; a breach that is gone is "cleared".

        The batch's watermarks and offsets are the correction's. Of the events' fields it has those
        that the policy's rules remember.
        """
        ...


@runtime_checkable
class CusumRule(Rule, Protocol):
    """A rule whose windows start where the CUSUM last stood at its lower bound."""

    def start_cusum(self, start_ms: int) -> None:
        """Hold every CUSUM at its lower bound until an event time, to recompute a window."""
        ...


@runtime_checkable
class ClosingRule(Rule, Protocol):
    """A rule that judges whole periods once they are closed.

    A period is closed when the watermark of every kind that the rule reads has passed it, so the
    order in which kinds arrive has no effect. What one kind counted in a period is final once that
    kind's own watermark has passed it.
    """

    def period_of(self, time_ms: Ints) -> Ints:
        """Number of the period that holds each time, shape (n,)."""
        ...

    def closing_period(self, watermark_ms: Ints) -> Ints:
        """Number of the last period that is closed at each watermark, shape (n,)."""
        ...

    def may_close(self, watermark_ms: int) -> bool:
        """Whether this watermark may close a period; may be true where it closes none."""
        ...

    def has_closed(self, period_start_ms: int) -> bool:
        """Whether the period is closed: nothing more is added to it."""
        ...

    def closes_ms(self, period_end_ms: int) -> int:
        """The watermark that closes the period with this end."""
        ...

    def closed_between(self, after_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
        """Periods that close while the watermark goes on: the start of each, and what closes it."""
        ...

    def known_ms(self, time_ms: int) -> int:
        """The watermark that closes the period which holds this time, or ends at it."""
        ...

    def pass_time(
        self,
        columns: Mapping[str, NDArray],
        kind: str,
        watermark_ms: int,
        customers: Customers,
    ) -> None:
        """Finish one kind's periods up to a watermark, before other parameters take effect."""
        ...

    def close(
        self, columns: Mapping[str, NDArray], watermark_ms: int, customers: Customers
    ) -> RuleOutput:
        """Judge every period that this watermark closes.

        Of the columns it writes only the rows of customers in its hits.
        """
        ...

    def close_ended(
        self, columns: Mapping[str, NDArray], last_event_ms: int, customers: Customers
    ) -> RuleOutput:
        """At the end of the input, judge every period that ended before the last event."""
        ...


@runtime_checkable
class CohortRule(ClosingRule, Protocol):
    """A rule that compares customers with their cohort, across all partitions.

    Each partition hands out its partial sums of a period that it closes. The mean over all
    partitions comes back to `take_mean`.
    """

    def take_mean(
        self, columns: Mapping[str, NDArray], average: CohortAverage, customers: Customers
    ) -> list[Hit]:
        """Judge a period by its mean."""
        ...

    def recompute_with_means(
        self,
        columns: Mapping[str, NDArray],
        period_start_ms: int,
        given: Mapping[str, Any],
        customers: Customers,
    ) -> list[Hit]:
        """Find the breaches of a closed period again, with the means of a finding's evidence."""
        ...
