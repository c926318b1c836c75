"""A SIM that lives abroad: seen there and used there most of the time, month after month."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.kernels import scatter
from detectors.periods.calendar import LONGEST_DAY_MS, calendar
from detectors.periods.closing import PeriodCloser
from detectors.periods.ring import PeriodRing
from detectors.rules.contract import (
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
from schemas.amounts import Unit
from schemas.policy import LIVE, Natural, Policy, Positive, RuleParameters
from schemas.records import Window
from schemas.units import HOUR_MS, Ints, Mask

KINDS = ("sms", "voice", "data")
PLACES = ("home", "abroad")


ABROAD = Unit(
    "per_mille_abroad",
    "{observed} % of use abroad or more, month after month",
    symbol="%",
    per=10,
    measure="percent",
)


class PermanentParameters(RuleParameters, kw_only=True, frozen=True):
    """More than `share_per_mille` of days and of events abroad, in each of `months` months.

    A month with fewer than `days_min` days abroad says nothing. It closes when every kind's
    watermark is `lateness_hours` past its end; `retention_periods` is how many months one kind may
    be ahead of another.
    """

    months: Annotated[int, Meta(ge=1, le=12)]
    share_per_mille: Annotated[int, Meta(ge=1, le=999), LIVE]
    days_min: Annotated[Positive, LIVE]
    lateness_hours: Natural
    retention_periods: Annotated[int, Meta(ge=0, le=24)]


class RoamingPermanent(ClosingRuleBase):
    """Report the month that completes a row of months, all spent mostly abroad.

    What it catches: presence (local days with any event) and use (events of texts, calls and data,
    sent or received) both mostly in visited networks, in each of the last months. A day in two
    places counts for both. Reported again for every further month.
    What it misses: events whose record doesn't name the network; a SIM that comes home for most of
    one month in four; more than 65,535 events of a kind in a month and place count as so many; late
    events of a month that their kind has closed; months in which one kind is further ahead of
    another than `retention_periods`; corrections of events of a closed month. A record that was
    taken back still shows where the SIM was if it came late, for other records of the day are not
    remembered any more.
    Delay: the month's end plus the lateness.
    False alarms: people with a stable link to the home country who work or study abroad; what shows
    it (address, employer) isn't in the records. That is why the first step is to tell them. Of 400
    generated customers (420 days, seed 4) nobody was wrongly found; no real data was at hand.

    References
    ----------
    Clause base-mobile 2.5.
    """

    name: ClassVar[str] = "roaming_permanent"
    declaration: ClassVar[Declaration] = Declaration(
        section="Data and plans",
        services=("mobile", "data"),
        units=(ABROAD,),
        what="days and events in visited networks, month by month",
        limit="more than {share_per_mille:per_mille} of both in each of {months} months",
        misses="a SIM that is home for one month in four; events whose record names no network",
    )
    reads: ClassVar[tuple[str, ...]] = KINDS
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(KINDS, ("is_abroad",))
    siblings_ms: ClassVar[int] = LONGEST_DAY_MS
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = PermanentParameters

    def __init__(self, parameters: PermanentParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.months = calendar(policy.timezone, "month")
        self.days = calendar(policy.timezone, "day")
        self.first_day = self.days.period_of(self.months.start_ms)
        back = parameters.months + parameters.retention_periods
        self.closing = PeriodCloser(self.months, parameters.lateness_hours * HOUR_MS, back)
        # Days of the month are bits.
        cells = {"days": "<u4", "events": "<u2"}
        self.fields = tuple(
            Field(_cells(what, kind, place), cell, back + 1, kind)
            for (what, cell), kind, place in product(cells.items(), KINDS, PLACES)
        )
        self.rings = {field.name: PeriodRing(back) for field in self.fields}
        self.kept = 0

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's kind has not closed its month."""
        return self.months.period_of(time_ms) > self.closing.last(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Note days and events of both places; months are judged when they are closed."""
        kind = batch.kind
        if self._newest(kind) < 0:
            self.closing.begin(kind, batch.watermark_ms)
        month, is_open = self._open_months(batch)
        day = (self.days.period_of(batch.time_ms) - self.first_day[month]).astype(np.uint32)
        newest = int(self.months.period_of(batch.watermark_ms[-1:])[0])
        is_abroad = batch.fields["is_abroad"]
        for place, is_there in (("home", ~is_abroad), ("abroad", is_abroad)):
            row = np.flatnonzero(is_open & is_there)
            slot, of_month = batch.slot[row], month[row]
            name = _cells("events", kind, place)
            ring, cells = self.rings[name], columns[name]
            ring.add(cells, slot, of_month, np.ones(len(row), np.int64), newest)
            name = _cells("days", kind, place)
            ring, cells = self.rings[name], columns[name]
            ring.turn(cells, newest)
            kept = ring.holds(of_month, newest)
            bits = np.uint32(1) << day[row][kept]
            scatter.set_bits(cells, slot[kept], of_month[kept] % ring.width, bits)
        return []

    def _open_months(self, batch: Batch) -> tuple[Ints, Mask]:
        """The month of each event, and whether it is open; shape (n,) each."""
        month = self.months.period_of(batch.time_ms)
        is_open = self.accepts(batch.time_ms, batch.watermark_ms)
        return month, is_open & (month > self.closing.closed)

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Take an event off its month, unless that is closed, and its day if no other shows it."""
        month, is_open = self._open_months(batch)
        if not is_open[0]:
            return []
        place = PLACES[int(batch.fields["is_abroad"][0])]
        name = _cells("events", batch.kind, place)
        self.rings[name].take_off(columns[name], batch.slot, month, np.ones(1, np.int64))
        name = _cells("days", batch.kind, place)
        if not self.rings[name].holds(month, self.rings[name].newest)[0]:
            return []
        (day,) = self.days.period_of(batch.time_ms).tolist()
        if self.days.bounds(day)[0] < correction.siblings.complete_ms:
            self.kept += 1
            return []
        others = correction.siblings.others
        same = self.days.period_of(others.time_ms) == day
        if not (same & (others.fields["is_abroad"] == batch.fields["is_abroad"])).any():
            bit = np.uint32(1) << np.uint32(day - self.first_day[month[0]])
            columns[name][batch.slot, month % self.rings[name].width] &= ~bit
        return []

    def close_periods(
        self, columns: Mapping[str, NDArray], months: range, customers: Customers
    ) -> RuleOutput:
        """Who has spent the months up to each one that is closed now mostly abroad."""
        return RuleOutput(hits=tuple(hit for last in months for hit in self._hits(columns, last)))

    def _hits(self, columns: Mapping[str, NDArray], last: int) -> Iterator[Hit]:
        window = range(last - self.parameters.months + 1, last + 1)
        if any(self._is_lost(kind, month) for kind, month in product(KINDS, window)):
            return
        everybody = np.arange(len(columns[self.fields[0].name]))
        slots = np.flatnonzero(self._days(columns, "abroad", last, everybody))
        lowest = np.full(len(slots), 1000)
        seen = [self._seen(columns, month, slots) for month in window]
        for month in seen:
            for what in ("days", "events"):
                there = month[f"{what}_abroad"]
                all_of_it = np.maximum(there + month[f"{what}_home"], 1)
                lowest = np.minimum(lowest, -(-1000 * there // all_of_it))
            lowest[month["days_abroad"] < self.parameters.days_min] = 0
        for at in np.flatnonzero(lowest > self.parameters.share_per_mille).tolist():
            breaches = [
                {"start_ms": self.months.bounds(number)[0]}
                | {name: int(column[at]) for name, column in month.items()}
                for number, month in zip(window, seen, strict=True)
            ]
            yield self._hit(int(slots[at]), last, int(lowest[at]), breaches)

    def _hit(self, slot: int, month: int, observed: int, breaches: list[dict[str, int]]) -> Hit:
        start_ms, end_ms = self.months.bounds(month)
        return Hit(
            slot=slot,
            event_time_ms=end_ms,
            level="breach",
            window=Window(kind="month", start_ms=start_ms, end_ms=end_ms),
            observed=observed,
            limit=self.parameters.share_per_mille,
            unit=ABROAD.name,
            offset=None,
            evidence={"breaches": breaches, "days_min": self.parameters.days_min},
        )

    def _seen(self, columns: Mapping[str, NDArray], month: int, slots: Ints) -> dict[str, Ints]:
        """Days and events of a month in both places, over all kinds; shape (slots,) each."""
        seen = {}
        for place in PLACES:
            days = self._days(columns, place, month, slots)
            seen[f"days_{place}"] = np.bitwise_count(days).astype(np.int64)
            seen[f"events_{place}"] = np.sum(
                [self._column(columns, _cells("events", k, place), month, slots) for k in KINDS],
                axis=0,
                dtype=np.int64,
            )
        return seen

    def _days(self, columns: Mapping[str, NDArray], place: str, month: int, slots: Ints) -> NDArray:
        """Days of a month on which any kind was seen in a place, as bits, shape (slots,)."""
        sms, voice, data = (
            self._column(columns, _cells("days", kind, place), month, slots) for kind in KINDS
        )
        return sms | voice | data

    def _column(
        self, columns: Mapping[str, NDArray], name: str, month: int, slots: Ints
    ) -> NDArray:
        ring, cells = self.rings[name], columns[name]
        if not ring.holds(np.array([month]), ring.newest)[0]:
            return np.zeros(len(slots), cells.dtype)
        return cells[slots, month % ring.width]

    def _newest(self, kind: str) -> int:
        return self.rings[_cells("days", kind, "home")].newest

    def _is_lost(self, kind: str, month: int) -> bool:
        """Whether later months took over what was counted."""
        oldest = self._newest(kind) - self.closing.kept
        return self.closing.began.get(kind, month) < month < oldest

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Empty the cells that later months took over since a row was written."""
        written = self.months.period_of(written_ms)
        for field in self.fields:
            if field.kind == kind:
                self.rings[field.name].catch_up(columns[field.name], slots, written)

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The running month's share of days abroad; it takes more months than this."""
        month = max(map(self._newest, KINDS))
        if month < 0:
            return []
        seen = self._seen(columns, month, np.array([slot]))
        home, abroad = (int(seen[f"days_{place}"][0]) for place in PLACES)
        start_ms, end_ms = self.months.bounds(month)
        return [
            Standing(
                window=Window(kind="month", start_ms=start_ms, end_ms=end_ms),
                observed=-(-1000 * abroad // max(home + abroad, 1)),
                limit=self.parameters.share_per_mille,
                unit=ABROAD.name,
            )
        ]

    def remember(self) -> Any:
        """Each kind's newest month, and the last closed one."""
        return [{kind: self._newest(kind) for kind in KINDS}, self.closing.remember()]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        newest, closed = memory
        for field in self.fields:
            self.rings[field.name].newest = newest[field.kind]
        self.closing.recall(closed)


def _cells(what: str, kind: str, place: str) -> str:
    """Name of a column: days or events of a kind in a place."""
    return f"roaming_{kind}_{what}_{place}"
