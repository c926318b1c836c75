"""What the counting rules share: a customer has more of something in a period than is allowed."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta, Struct, convert
from numpy.typing import NDArray

from detectors.kernels.rolling import Episodes, fullest_windows
from detectors.periods.calendar import SHORTEST_MS, PeriodUnit, calendar
from detectors.periods.regular import Regularly
from detectors.periods.ring import PeriodRing, Periods, Steps
from detectors.rules.contract import NEVER, Batch, Correction, Customers, Declaration, Hit, Standing
from detectors.state.columns import Field
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.records import Level, Window
from schemas.units import Ints, Mask

CELL = np.dtype("<u4")

PERIODS_MAX = 4_096
"""Most cells of a customer's row: the rows of ten million customers have to fit one machine."""

Limit = Annotated[int, Meta(ge=0, lt=np.iinfo(CELL).max)]
"""Highest amount that is still allowed; below the largest number of a cell, so a full cell is
above every limit."""


class CountingParameters(RuleParameters, kw_only=True, frozen=True):
    """Counts calendar periods, or with `window = "rolling"` windows of a length and a step.

    `retention_periods`: how many periods (or window lengths) before the newest one still take late
    events. A breach is "regularly" when `regular_periods` of the last `regular_window` calendar
    periods are in breach.
    """

    retention_periods: Positive
    applies_to: Annotated[Literal["unlimited", "all"], LIVE] = "all"
    window: Literal["calendar", "rolling"] = "calendar"
    length_seconds: Positive | None = None
    step_seconds: Positive | None = None
    regular_periods: Annotated[Positive | None, LIVE] = None
    regular_window: Positive | None = None

    def __post_init__(self) -> None:
        """Refuse parameters that contradict each other, or need more cells than there may be."""
        super().__post_init__()
        length, step, rolling = self.length_seconds, self.step_seconds, self.window == "rolling"
        if {length is not None, step is not None} != {rolling}:
            raise ValueError('`length_seconds` and `step_seconds` go with `window = "rolling"`')
        if length and step and length % step:
            raise ValueError("`length_seconds` has to be a multiple of `step_seconds`")
        periods, window = self.regular_periods, self.regular_window
        if (periods is None) != (window is None):
            raise ValueError("`regular_periods` and `regular_window` go together")
        if rolling and periods is not None:
            raise ValueError('`regular_periods` goes with `window = "calendar"`')
        if periods and window and periods > window:
            raise ValueError("`regular_periods` can't be more than `regular_window`")
        steps = length // step if length and step else 1
        if (self.retention_periods + 1) * steps + (window or 0) > PERIODS_MAX:
            raise ValueError(
                f"`retention_periods` ask for more than {PERIODS_MAX} periods or steps to be kept"
            )


class CountingMemory(Struct, frozen=True):
    """The newest period, and of each customer the stretches of windows above the limit."""

    newest: int
    stretches: dict[int, list[list[int]]]


class Pieces(NamedTuple):
    """Amounts that a batch adds, each to one customer's period; columns of shape (k,).

    `row` is the event's row in the batch, `total` the period's total after the amount.
    """

    row: Ints
    slot: Ints
    period: Ints
    amount: Ints
    total: Ints


