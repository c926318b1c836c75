"""What the rules about spending share: a calendar month's charges against a limit of the plan.

Texts, calls and sessions come by topics that have no common order. So a charge waits until all
three kinds have passed the step of event time in which it came, and then counts. What is found, and
when, depends neither on the order in which kinds come nor on where batches end.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct, convert
from numpy.typing import NDArray

from detectors.kernels.running import running_totals
from detectors.periods.calendar import calendar
from detectors.periods.closing import ClosedPeriods, PeriodCloser
from detectors.periods.ring import Steps
from detectors.rules.contract import (
    NEVER,
    Batch,
    Correction,
    Customers,
    Declaration,
    Hit,
    RuleOutput,
    Standing,
)
from detectors.rules.families.closing import ClosingRuleBase
from detectors.state.columns import Field
from detectors.state.customers import NONE
from detectors.state.log import LogsOfRule
from detectors.state.pending import PendingAmounts
from detectors.state.step_offsets import StepOffsets
from schemas.amounts import CHARGES
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.records import Level
from schemas.units import SECOND_MS, Hashes, Ints, Mask

WARNED, BREACHED, ENDED = 1, 2, 3
"""How far a customer's month has come; `ENDED` is a breach whose month is over."""

QUARTER_SECONDS = 900
"""In every time zone months begin at a whole quarter of an hour."""

CORRECTIONS_MAX = 10_000
"""Corrections whose ids are kept until their step is closed; of more, the oldest are forgotten."""


class SpendingParameters(RuleParameters, kw_only=True, frozen=True):
    """Charges above `warning_percent` of the plan's limit lead to an early warning.

    A month's charges are compared with the limit at the end of each step of `step_seconds`. Of more
    than `pending_max` sums by customer and step, those of a customer are compared together.
    """

    warning_percent: Annotated[int, Meta(ge=1, le=99), LIVE]
    step_seconds: Annotated[int, Meta(ge=60, le=QUARTER_SECONDS)]
    pending_max: Positive

    def __post_init__(self) -> None:
        """Refuse steps that would hold the end of one month and the start of the next."""
        super().__post_init__()
        if QUARTER_SECONDS % self.step_seconds:
            raise ValueError("`step_seconds` has to divide 900, so that months begin with a step")


class CorrectedStep(Struct, array_like=True, frozen=True):
    """A customer (hash) and step with a correction: its time, and the id of the event it is of."""

    customer: int
    step: int
    time_ms: int
    corrects: str


class SpendingMemory(Struct, frozen=True):
    """Which steps and months are closed, and what is known of the open steps besides charges."""

    closing: ClosedPeriods
    ended: int
    merged: int
    last_offsets: dict[str, list[tuple[int, int]]]
    corrected: list[CorrectedStep]


