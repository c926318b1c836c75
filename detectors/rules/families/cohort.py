"""Rules that compare customers with the mean of a cohort, once a calendar period is closed.

The way of a period: each partition counts its customers' use in columns (`fold`) and hands out its
partial sums when the period is closed (`close_periods`). The sums of all partitions together come
back as means (`take_mean`), and the last one of a cohort leads to its hits (`find_breaches`).
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.kernels.running import group_starts
from detectors.periods.closing import ClosedPeriods, PeriodCloser
from detectors.rules.contract import (
    Batch,
    Correction,
    Customers,
    Declaration,
    Hit,
    PeriodSums,
    RuleOutput,
    Standing,
)
from detectors.rules.families.closing import ClosingRuleBase
from detectors.state.columns import Field
from detectors.state.period_columns import PeriodColumns
from schemas.amounts import Unit
from schemas.records import CohortAverage, CohortSum, Level
from schemas.units import Ints, Mask

M = TypeVar("M")
"""What a rule keeps of one mean record."""


class CohortMemory(Struct, Generic[M]):
    """What a cohort rule stores besides its columns.

    `newest` is the newest period of each kind of event. `means` are those that have come: by
    period, cohort and part.
    """

    newest: dict[str, int]
    closing: ClosedPeriods
    means: dict[int, dict[str, dict[str, M]]]


class PeriodView(NamedTuple):
    """A period that is closed, with the columns and customers of the partition."""

    columns: Mapping[str, NDArray]
    period: int
    customers: Customers


class CohortRuleBase(ClosingRuleBase, Generic[M]):
    """Counts use by customer and period, and compares it once a cohort's means have come.

    A rule of the family says what each event adds (`amounts`), what its partial sums are
    (`cohort_sums`), what it keeps of a mean (`mean_of`), who is in breach (`find_breaches`) and how
    means are read back from evidence (`means_in`).

    Parameters
    ----------
    closing
        The calendar, and when its periods are closed.
    back
        Periods kept before the newest.
    cells
        For each kind of event, the columns and the type of their cells.
    """

    name: ClassVar[str]
    declaration: ClassVar[Declaration]
    reads: ClassVar[tuple[str, ...]]
    parts: ClassVar[tuple[str, ...]] = ("",)
    """The mean records that a cohort needs before it is compared; see `split`."""
    means_kept: ClassVar[int] = 0
    """Periods up to the newest whose means are kept."""
    Memory: ClassVar[Any]
    """`CohortMemory` with the type of the means, or a subclass of it."""

    def __init__(
        self, closing: PeriodCloser, back: int, cells: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.closing = closing
        self.periods = closing.periods
        self.counted = {k: PeriodColumns(self.name, k, back, cells[k]) for k in self.reads}
        self.fields: tuple[Field, ...] = tuple(
            field for counted in self.counted.values() for field in counted.fields
        )
        self.means: dict[int, dict[str, dict[str, M]]] = {}

    # -- events ---------------------------------------------------------------------------------

    def amounts(self, batch: Batch) -> dict[str, Ints]:
        """What each event adds to each column of its kind, 0 for nothing, each of shape (n,)."""
        raise NotImplementedError

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's kind has not closed the event's period, shape (n,)."""
        return self.period_of(time_ms) > self.closing_period(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Add a batch to its kind's periods; there are no hits before the means have come."""
        counted = self.counted[batch.kind]
        # A rule of one kind closes its first period before the first event gets here.
        if counted.ring.newest < 0 and len(self.reads) > 1:
            self.closing.begin(batch.kind, batch.watermark_ms)
        counted.turn(columns, int(self.period_of(batch.watermark_ms[-1:])[0]))
        for name, slot, period, amount in self._open_amounts(batch):
            counted.add(columns, name, slot, period, amount)
        return []

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Take events off their periods unless these are closed; a full cell stays full.

        Only a rule that says what it `remembers` is asked.
        """
        for name, slot, period, amount in self._open_amounts(batch):
            self.counted[batch.kind].take_off(columns, name, slot, period, amount)
        return []

    def _open_amounts(self, batch: Batch) -> Iterator[tuple[str, Ints, Ints, Ints]]:
        """Column, slots, periods and amounts of what counts in periods that are not closed."""
        period = self.period_of(batch.time_ms)
        is_open = self.accepts(batch.time_ms, batch.watermark_ms) & (period > self.closing.closed)
        for name, amount in self.amounts(batch).items():
            row = np.flatnonzero(is_open & (amount > 0))
            yield name, batch.slot[row], period[row], amount[row]

    # -- closed periods -------------------------------------------------------------------------

    def cohort_sums(self, closed: PeriodView) -> Sequence[CohortSum]:
        """This partition's partial sums of a closed period."""
        raise NotImplementedError

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """This partition's partial sums of every period that is closed now."""
        closed = [PeriodView(columns, period, customers) for period in periods]
        sums = ((*self.periods.bounds(c.period), tuple(self.cohort_sums(c))) for c in closed)
        return RuleOutput(sums=tuple(PeriodSums(*each) for each in sums))

    # -- means ----------------------------------------------------------------------------------

    def split(self, cohort: str) -> tuple[str, str]:
        """The cohort and the part of it that a mean record is about, by the record's `cohort`."""
        return cohort, ""

    def mean_of(self, part: str, average: CohortAverage) -> M:
        """What is kept of a mean record."""
        raise NotImplementedError

    def find_breaches(self, closed: PeriodView, cohort: str, means: Mapping[str, M]) -> list[Hit]:
        """Compare a cohort's customers with its means, which are all there."""
        raise NotImplementedError

    def means_in(self, given: Mapping[str, Any]) -> tuple[str, dict[str, M]]:
        """The cohort, and its means as a finding's evidence gives them."""
        raise NotImplementedError

    def take_mean(
        self, columns: Mapping[str, NDArray], average: CohortAverage, customers: Customers
    ) -> list[Hit]:
        """Take in a mean; the last one of a cohort's period leads to its hits, each once."""
        period = self._period_at(average.period_start_ms)
        cohort, part = self.split(average.cohort)
        if part not in self.parts:
            return []
        known = self.means.setdefault(period, {}).setdefault(cohort, {})
        if part in known:
            return []
        known[part] = self.mean_of(part, average)
        hits = []
        if len(known) == len(self.parts):
            hits = self.find_breaches(PeriodView(columns, period, customers), cohort, known)
        oldest = max(self.means) - self.means_kept + 1
        self.means = {each: means for each, means in self.means.items() if each >= oldest}
        return hits

    def recompute_with_means(
        self,
        columns: Mapping[str, NDArray],
        period_start_ms: int,
        given: Mapping[str, Any],
        customers: Customers,
    ) -> list[Hit]:
        """Find the breaches of a closed period again, with the means of a finding's evidence."""
        period = self._period_at(period_start_ms)
        cohort, means = self.means_in(given)
        self.means.setdefault(period, {})[cohort] = means
        return self.find_breaches(PeriodView(columns, period, customers), cohort, means)

    def _period_at(self, start_ms: int) -> int:
        return int(self.period_of(np.array([start_ms]))[0])

    def closed_hit(
        self,
        slot: int,
        period: int,
        observed: int,
        limit: int,
        unit: Unit,
        evidence: dict[str, Any],
        level: Level = "breach",
    ) -> Hit:
        """A hit of a closed period, dated to the period's end."""
        return Hit(
            slot=slot,
            event_time_ms=self.periods.bounds(period)[1],
            level=level,
            window=self.periods.window(period),
            observed=observed,
            limit=limit,
            unit=unit.name,
            offset=None,
            evidence=evidence,
        )

    # -- state ----------------------------------------------------------------------------------

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Zero the cells that were reused for later periods after a row was written."""
        self.counted[kind].catch_up(columns, slots, self.period_of(written_ms))

    def remember(self) -> CohortMemory[M]:
        """The newest period of each kind, the last closed one, and the means that are kept."""
        newest = {kind: counted.ring.newest for kind, counted in self.counted.items()}
        return CohortMemory(newest, self.closing.remember(), self.means)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = msgspec.convert(memory, self.Memory)
        for kind, period in kept.newest.items():
            self.counted[kind].ring.newest = period
        self.closing.recall(kept.closing)
        self.means = kept.means


def by_cohort(slot: Ints, customers: Customers) -> Iterator[tuple[str, Ints]]:
    """Name of each cohort that these customers belong to, and which of the rows are its own."""
    cohort = customers.cohort(slot)
    order = np.argsort(cohort, kind="stable")
    starts = group_starts(cohort[order].view(np.int64))
    for rows in np.split(order, starts[1:]) if len(order) else ():
        yield customers.cohort_name(int(cohort[rows[0]])), rows


def slots_of(cohort: str, customers: Customers) -> Ints:
    """The customers who belong to a cohort now, shape (n,)."""
    of_each = customers.cohort(np.arange(customers.directory.size))
    named = [key for key in np.unique(of_each).tolist() if customers.cohort_name(key) == cohort]
    return np.flatnonzero(np.isin(of_each, np.array(named, np.uint64)))


# -- multiples of the mean ------------------------------------------------------------------------

USED = "used"
"""The column that counts a kind's use."""


class Mean(Struct, frozen=True):
    """What a cohort's customers used in a period, over all partitions."""

    total: int
    customers: int


class MeanRule(CohortRuleBase[Mean]):
    """A cohort rule whose limit is a multiple of the mean; it counts one amount of each kind.

    Its declared units are those of the kinds that it reads, in the same order."""

    Memory: ClassVar[Any] = CohortMemory[Mean]

    def __init__(
        self,
        parameters: Any,
        closing: PeriodCloser,
        back: int,
        cells: Mapping[str, str],
    ) -> None:
        super().__init__(closing, back, {kind: {USED: dtype} for kind, dtype in cells.items()})
        self.parameters = parameters
        self.ratio = Fraction(str(parameters.ratio))
        self.unit_of = dict(zip(self.reads, self.declaration.units, strict=True))

    def used(self, closed: PeriodView, kind: str) -> Ints:
        """What each customer used, 0 where the period has no cells, shape (customers,)."""
        slot = np.arange(closed.customers.directory.size)
        return self.counted[kind].amounts_in(closed.columns, USED, closed.period, slot)

    def mean_of(self, part: str, average: CohortAverage) -> Mean:
        """Total and number of customers."""
        return Mean(average.total, average.customers)

    def times_mean(self, mean: Mean) -> int | None:
        """The least use that is `ratio` times the mean; None for too small or idle a cohort."""
        if mean.customers < self.parameters.cohort_min or mean.total == 0:
            return None
        return -((-self.ratio * mean.total) // mean.customers)

    def limit_now(self, kind: str, slot: int, customers: Customers) -> int | None:
        """The limit that a customer's running period is compared with, if one is known."""
        return None

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest period of each kind."""
        return [
            Standing(
                window=self.periods.window(newest),
                observed=int(counted.amounts_in(columns, USED, newest, np.array([slot]))[0]),
                limit=self.limit_now(kind, slot, customers),
                unit=self.unit_of[kind].name,
            )
            for kind, counted in self.counted.items()
            if (newest := counted.ring.newest) >= 0
        ]
