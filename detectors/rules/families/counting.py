"""What the counting rules share: more of something in a period than the contract allows."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.kernels.rolling import Episodes, fullest_windows
from detectors.periods.calendar import calendar
from detectors.periods.regular import Regularly
from detectors.periods.ring import PeriodRing, Periods, Steps
from detectors.rules.contract import NEVER, Batch, Correction, Customers, Hit, Standing
from detectors.state.columns import Field
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.records import Window
from schemas.units import HOUR_MS, Ints, Mask

CELL = np.dtype("<u4")

PERIODS_MAX = 4_096
"""Cells of a customer's row at most: ten million customers have to fit a machine."""

SHORTEST_MS = {"day": 23 * HOUR_MS, "week": 167 * HOUR_MS, "month": 671 * HOUR_MS}
"""The shortest period of each unit: one in which the clocks go an hour forward."""

Limit = Annotated[int, Meta(ge=0, lt=np.iinfo(CELL).max)]
"""Highest amount that is still allowed; a cell that is full stands above every limit."""


class CountingParameters(RuleParameters, kw_only=True, frozen=True):
    """Calendar periods by default; `window = "rolling"` asks for a length and a step instead.

    `retention_periods`: how many periods (or window lengths) before the newest one still take late
    events. `regular_periods` in breach of the last `regular_window` calendar periods are
    "regularly".
    """

    retention_periods: Positive
    applies_to: Annotated[Literal["unlimited", "all"], LIVE] = "all"
    window: Literal["calendar", "rolling"] = "calendar"
    length_seconds: Positive | None = None
    step_seconds: Positive | None = None
    regular_periods: Annotated[Positive | None, LIVE] = None
    regular_window: Positive | None = None

    def __post_init__(self) -> None:
        """Refuse what does not go together, or would not fit."""
        super().__post_init__()
        rolling = self.window == "rolling"
        if {self.length_seconds is not None, self.step_seconds is not None} != {rolling}:
            raise ValueError('`length_seconds` and `step_seconds` go with `window = "rolling"`')
        if rolling and self.length_seconds % self.step_seconds:
            raise ValueError("`length_seconds` has to be a multiple of `step_seconds`")
        if (self.regular_periods is None) != (self.regular_window is None):
            raise ValueError("`regular_periods` and `regular_window` go together")
        if rolling and self.regular_periods is not None:
            raise ValueError('`regular_periods` goes with `window = "calendar"`')
        if self.regular_periods is not None and self.regular_periods > self.regular_window:
            raise ValueError("`regular_periods` can't be more than `regular_window`")
        steps = self.length_seconds // self.step_seconds if rolling else 1
        if (self.retention_periods + 1) * steps + (self.regular_window or 0) > PERIODS_MAX:
            raise ValueError(
                f"`retention_periods` ask for more than {PERIODS_MAX} periods or steps to be kept"
            )


class Pieces(NamedTuple):
    """What a batch adds: who, when and how much, and the period's total after it; shape (k,)."""

    row: Ints
    slot: Ints
    period: Ints
    amount: Ints
    total: Ints