class SpendingRule(LogsOfRule, ClosingRuleBase):
    """Report charges above a limit of the plan, a warning before it, and the new month.

    A subclass names the plan's number with the limit (`plan_number`), and says which events count
    (`is_included`). The columns hold each customer's charges up to the last closed step, and four
    times the number of their month plus how far it has come.
    """

    name: ClassVar[str]
    declaration: ClassVar[Declaration]
    Parameters: ClassVar[type[RuleParameters]] = SpendingParameters
    reads: ClassVar[tuple[str, ...]] = ("sms", "voice", "data")
    remembers: ClassVar[Mapping[str, tuple[str, ...]]]
    siblings_ms: ClassVar[int] = 0
    longest_ms: ClassVar[int] = 0
    cuts_batches: ClassVar[bool] = False
    plan_number: ClassVar[str]

    def __init__(self, parameters: SpendingParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.months = calendar(policy.timezone, "month")
        self.steps = Steps(parameters.step_seconds * SECOND_MS)
        self.closing = PeriodCloser(self.steps, 0, 1)
        self.pending = PendingAmounts(parameters.pending_max, self._month_of)
        self.logs = (self.pending,)
        self.offsets = StepOffsets(self.steps.step_ms, self.reads)
        self.corrected: dict[tuple[int, int], tuple[int, str]] = {}
        self.ended = -1
        self.fields = (Field(f"{self.name}_total", "<i8"), Field(f"{self.name}_month", "<u2"))

    @property
    def evicted(self) -> int:
        """How many sums were merged for lack of room."""
        return self.pending.merged

    def is_included(self, batch: Batch) -> Mask:
        """Whether the charge of each event counts, shape (n,)."""
        raise NotImplementedError

    def limits(self, slot: Ints, customers: Customers) -> Ints:
        """Charges that each customer's plan allows in a month, `NEVER` if it sets none, (n,)."""
        limit = customers.number(self.plan_number, slot)
        return np.where(limit == NONE, NEVER, limit)

    def _month_of(self, step: Ints) -> Ints:
        return self.months.period_of(step * self.steps.step_ms)

    # -- events -----------------------------------------------------------------------------------

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's month is not over, shape (n,)."""
        return self.months.period_of(time_ms) == self.months.period_of(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Let the charges of a batch wait until all kinds have passed their steps."""
        self.offsets.note(batch.kind, batch.watermark_ms, batch.offset)
        self._add(batch, customers, 1)
        return []

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Subtract an event's charge in the correction's step, unless its month is over."""
        self.offsets.note(batch.kind, batch.watermark_ms, batch.offset)
        cause = correction.event_time_ms, correction.corrects
        customer, step = self._add(batch, customers, -1)
        for key in zip(customer.tolist(), step.tolist(), strict=True):
            self.corrected[key] = max(self.corrected.pop(key, cause), cause)
        while len(self.corrected) > CORRECTIONS_MAX:
            del self.corrected[next(iter(self.corrected))]
        return []

    def _add(self, batch: Batch, customers: Customers, sign: int) -> tuple[Hashes, Ints]:
        """Add or subtract what counts; the customer and step of each charge, shape (k,)."""
        charge = batch.fields["charge_microeur"]
        if not (charge > 0).any():
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        row = np.flatnonzero((charge > 0) & self.is_included(batch))
        step = self.steps.period_of(batch.watermark_ms[row])
        step = np.maximum(step, self.closing.closed + 1)
        in_time = self.months.period_of(batch.time_ms[row]) == self._month_of(step)
        row, step = row[in_time], step[in_time]
        customer = customers.directory.hashes(batch.slot[row])
        self.pending.add(customer, step, sign * charge[row])
        return customer, step

    # -- closed steps -----------------------------------------------------------------------------

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """Count the charges of the steps that are closed now, and end the months that are over."""
        closed = periods[-1]
        due = self.pending.take(closed)
        hits = self._count_by_month(columns, due, customers) if len(due) else []
        (month,) = self._month_of(np.array([closed + 1])).tolist()
        hits += self._end_breaches(columns, month - 1, customers)
        self.offsets.forget(closed)
        self.corrected = {k: cause for k, cause in self.corrected.items() if k[1] > closed}
        slots = customers.directory.find_hashes(due["customer"])
        return RuleOutput(hits=tuple(hits), written=tuple(slots.tolist()))

    def _count_by_month(
        self, columns: Mapping[str, NDArray], due: NDArray, customers: Customers
    ) -> list[Hit]:
        """Add charges, and end the breaches of each month before the next one is counted."""
        month_of_due = self._month_of(due["step"].astype(np.int64))
        hits: list[Hit] = []
        for month in np.unique(month_of_due).tolist():
            hits += self._end_breaches(columns, month - 1, customers)
            hits += self._count(columns, due[month_of_due == month], month, customers)
        return hits

    def _count(
        self, columns: Mapping[str, NDArray], due: NDArray, month: int, customers: Customers
    ) -> list[Hit]:
        """Add charges of a month, in order of their steps; the hits that they lead to."""
        totals, months = self._columns(columns)
        slot = customers.directory.find_hashes(due["customer"])
        is_begun = months[slot] // 4 == month
        level = np.where(is_begun, months[slot] % 4, 0)
        after = running_totals(slot, due["amount"], np.where(is_begun, totals[slot], 0))
        limit = self.limits(slot, customers)
        reached = (after > self.warning_threshold(limit)).astype(np.int64) + (after > limit)
        totals[slot], months[slot] = after, 4 * month + level
        is_less = due["amount"] < 0
        may_change = (reached > level) | np.isin(slot, slot[is_less])
        hits: list[Hit] = []
        for row in np.flatnonzero(may_change).tolist():
            who, before = int(slot[row]), int(months[slot[row]]) % 4
            for name, now in _changes(before, int(reached[row]), bool(is_less[row])):
                months[who] = 4 * month + now
                step = int(due["step"][row])
                hit = self._hit(who, name, month, step, int(after[row]), int(limit[row]))
                cause = self.corrected.get((int(due["customer"][row]), step))
                if name == "cleared" and cause is not None:
                    hit = replace(hit, corrects=cause[1])
                hits.append(hit)
        return hits

    def _end_breaches(
        self, columns: Mapping[str, NDArray], last_month: int, customers: Customers
    ) -> Iterator[Hit]:
        """Clear every breach of the months up to this one, which are over."""
        if last_month <= self.ended:
            return
        self.ended = last_month
        totals, months = self._columns(columns)
        months = months[: customers.directory.size]
        slots = np.flatnonzero((months % 4 == BREACHED) & (months // 4 <= last_month))
        limits = self.limits(slots, customers)
        by_customer = np.argsort(customers.directory.hashes(slots))
        for slot, limit in zip(
            slots[by_customer].tolist(), limits[by_customer].tolist(), strict=True
        ):
            month = int(months[slot]) // 4
            months[slot] = 4 * month + ENDED
            step = int(self.steps.period_of(self.months.start_ms[month + 1 : month + 2])[0]) - 1
            yield self._hit(slot, "cleared", month, step, int(totals[slot]), limit)

    def warning_threshold(self, limit: Ints) -> Ints:
        """Charges above which the customer is warned, for each limit, shape (n,)."""
        percent = self.parameters.warning_percent
        # `limit * percent` may overflow; the product in two parts can't.
        return limit // 100 * percent + limit % 100 * percent // 100

    def _hit(
        self, slot: int, level: Level, month: int, step: int, observed: int, limit: int
    ) -> Hit:
        """A hit at the end of a step."""
        more, told = {}, NONE if limit == NEVER else limit
        if level == "early":
            more = {self.plan_number: told, "warning_percent": self.parameters.warning_percent}
            told = int(self.warning_threshold(np.array([limit]))[0])
        return Hit(
            slot=slot,
            event_time_ms=self.steps.bounds(step)[1],
            level=level,
            window=self.months.window(month),
            observed=observed,
            limit=told,
            unit=CHARGES.name,
            offset=None,
            last_offsets=self.offsets.at(step),
            evidence=more,
        )

    def _columns(self, columns: Mapping[str, NDArray]) -> tuple[NDArray, NDArray]:
        """The charges of each customer's newest month, and which month that is, (slots,)."""
        total, month = self.fields
        return columns[total.name][:, 0], columns[month.name][:, 0]

    # -- state ------------------------------------------------------------------------------------

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Does nothing: a row says which month its charges are of."""

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The month's charges up to the last closed step, and the limit."""
        if self.closing.closed < 0:
            return []
        (month,) = self._month_of(np.array([self.closing.closed + 1])).tolist()
        total, newest = (int(column[slot]) for column in self._columns(columns))
        limit = int(self.limits(np.array([slot]), customers)[0])
        return [
            Standing(
                window=self.months.window(month),
                observed=total if newest // 4 == month else 0,
                limit=None if limit == NEVER else limit,
                unit=CHARGES.name,
            )
        ]

    def remember(self) -> Any:
        """A `SpendingMemory`; the charges are in the columns and in the log of pending ones."""
        corrected = [CorrectedStep(*key, *cause) for key, cause in self.corrected.items()]
        return SpendingMemory(
            self.closing.remember(),
            self.ended,
            self.pending.merged,
            self.offsets.remember(),
            corrected,
        )

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, SpendingMemory)
        self.closing.recall(kept.closing)
        self.ended, self.pending.merged = kept.ended, kept.merged
        self.offsets.recall(kept.last_offsets)
        self.corrected = {(c.customer, c.step): (c.time_ms, c.corrects) for c in kept.corrected}
        self.pending.recall()


def _changes(before: int, reached: int, is_less: bool) -> Iterator[tuple[Level, int]]:
    """Levels to report of a month, each with how far the month has come then."""
    if before < WARNED <= reached:
        yield "early", WARNED
    if before < BREACHED <= reached:
        yield "breach", BREACHED
    if is_less and reached < BREACHED == before:
        yield "cleared", WARNED
