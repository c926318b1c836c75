"""No use at all for twelve months."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct, convert
from numpy.typing import NDArray

from detectors.kernels import scatter
from detectors.kernels.running import running_maxima
from detectors.periods.calendar import FIRST_YEAR, Calendar, calendar
from detectors.periods.closing import ClosedPeriods, PeriodCloser
from detectors.rules.contract import Batch, Customers, Declaration, Hit, RuleOutput, Standing
from detectors.rules.families.closing import ClosingRuleBase
from detectors.state.columns import Field
from schemas.amounts import Unit
from schemas.policy import Policy, RuleParameters
from schemas.records import Window
from schemas.safeguards import SUBSCRIPTION
from schemas.units import HOUR_MS, Ints, Mask

FIRST, LAST = 0, 1
"""The two cells of a kind: day of the first use and of the last use, zero for none."""

GAPS_MAX = 100_000
"""Customers and kinds for which ended silences are kept until all other kinds have come as far."""


IDLE = Unit("months without use", "no use at all for {observed} months")


class InactiveParameters(RuleParameters, kw_only=True, frozen=True):
    """`months` without use are reported: calendar months from the day after the last use.

    A day closes when the watermark is `lateness_hours` past its end.
    """

    months: Annotated[int, Meta(ge=1, le=120)]
    lateness_hours: Annotated[int, Meta(ge=0, le=14 * 24)]


class KindGaps(Struct, frozen=True):
    """The silences of a customer in one kind, each as the days of use before and after it."""

    customer: bytes
    kind: str
    gaps: list[tuple[int, int]]


class InactiveMemory(Struct, frozen=True):
    """Which days are closed, and the silences that have ended."""

    closing: ClosedPeriods
    gaps: list[KindGaps]


class Gaps:
    """Long silences in one kind that have ended; kept while other kinds lag behind.

    Each is a pair of days of use with no use between them, by customer and kind.
    """

    def __init__(self, last_silent_day: Ints) -> None:
        self.last_silent_day = last_silent_day
        self.of: dict[tuple[bytes, str], list[tuple[int, int]]] = {}

    def is_long(self, used: Ints | int, again: Ints | int) -> Mask:
        """Whether the silence between two days of use lasts at least the policy's months."""
        return again > self.last_silent_day[used + 1]

    def add(self, customer: bytes, kind: str, used: int, day: int) -> None:
        """Add a use on `day`; `used` is the latest day of use among the events that came before."""
        held = self.of.pop((customer, kind), [])
        if day > used:
            held.append((used, day))
        kept = [part for gap in held for part in _divided(gap, day) if self.is_long(*part)]
        if kept:
            self.of[customer, kind] = kept
        if len(self.of) > GAPS_MAX:
            newest = sorted(self.of, key=lambda key: self.of[key][-1][1])[GAPS_MAX // 2 :]
            self.of = {key: self.of[key] for key in newest}

    def forget(self, closed: int) -> None:
        """Drop the silences that ended by the day `closed`, which all kinds have closed."""
        kept = ((k, [gap for gap in gaps if gap[1] > closed]) for k, gaps in self.of.items())
        self.of = {key: gaps for key, gaps in kept if gaps}


class Inactive(ClosingRuleBase):
    """Report the customer who used nothing for twelve months, and the use that ends such a silence.

    What it catches: silence in every kind of event, of customers who were announced or seen, from
    the day after the last use on. For customers who never used anything it begins with
    `valid_from_ms`, but not before the partition's first event. Received calls and messages are
    use, too; a storage snapshot is use only if it says that something was written. The first use
    after a silence clears it.
    What it misses: contracts that have ended; use that was taken back by a correction still counts
    as use; a prepaid card that is used but not reloaded. If more than 100,000 customers of a
    partition are silent in one kind while another kind lags behind, the silences that ended first
    are lost.
    Delay: the lateness, and until every kind has closed the day. A kind without any event delays
    all until the clock closes it (`idle_close_minutes`) or the input ends.
    False alarms: a customer whose records of one kind never came. Of 400 generated customers (420
    days, seed 4) nobody was wrongly found; no real data was at hand.

    References
    ----------
    Clauses base-mobile 3.7 and 4.
    """

    name: ClassVar[str] = "inactive"
    declaration: ClassVar[Declaration] = Declaration(
        section="Who it is",
        services=SUBSCRIPTION,
        units=(IDLE,),
        what="no use of any kind, once every kind has passed the day",
        limit="{months} months",
        misses="prepaid cards that are used but not reloaded; what a source that failed never sent",
    )
    reads: ClassVar[tuple[str, ...]] = ("sms", "voice", "data", "flow", "storage", "stream")
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = InactiveParameters

    def __init__(self, parameters: InactiveParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.days = calendar(policy.timezone, "day")
        self.closing = PeriodCloser(self.days, parameters.lateness_hours * HOUR_MS, 1)
        self.last_silent_day = last_silent_days(self.days, parameters.months)
        self.gaps = Gaps(self.last_silent_day)
        self.fields = tuple(Field(_cells(kind), "<u2", 2, kind) for kind in self.reads)

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's day is still open for its kind."""
        return self.days.period_of(time_ms) > self.closing.last(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Update the days of first and last use; silence is only known once days are closed."""
        if batch.kind not in self.closing.began:
            self.closing.begin(batch.kind, batch.watermark_ms)
        cells = columns[_cells(batch.kind)]
        counts = self.accepts(batch.time_ms, batch.watermark_ms)
        if batch.kind == "storage":
            counts &= batch.fields["written_bytes"] > 0
        day = self.days.period_of(batch.time_ms)
        # Nearly always this is the customer's last day of use already.
        row = np.flatnonzero(counts & (day != cells[batch.slot, LAST]))
        if len(row) == 0:
            return []
        slot, day = batch.slot[row], day[row]
        used = running_maxima(slot, day, cells[slot, LAST].astype(np.int64))
        self._record_gaps(batch.kind, slot, day, used, customers)
        unseen = slot[cells[slot, FIRST] == 0]
        cells[unseen, FIRST] = np.iinfo(cells.dtype).max
        flat, at = scatter.in_one_row(cells, slot, FIRST)
        np.minimum.at(flat, at, day.astype(cells.dtype))
        scatter.raise_to(cells, slot, LAST, day)
        return []

    def _record_gaps(
        self, kind: str, slot: Ints, day: Ints, used: Ints, customers: Customers
    ) -> None:
        """Record the long silences that these uses end or, if they come late, divide."""
        matters = (used > 0) & self.gaps.is_long(used, day)
        known = [customer for customer, of_kind in self.gaps.of if of_kind == kind]
        if not known and not matters.any():
            return
        silent = np.r_[slot[matters], customers.directory.find(known)] if known else slot[matters]
        matters |= (day < used) & np.isin(slot, silent)
        for at in np.flatnonzero(matters).tolist():
            customer = customers.directory.name(int(slot[at]))
            self.gaps.add(customer, kind, int(used[at]), int(day[at]))

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """Report the customers whose silence reaches the months, and clear those who used again."""
        # The silences that reach the months on one of these days began on days `first` to `last`.
        first = int(np.searchsorted(self.last_silent_day, periods.start, side="left"))
        last = int(np.searchsorted(self.last_silent_day, periods.stop - 1, side="right")) - 1
        hits = []
        begun = {*self._after_use(columns, first, last, customers)}
        begun.update(self._never_used(columns, first, last, customers))
        for slot, start in begun:
            end = int(self.last_silent_day[start])
            uses = self._uses_before(columns, slot, start, end, customers)
            if uses is not None:
                hits.append(self._hit(slot, start, uses))
        for slot, day in {*self._used_on(columns, periods, customers)}:
            hits += self._cleared(columns, slot, day, customers)
        self.gaps.forget(periods.stop - 1)
        name = customers.directory.name
        return RuleOutput(hits=tuple(sorted(hits, key=lambda h: (h.event_time_ms, name(h.slot)))))

    def _after_use(
        self, columns: Mapping[str, NDArray], first: int, last: int, customers: Customers
    ) -> Iterator[tuple[int, int]]:
        """Customers, and days on which they fell silent in one kind; other kinds may show use."""
        size = customers.directory.size
        with_gaps = customers.directory.find([customer for customer, _ in self.gaps.of] or [b""])
        for kind in self.reads:
            start = columns[_cells(kind)][:size, LAST].astype(np.int64) + 1
            slot = np.flatnonzero((start > 1) & (start >= first) & (start <= last))
            quiet = self._is_quiet(columns, slot, start[slot]) | np.isin(slot, with_gaps)
            slot = slot[quiet & ~customers.has_ended(slot)]
            yield from zip(slot.tolist(), start[slot].tolist(), strict=True)
        for (customer, _), gaps in self.gaps.of.items():
            slot = customers.directory.find([customer])
            if not customers.has_ended(slot)[0]:
                starts = (used + 1 for used, _ in gaps)
                yield from ((int(slot[0]), start) for start in starts if first <= start <= last)

    def _is_quiet(self, columns: Mapping[str, NDArray], slot: Ints, start: Ints) -> Mask:
        """Whether no kind's first or last use contradicts a silence from `start` on, shape (n,)."""
        end = self.last_silent_day[start]
        quiet = np.ones(len(slot), bool)
        for kind in self.reads:
            used = columns[_cells(kind)][slot].astype(np.int64)
            quiet &= (used[:, LAST] < start) | (used[:, FIRST] > end)
        return quiet

    def _never_used(
        self, columns: Mapping[str, NDArray], first: int, last: int, customers: Customers
    ) -> Iterator[tuple[int, int]]:
        """Announced customers without any use, and the first day on which each could have used."""
        if not self.closing.began:
            return
        slot = np.arange(customers.directory.size)
        slot = slot[customers.is_announced(slot) & ~customers.has_ended(slot)]
        start = self._could_use_from(slot, customers)
        due = (start >= first) & (start <= last)
        slot, start = slot[due], start[due]
        for kind in self.reads:
            used = columns[_cells(kind)][slot, FIRST].astype(np.int64)
            unused = (used == 0) | (used > self.last_silent_day[start])
            slot, start = slot[unused], start[unused]
        yield from zip(slot.tolist(), start.tolist(), strict=True)

    def _used_on(
        self, columns: Mapping[str, NDArray], days: range, customers: Customers
    ) -> Iterator[tuple[int, int]]:
        """Customers, and those of these days on which a use may have ended a long silence."""
        if not self.closing.began:
            return
        # Before this day no silence can have been long.
        first = int(self.last_silent_day[min(self.closing.began.values()) + 1]) + 1
        days = range(max(first, days.start), days.stop)
        if not days:
            return
        size = customers.directory.size
        with_gaps = customers.directory.find([customer for customer, _ in self.gaps.of] or [b""])
        for kind in self.reads:
            day = columns[_cells(kind)][:size, FIRST].astype(np.int64)
            slot = np.flatnonzero((day >= days.start) & (day < days.stop))
            ends = self._may_end_silence(columns, slot, day[slot]) | np.isin(slot, with_gaps)
            yield from zip(slot[ends].tolist(), day[slot[ends]].tolist(), strict=True)
        for (customer, _), gaps in self.gaps.of.items():
            (slot,) = customers.directory.find([customer]).tolist()
            yield from ((slot, again) for _, again in gaps if again in days)

    def _may_end_silence(self, columns: Mapping[str, NDArray], slot: Ints, day: Ints) -> Mask:
        """Whether every kind's last use before each day, if any, is long ago, shape (n,)."""
        may_end = np.ones(len(slot), bool)
        for kind in self.reads:
            first, last = columns[_cells(kind)][slot].astype(np.int64).T
            is_long_ago = (last < day) & self.gaps.is_long(last, day)
            may_end &= (first == 0) | (first >= day) | is_long_ago
        return may_end

    def _uses_before(
        self,
        columns: Mapping[str, NDArray],
        slot: int,
        day: int,
        end: int,
        customers: Customers,
    ) -> dict[str, int] | None:
        """Day of the last use of each kind before a day.

        None if one kind was used on that day or later, in a stretch of use that began by `end` and
        has no long silence in it.
        """
        customer = customers.directory.name(slot)
        uses = {}
        for kind in self.reads:
            first, last = columns[_cells(kind)][slot].tolist()
            gaps = self.gaps.of.get((customer, kind), [])
            # Each pair of these days is a stretch of use without a long silence.
            days = [first, *(used for gap in gaps for used in gap), last]
            for since, until in zip(days[::2], days[1::2], strict=True):
                if until < day:
                    uses[kind] = until
                elif since <= end:
                    return None
        return {kind: used for kind, used in uses.items() if used}

    def _cleared(
        self, columns: Mapping[str, NDArray], slot: int, day: int, customers: Customers
    ) -> Iterator[Hit]:
        """Clear a customer's silence that ends on a day, if it was long and in every kind."""
        at, uses = np.array([slot]), self._uses_before(columns, slot, day, day - 1, customers)
        if uses is None:
            return
        if uses:
            start = max(uses.values()) + 1
        elif customers.is_announced(at)[0]:
            start = int(self._could_use_from(at, customers)[0])
        else:
            return
        if self.last_silent_day[start] < day and not customers.has_ended(at)[0]:
            silence, end_ms = self._hit(slot, start, uses), self.days.bounds(day)[1]
            yield replace(
                silence,
                event_time_ms=end_ms,
                level="cleared",
                window=Window(kind="state", start_ms=silence.window.start_ms, end_ms=end_ms),
                observed=max(self.parameters.months, whole_months(start, day)),
            )

    def _could_use_from(self, slot: Ints, customers: Customers) -> Ints:
        """The first day on which each announced customer could have been seen, shape (n,)."""
        start = self.days.period_of(customers.valid_from_ms(slot))
        return np.maximum(start, min(self.closing.began.values()) + 1)

    def _hit(self, slot: int, start: int, uses: Mapping[str, int]) -> Hit:
        ended_ms = self.days.bounds(int(self.last_silent_day[start]))[1]
        # The evidence of a customer without any use is the input since the partition's beginning.
        before = start - 1 if uses else min(self.closing.began.values())
        return Hit(
            slot=slot,
            event_time_ms=ended_ms,
            level="breach",
            window=Window(kind="state", start_ms=self.days.bounds(start)[0], end_ms=None),
            observed=self.parameters.months,
            limit=self.parameters.months,
            unit=IDLE.name,
            offset=None,
            evidence={
                "last_use_ms": {kind: self.days.bounds(day)[0] for kind, day in uses.items()}
            },
            rests_on_ms=self.days.bounds(before)[0],
        )

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Nothing to do: days of use do not change with time."""

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """Whole months without use up to the last closed day; nothing if there never was use."""
        start = max(int(columns[_cells(kind)][slot, LAST]) for kind in self.reads) + 1
        if start == 1:
            return []
        return [
            Standing(
                window=Window(kind="state", start_ms=self.days.bounds(start)[0], end_ms=None),
                observed=max(0, whole_months(start, self.closing.closed + 1)),
                limit=self.parameters.months,
                unit=IDLE.name,
            )
        ]

    def remember(self) -> Any:
        """An `InactiveMemory`; the days of use are in the columns."""
        gaps = [KindGaps(customer, kind, gaps) for (customer, kind), gaps in self.gaps.of.items()]
        return InactiveMemory(self.closing.remember(), gaps)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, InactiveMemory)
        self.closing.recall(kept.closing)
        self.gaps.of = {(each.customer, each.kind): each.gaps for each in kept.gaps}


def last_silent_days(days: Calendar, months: int) -> Ints:
    """Last day of the months of silence that begin on each day, shape (days,).

    Months from the 16th end with a 15th; where a month is too short, the day before its last day.

    Examples
    --------
    >>> days = calendar("Europe/Brussels", "day")
    >>> new_year = int(days.period_of(np.array([1735686000000]))[0])  # 2025-01-01 in Brussels
    >>> int(last_silent_days(days, 12)[new_year]) - new_year
    364
    """
    dates = np.datetime64(f"{FIRST_YEAR}-01-01") + np.arange(len(days.start_ms))
    month = dates.astype("datetime64[M]")
    same_day = (month + months).astype("datetime64[D]") + (dates - month.astype("datetime64[D]"))
    month_ends = (month + months + 1).astype("datetime64[D]") - 1
    return (np.minimum(same_day, month_ends) - dates[0]).astype(np.int64) - 1


def whole_months(start: int, end: int) -> int:
    """Whole calendar months between two days; a short month's last day stands for days 29 to 31."""
    one, other = (date(FIRST_YEAR, 1, 1) + timedelta(days=day) for day in (start, end))
    months = 12 * (other.year - one.year) + other.month - one.month
    is_last = (other + timedelta(days=1)).day == 1
    return months - (other.day < one.day and not is_last)


def _cells(kind: str) -> str:
    """Name of a kind's column."""
    return f"inactive_{kind}"


def _divided(gap: tuple[int, int], day: int) -> list[tuple[int, int]]:
    """The silence, or the two parts into which a use on a day within it divides it."""
    used, again = gap
    return [(used, day), (day, again)] if used < day < again else [gap]