class CountingRule:
    """Report the event that takes a customer's period past the limit, once for each period.

    A subclass says what is counted (`pieces`), in which calendar unit, and what the limit is: one
    for all (`limit_of`), or one for each customer (`limits`). Totals are cells of the dtype `cell`;
    one that has reached the dtype's largest number stays there.
    """

    name: ClassVar[str]
    declaration: ClassVar[Declaration]
    reads: ClassVar[tuple[str, ...]]
    Parameters: ClassVar[type[RuleParameters]] = CountingParameters
    calendar_unit: ClassVar[PeriodUnit]
    cell: ClassVar[str] = CELL.str
    longest_ms: ClassVar[int] = 0
    remembers: ClassVar[Mapping[str, tuple[str, ...]]]
    siblings_ms: ClassVar[int] = 0

    def __init__(self, parameters: CountingParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.limit = self.limit_of(parameters)
        self.regularly = None
        if parameters.regular_periods and parameters.regular_window:
            self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        length, step = parameters.length_seconds, parameters.step_seconds
        self.rolling = parameters.window == "rolling"
        if length and step:
            self.periods: Periods = Steps(step * 1000)
            self.steps = length // step
            self.retained = parameters.retention_periods * self.steps
            back, ahead = self.retained + self.steps, -(-self.longest_ms // (step * 1000))
        else:
            self.periods = calendar(policy.timezone, self.calendar_unit)
            self.steps = 0
            self.retained = parameters.retention_periods
            back = self.retained + (parameters.regular_window or 1) - 1
            ahead = -(-self.longest_ms // SHORTEST_MS[self.calendar_unit])
        self.ring = PeriodRing(back, ahead)
        self.episodes = Episodes(self.steps)
        self.fields = (Field(self.name, self.cell, self.ring.width),)

    def limit_of(self, parameters: Any) -> int:
        """Highest amount of a period that is still allowed; no customer's own limit is lower."""
        return parameters.limit

    def limits(self, slot: Ints, customers: Customers) -> Ints:
        """Highest amount still allowed to each customer, `NEVER` without a limit, shape (n,)."""
        if self.parameters.applies_to == "all":
            return np.full(len(slot), self.limit)
        applies = customers.has_unlimited(self.parameters.service, slot)
        return np.where(applies, self.limit, NEVER)

    def hit_threshold(self, limit: Ints) -> Ints:
        """Amount whose crossing makes a hit, for each limit, shape (n,).

        It is the warning level if the rule has one, else the limit.
        """
        return limit

    def pieces(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """Row, period and amount of everything that counts, shape (k,) each, sorted by row.

        An event that reaches into several periods has a row for each of them.
        """
        raise NotImplementedError

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's own period still takes late events."""
        newest = self.periods.period_of(watermark_ms)
        return self.periods.period_of(time_ms) >= newest - self.retained

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Add a batch to the totals and report the rows that crossed."""
        cells = columns[self.name]
        row, period, amount = self.pieces(batch)
        newest = self.periods.period_of(batch.watermark_ms)
        in_time = self.ring.holds(period, newest[row]) & (period >= newest[row] - self.retained)
        row, period, amount = row[in_time], period[in_time], amount[in_time]
        slot = batch.slot[row]
        rest = ~self._fast_path(cells, customers, slot, period, amount, int(newest[-1]))
        row, slot, period, amount = row[rest], slot[rest], period[rest], amount[rest]
        total = self.ring.totals(cells, slot, period, amount)
        find_hits = self._rolling_hits if self.rolling else self._calendar_hits
        pieces = Pieces(row, slot, period, amount, total)
        hits = list(find_hits(cells, batch, customers, pieces))
        self.ring.write(cells, slot, period, total, int(newest[-1]))
        if self.rolling:
            self.episodes.forget(int(newest[-1]) - self.retained)
        return hits

    def _fast_path(
        self,
        cells: NDArray,
        customers: Customers,
        slot: Ints,
        period: Ints,
        amount: Ints,
        newest: int,
    ) -> Mask:
        """Fast path; returns the mask of the rows it handled, shape (k,).

        It adds all rows at once, then undoes those of the customers who may cross a limit.
        """
        none, most = np.zeros(len(slot), bool), int(np.iinfo(cells.dtype).max)
        if len(slot) == 0 or newest != self.ring.newest:
            return none
        flat, place = cells.reshape(-1), slot * self.ring.width + period % self.ring.width
        before = flat[place]
        if int(before.max()) + int(amount.sum()) > most:
            return none
        np.add.at(flat, place, amount.astype(cells.dtype))
        after = cells[slot].sum(axis=1, dtype=np.int64) if self.rolling else flat[place]
        likely = np.flatnonzero(after > self.limit)
        if not self.rolling:
            limit = self.limits(slot[likely], customers)
            threshold = self.hit_threshold(limit)
            likely = likely[(after[likely] > threshold) & (before[likely] <= limit)]
        rest = np.isin(slot, slot[likely]) if len(likely) else none
        flat[place[rest]] = before[rest]
        return ~rest

    def _calendar_hits(
        self, cells: NDArray, batch: Batch, customers: Customers, pieces: Pieces
    ) -> Iterator[Hit]:
        """Breaches of calendar periods, each with the periods that it makes regular."""
        above = np.flatnonzero(pieces.total > self.limit)
        limit = self.limits(pieces.slot[above], customers)
        total, before = pieces.total[above], pieces.total[above] - pieces.amount[above]
        crossing = (total > limit) & (before <= limit)
        crossed, limits = above[crossing], limit[crossing].tolist()
        if self.regularly is None:
            for at, limit in zip(crossed.tolist(), limits, strict=True):
                yield self._breach(batch, pieces, at, limit)
            return
        with_totals = self._totals_after(crossed, cells, pieces)
        for (at, totals), limit in zip(with_totals, limits, strict=True):
            yield self._breach(batch, pieces, at, limit)
            breaches = {p: total for p, total in totals.items() if total > limit}
            this = int(pieces.period[at])
            for last, more in self.regularly.completed(breaches, this, self.periods):
                row, slot = int(pieces.row[at]), int(pieces.slot[at])
                yield self._hit(batch, row, slot, "regular", last, breaches[last], limit, more)

    def _breach(self, batch: Batch, pieces: Pieces, at: int, limit: int) -> Hit:
        row, slot, period, _, total = (int(column[at]) for column in pieces)
        return self._hit(batch, row, slot, "breach", period, total, limit, {})

    def _totals_after(
        self, crossed: Ints, cells: NDArray, pieces: Pieces
    ) -> Iterator[tuple[int, dict[int, int]]]:
        """Each of these pieces with its customer's totals by period just after it."""
        wanted = set(crossed.tolist())
        totals: dict[int, dict[int, int]] = {}
        for at in np.flatnonzero(np.isin(pieces.slot, pieces.slot[crossed])).tolist():
            slot = int(pieces.slot[at])
            if slot not in totals:
                totals[slot] = self.ring.history(cells[slot])
            totals[slot][int(pieces.period[at])] = int(pieces.total[at])
            if at in wanted:
                yield at, totals[slot]

    def _hit(
        self,
        batch: Batch,
        row: int,
        slot: int,
        level: Level,
        period: int,
        observed: int,
        limit: int,
        more: dict[str, Any],
    ) -> Hit:
        return Hit(
            slot=slot,
            event_time_ms=int(batch.time_ms[row]),
            level=level,
            window=self._window(period),
            observed=observed,
            limit=limit,
            unit=self.declaration.units[0].name,
            offset=int(batch.offset[row]),
            evidence=more,
        )

    def _window(self, period: int) -> Window:
        """The calendar period, or the rolling window whose last step is `period`."""
        kind = "rolling" if self.rolling else self.calendar_unit
        start_ms = self.periods.bounds(period - self.steps)[0]
        return Window(kind=kind, start_ms=start_ms, end_ms=self.periods.bounds(period)[1])

    def _rolling_hits(
        self, cells: NDArray, batch: Batch, customers: Customers, pieces: Pieces
    ) -> Iterator[Hit]:
        """Breaches of rolling windows, in the order of rows."""
        hits = []
        for slot, limit in self._slots_above(cells, customers, pieces):
            amounts = self.ring.history(cells[slot])
            key = customers.directory.hash(slot)
            for at in np.flatnonzero(pieces.slot == slot).tolist():
                step = int(pieces.period[at])
                amounts[step] = amounts.get(step, 0) + int(pieces.amount[at])
                hot = self._hot_windows(amounts, step, limit)
                new = self.episodes.note(key, hot)
                if new is not None:
                    row = int(pieces.row[at])
                    hit = self._hit(batch, row, slot, "breach", new, hot[new], limit, {})
                    hits.append((at, hit))
        yield from (hit for _, hit in sorted(hits, key=lambda pair: pair[0]))

    def _slots_above(
        self, cells: NDArray, customers: Customers, pieces: Pieces
    ) -> list[tuple[int, int]]:
        """Slot and limit of the customers with a window above their limit after this batch.

        Only these need a look at each of their rows.
        """
        touched, inverse = np.unique(pieces.slot, return_inverse=True)
        sums = cells[touched].sum(axis=1, dtype=np.int64)
        np.add.at(sums, inverse, pieces.amount)
        likely = touched[sums > self.limit]
        if len(likely) == 0:
            return []
        rows = np.isin(pieces.slot, likely)
        kept = [(s, p, c) for s in likely.tolist() for p, c in self.ring.history(cells[s]).items()]
        old = np.array(kept, np.int64).reshape(-1, 3)
        groups, sums = fullest_windows(
            np.r_[old[:, 0], pieces.slot[rows]],
            np.r_[old[:, 1], pieces.period[rows]],
            np.r_[old[:, 2], pieces.amount[rows]],
            self.steps,
        )
        limits = self.limits(groups, customers)
        hot = sums > limits
        return list(zip(groups[hot].tolist(), limits[hot].tolist(), strict=True))

    def _hot_windows(self, amounts: dict[int, int], step: int, limit: int) -> dict[int, int]:
        """The windows above the limit that contain a step: their sums by their last step."""
        running = sum(amounts.get(p, 0) for p in range(step - self.steps, step + 1))
        hot = {}
        for end in range(step, step + self.steps + 1):
            if running > limit:
                hot[end] = running
            running += amounts.get(end + 1, 0) - amounts.get(end - self.steps, 0)
        return hot

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Subtract events from their own periods; a full cell has lost its amount and stays full.

        A calendar period that falls back to the limit is "cleared"; a rolling breach stands.
        """
        row, period, amount = self.pieces(batch)
        newest = self.periods.period_of(batch.watermark_ms)[row]
        in_time = period >= newest - self.retained
        row, period, amount = row[in_time], period[in_time], amount[in_time]
        slot = batch.slot[row]
        limits = self.limits(slot, customers)
        hits = []
        for at, before, after in self.ring.take_off(columns[self.name], slot, period, amount):
            limit = int(limits[at])
            if after <= limit < before and not self.rolling:
                who, when = int(slot[at]), int(period[at])
                hit = self._hit(batch, int(row[at]), who, "cleared", when, after, limit, {})
                hits.append(correction.caused(hit))
        return hits

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Zero the cells that were reused for later periods after a row was written."""
        self.ring.catch_up(columns[self.name], slots, self.periods.period_of(written_ms))

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The total of the newest period or window, and the limit."""
        if self.ring.newest < 0:
            return []
        newest = self.ring.newest
        totals = self.ring.history(columns[self.name][slot])
        observed = sum(totals.get(p, 0) for p in range(newest - self.steps, newest + 1))
        limit = int(self.limits(np.array([slot]), customers)[0])
        known = None if limit == NEVER else limit
        window = self._window(newest)
        return [
            Standing(
                window=window, observed=observed, limit=known, unit=self.declaration.units[0].name
            )
        ]

    def remember(self) -> Any:
        """A `CountingMemory`; the totals are in the columns."""
        return CountingMemory(self.ring.newest, self.episodes.stretches)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, CountingMemory)
        self.ring.newest, self.episodes.stretches = kept.newest, kept.stretches