class CountingRule:
    """Report the event that takes a customer's period past the limit, once for each period.

    A subclass says what is counted (`pieces`), in which calendar unit, and what the limit is: one
    for all (`limit_of`), or one for each customer (`limits`). Full cells of `cell` stay full.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    Parameters: ClassVar[type[CountingParameters]] = CountingParameters
    calendar_unit: ClassVar[Literal["day", "week", "month"]]
    amount_unit: ClassVar[str]
    cell: ClassVar[str] = CELL.str
    longest_ms: ClassVar[int] = 0
    remembers: ClassVar[Mapping[str, tuple[str, ...]]]
    siblings_ms: ClassVar[int] = 0

    def __init__(self, parameters: CountingParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.limit = self.limit_of(parameters)
        self.regularly = None
        if parameters.regular_periods is not None:
            self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        self.rolling = parameters.window == "rolling"
        if self.rolling:
            step_ms = parameters.step_seconds * 1000
            self.periods: Periods = Steps(step_ms)
            self.steps = parameters.length_seconds * 1000 // step_ms
            self.retained = parameters.retention_periods * self.steps
            back, ahead = self.retained + self.steps, -(-self.longest_ms // step_ms)
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
        """Highest amount of a period that is still allowed; nobody's limit is below it."""
        return parameters.limit

    def limits(self, slot: Ints, customers: Customers) -> Ints:
        """Highest amount that each customer is still allowed, `NEVER` without a limit, (n,)."""
        if self.parameters.applies_to == "all":
            return np.full(len(slot), self.limit)
        applies = customers.has_unlimited(self.parameters.service, slot)
        return np.where(applies, self.limit, NEVER)

    def told_above(self, limit: Ints) -> Ints:
        """The lowest amount that is told when it is crossed, for each limit, shape (n,)."""
        return limit

    def pieces(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """Row, period and amount of everything that counts, in the order of rows, shape (k,)."""
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
        rest = ~self._add_quiet(cells, customers, slot, period, amount, int(newest[-1]))
        row, slot, period, amount = row[rest], slot[rest], period[rest], amount[rest]
        total = self.ring.totals(cells, slot, period, amount)
        found = self._roll if self.rolling else self._cross
        pieces = Pieces(row, slot, period, amount, total)
        hits = list(found(cells, batch, customers, pieces))
        self.ring.write(cells, slot, period, total, int(newest[-1]))
        if self.rolling:
            self.episodes.forget(int(newest[-1]) - self.retained)
        return hits

    def _add_quiet(
        self,
        cells: NDArray,
        customers: Customers,
        slot: Ints,
        period: Ints,
        amount: Ints,
        newest: int,
    ) -> Mask:
        """Add at once for all customers who cross nothing in this batch; which rows, shape (k,)."""
        none, most = np.zeros(len(slot), bool), int(np.iinfo(cells.dtype).max)
        if len(slot) == 0 or newest != self.ring.newest:
            return none
        flat, place = cells.reshape(-1), slot * self.ring.width + period % self.ring.width
        before = flat[place]
        if int(before.max()) + int(amount.sum()) > most:
            return none
        np.add.at(flat, place, amount.astype(cells.dtype))
        after = cells[slot].sum(axis=1, dtype=np.int64) if self.rolling else flat[place]
        loud = np.flatnonzero(after > self.limit)
        if not self.rolling:
            limit = self.limits(slot[loud], customers)
            told = self.told_above(limit)
            loud = loud[(after[loud] > told) & (before[loud] <= limit)]
        rest = np.isin(slot, slot[loud]) if len(loud) else none
        flat[place[rest]] = before[rest]
        return ~rest

    def _cross(
        self, cells: NDArray, batch: Batch, customers: Customers, pieces: Pieces
    ) -> Iterator[Hit]:
        above = np.flatnonzero(pieces.total > self.limit)
        limit = self.limits(pieces.slot[above], customers)
        total, before = pieces.total[above], pieces.total[above] - pieces.amount[above]
        crossing = (total > limit) & (before <= limit)
        crossed, limits = above[crossing], limit[crossing].tolist()
        if self.regularly is None:
            for at, limit in zip(crossed.tolist(), limits, strict=True):
                yield self._breach(batch, pieces, at, limit)
            return
        counted = self._counts_at(crossed, cells, pieces)
        for (at, counts), limit in zip(counted, limits, strict=True):
            yield self._breach(batch, pieces, at, limit)
            breaches = {p: count for p, count in counts.items() if count > limit}
            for last in self.regularly.completed_by(breaches, int(pieces.period[at])):
                more = self.regularly.evidence(breaches, last, self._start_ms)
                row, slot = int(pieces.row[at]), int(pieces.slot[at])
                yield self._hit(batch, row, slot, "regular", last, breaches[last], limit, more)

    def _start_ms(self, period: int) -> int:
        return self.periods.bounds(period)[0]

    def _breach(self, batch: Batch, pieces: Pieces, at: int, limit: int) -> Hit:
        row, slot, period, _, total = (int(column[at]) for column in pieces)
        return self._hit(batch, row, slot, "breach", period, total, limit, {})

    def _counts_at(
        self, crossed: Ints, cells: NDArray, pieces: Pieces
    ) -> Iterator[tuple[int, dict[int, int]]]:
        """Each of these pieces with its customer's totals by period just after it."""
        wanted = set(crossed.tolist())
        counts: dict[int, dict[int, int]] = {}
        for at in np.flatnonzero(np.isin(pieces.slot, pieces.slot[crossed])).tolist():
            slot = int(pieces.slot[at])
            if slot not in counts:
                counts[slot] = self.ring.history(cells[slot])
            counts[slot][int(pieces.period[at])] = int(pieces.total[at])
            if at in wanted:
                yield at, counts[slot]

    def _hit(
        self,
        batch: Batch,
        row: int,
        slot: int,
        level: str,
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
            unit=self.amount_unit,
            offset=int(batch.offset[row]),
            evidence=more,
        )

    def _window(self, period: int) -> Window:
        """The calendar period, or the rolling window that ends with a step."""
        kind = "rolling" if self.rolling else self.calendar_unit
        start_ms = self.periods.bounds(period - self.steps)[0]
        return Window(kind=kind, start_ms=start_ms, end_ms=self.periods.bounds(period)[1])

    def _roll(
        self, cells: NDArray, batch: Batch, customers: Customers, pieces: Pieces
    ) -> Iterator[Hit]:
        hits = []
        for slot, limit in self._hot_slots(cells, customers, pieces):
            counts = self.ring.history(cells[slot])
            key = int(customers.directory.hashes(np.array([slot]))[0])
            for at in np.flatnonzero(pieces.slot == slot).tolist():
                this = int(pieces.period[at])
                counts[this] = counts.get(this, 0) + int(pieces.amount[at])
                hot = self._hot_windows(counts, this, limit)
                new = self.episodes.note(key, hot)
                if new is not None:
                    row = int(pieces.row[at])
                    hit = self._hit(batch, row, slot, "breach", new, hot[new], limit, {})
                    hits.append((at, hit))
        yield from (hit for _, hit in sorted(hits, key=lambda pair: pair[0]))

    def _hot_slots(
        self, cells: NDArray, customers: Customers, pieces: Pieces
    ) -> list[tuple[int, int]]:
        """Slots with a window above their limit once the batch is in, and the limit: the only ones
        to walk."""
        touched, inverse = np.unique(pieces.slot, return_inverse=True)
        sums = cells[touched].sum(axis=1, dtype=np.int64)
        np.add.at(sums, inverse, pieces.amount)
        likely = touched[sums > self.limit]
        if len(likely) == 0:
            return []
        rows = np.isin(pieces.slot, likely)
        held = [(s, p, c) for s in likely.tolist() for p, c in self.ring.history(cells[s]).items()]
        old = np.array(held, np.int64).reshape(-1, 3)
        groups, sums = fullest_windows(
            np.r_[old[:, 0], pieces.slot[rows]],
            np.r_[old[:, 1], pieces.period[rows]],
            np.r_[old[:, 2], pieces.amount[rows]],
            self.steps,
        )
        limits = self.limits(groups, customers)
        hot = sums > limits
        return list(zip(groups[hot].tolist(), limits[hot].tolist(), strict=True))

    def _hot_windows(self, counts: dict[int, int], this: int, limit: int) -> dict[int, int]:
        """Ends and sums of the windows above the limit that hold step `this`."""
        running = sum(counts.get(p, 0) for p in range(this - self.steps, this + 1))
        hot = {}
        for end in range(this, this + self.steps + 1):
            if running > limit:
                hot[end] = running
            running += counts.get(end + 1, 0) - counts.get(end - self.steps, 0)
        return hot

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Take events off their own periods; a full cell does not know its amount and stays.

        A calendar period that is no longer above the limit is "cleared"; a rolling breach stands.
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
                of, told = int(row[at]), int(period[at])
                hit = self._hit(batch, of, int(slot[at]), "cleared", told, after, limit, {})
                hits.append(correction.told(hit))
        return hits

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Empty the cells that later periods took over since a row was written."""
        self.ring.catch_up(columns[self.name], slots, self.periods.period_of(written_ms))

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest period's (or window's) count against the limit."""
        if self.ring.newest < 0:
            return []
        newest = self.ring.newest
        held = self.ring.history(columns[self.name][slot])
        observed = sum(held.get(p, 0) for p in range(newest - self.steps, newest + 1))
        limit = int(self.limits(np.array([slot]), customers)[0])
        known = None if limit == NEVER else limit
        window = self._window(newest)
        return [Standing(window=window, observed=observed, limit=known, unit=self.amount_unit)]

    def remember(self) -> Any:
        """The newest period, and the stretches of hot windows."""
        return [self.ring.newest, list(self.episodes.stretches.items())]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        self.ring.newest, stretches = memory
        self.episodes.stretches = dict(stretches)
