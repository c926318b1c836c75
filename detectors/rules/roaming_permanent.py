"""Permanent roaming: a SIM is abroad, and used there, most of the time, month after month."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct, convert
from numpy.typing import NDArray

from detectors.kernels import scatter
from detectors.periods.calendar import LONGEST_DAY_MS, calendar
from detectors.periods.closing import ClosedPeriods, PeriodCloser
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
from detectors.state.period_columns import PeriodColumns
from schemas.amounts import Unit
from schemas.policy import LIVE, Natural, Policy, Positive, RuleParameters
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

    A month with fewer than `days_min` days abroad does not count. A month closes when every kind's
    watermark is `lateness_hours` past its end; `retention_periods` is by how many months one kind
    may be ahead of another.
    """

    months: Annotated[int, Meta(ge=1, le=12)]
    share_per_mille: Annotated[int, Meta(ge=1, le=999), LIVE]
    days_min: Annotated[Positive, LIVE]
    lateness_hours: Natural
    retention_periods: Annotated[int, Meta(ge=0, le=24)]


class PermanentMemory(Struct, frozen=True):
    """The newest month of each kind, and which months are closed."""

    newest: dict[str, int]
    closing: ClosedPeriods


class RoamingPermanent(ClosingRuleBase):
    """Report the last of several consecutive months, all spent mostly abroad.

    What it catches: presence (local days with any event) and use (events of texts, calls and data,
    sent or received) both mostly in visited networks, in each of the last months. A day in both
    places counts for both. It is reported again for every further month.
    What it misses: events whose record doesn't name the network; a SIM that is at home for most of
    one month in four; events of a kind in a month and place beyond 65,535; late events of a month
    that their kind has closed; months in which one kind is further ahead of another than
    `retention_periods`; corrections of events of a closed month. The day of a record that is taken
    back late still counts as seen in that place, if the day's other records are not remembered.
    Delay: the month's end plus the lateness.
    False alarms: people with a stable link to the home country who work or study abroad; what shows
    it (address, employer) isn't in the records. That is why the first step is to notify them. Of
    400 generated customers (420 days, seed 4) nobody was wrongly found; no real data was at hand.

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
        dtypes = {"days": "<u4", "events": "<u2"}
        cells = {f"{what}_{place}": dtypes[what] for what, place in product(dtypes, PLACES)}
        self.seen = {kind: PeriodColumns(self.name, kind, back, cells) for kind in KINDS}
        self.fields = tuple(field for of_kind in self.seen.values() for field in of_kind.fields)
        self.kept = 0

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's month is still open for its kind."""
        return self.months.period_of(time_ms) > self.closing.last(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Count days and events of both places; only the closing of a month leads to hits."""
        seen = self.seen[batch.kind]
        if seen.ring.newest < 0:
            self.closing.begin(batch.kind, batch.watermark_ms)
        newest = int(self.months.period_of(batch.watermark_ms[-1:])[0])
        seen.turn(columns, newest)
        month, is_open = self._open_months(batch)
        is_open &= seen.ring.holds(month, newest)
        day = (self.days.period_of(batch.time_ms) - self.first_day[month]).astype(np.uint32)
        is_abroad = batch.fields["is_abroad"]
        for place, is_there in (("home", ~is_abroad), ("abroad", is_abroad)):
            row = np.flatnonzero(is_open & is_there)
            slot, of_month = batch.slot[row], month[row]
            seen.add(columns, f"events_{place}", slot, of_month, np.ones(len(row), np.int64))
            days, bits = seen.of(columns)[f"days_{place}"], np.uint32(1) << day[row]
            scatter.set_bits(days, slot, of_month % seen.ring.width, bits)
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
        """Subtract an event from an open month, and its day if no other event shows that."""
        month, is_open = self._open_months(batch)
        if not is_open[0]:
            return []
        seen, place = self.seen[batch.kind], PLACES[int(batch.fields["is_abroad"][0])]
        seen.take_off(columns, f"events_{place}", batch.slot, month, np.ones(1, np.int64))
        if not seen.holds(int(month[0])):
            return []
        (day,) = self.days.period_of(batch.time_ms).tolist()
        if self.days.bounds(day)[0] < correction.siblings.complete_ms:
            self.kept += 1
            return []
        others = correction.siblings.others
        same = self.days.period_of(others.time_ms) == day
        if not (same & (others.fields["is_abroad"] == batch.fields["is_abroad"])).any():
            bit = np.uint32(1) << np.uint32(day - self.first_day[month[0]])
            seen.at(columns, int(month[0]))[f"days_{place}"][batch.slot] &= ~bit
        return []

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """Report who spent the months up to each one that is closed now mostly abroad."""
        return RuleOutput(hits=tuple(hit for last in periods for hit in self._hits(columns, last)))

    def _hits(self, columns: Mapping[str, NDArray], last: int) -> Iterator[Hit]:
        window = range(last - self.parameters.months + 1, last + 1)
        if any(self._is_lost(kind, month) for kind, month in product(KINDS, window)):
            return
        everybody = np.arange(len(columns[self.fields[0].name]))
        slots = np.flatnonzero(self._days(columns, "abroad", last, everybody))
        lowest = np.full(len(slots), 1000)
        counts = [self._counts(columns, month, slots) for month in window]
        for month in counts:
            for what in ("days", "events"):
                abroad = month[f"{what}_abroad"]
                total = np.maximum(abroad + month[f"{what}_home"], 1)
                lowest = np.minimum(lowest, -(-1000 * abroad // total))
            lowest[month["days_abroad"] < self.parameters.days_min] = 0
        for at in np.flatnonzero(lowest > self.parameters.share_per_mille).tolist():
            breaches = [
                {"start_ms": self.months.bounds(number)[0]}
                | {name: int(column[at]) for name, column in month.items()}
                for number, month in zip(window, counts, strict=True)
            ]
            yield self._hit(int(slots[at]), last, int(lowest[at]), breaches)

    def _hit(self, slot: int, month: int, observed: int, breaches: list[dict[str, int]]) -> Hit:
        return Hit(
            slot=slot,
            event_time_ms=self.months.bounds(month)[1],
            level="breach",
            window=self.months.window(month),
            observed=observed,
            limit=self.parameters.share_per_mille,
            unit=ABROAD.name,
            offset=None,
            evidence={"breaches": breaches, "days_min": self.parameters.days_min},
        )

    def _counts(self, columns: Mapping[str, NDArray], month: int, slots: Ints) -> dict[str, Ints]:
        """Days and events of a month in both places, over all kinds; shape (slots,) each."""
        counts = {}
        for place in PLACES:
            days = self._days(columns, place, month, slots)
            counts[f"days_{place}"] = np.bitwise_count(days).astype(np.int64)
            events = self._by_kind(columns, f"events_{place}", month, slots)
            counts[f"events_{place}"] = np.sum(events, axis=0, dtype=np.int64)
        return counts

    def _days(self, columns: Mapping[str, NDArray], place: str, month: int, slots: Ints) -> NDArray:
        """Days of a month with an event of any kind in a place, as bits, shape (slots,)."""
        return np.bitwise_or.reduce(self._by_kind(columns, f"days_{place}", month, slots))

    def _by_kind(
        self, columns: Mapping[str, NDArray], name: str, month: int, slots: Ints
    ) -> NDArray[np.uint32]:
        """A column's cells of a month, zero where they are not kept, shape (kinds, slots)."""
        cells = np.zeros((len(KINDS), len(slots)), np.uint32)
        for number, seen in enumerate(self.seen.values()):
            if seen.holds(month):
                cells[number] = seen.at(columns, month)[name][slots]
        return cells

    def _is_lost(self, kind: str, month: int) -> bool:
        """Whether a kind counted the month, but later months have taken its cells."""
        oldest = self.seen[kind].ring.newest - self.closing.kept
        return self.closing.began.get(kind, month) < month < oldest

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Zero the cells that were reused for later months after a row was written."""
        self.seen[kind].catch_up(columns, slots, self.months.period_of(written_ms))

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The current month's share of days abroad; a breach needs more months than this."""
        month = max(seen.ring.newest for seen in self.seen.values())
        if month < 0:
            return []
        counts = self._counts(columns, month, np.array([slot]))
        home, abroad = (int(counts[f"days_{place}"][0]) for place in PLACES)
        return [
            Standing(
                window=self.months.window(month),
                observed=-(-1000 * abroad // max(home + abroad, 1)),
                limit=self.parameters.share_per_mille,
                unit=ABROAD.name,
            )
        ]

    def remember(self) -> Any:
        """A `PermanentMemory`; the counts are in the columns."""
        newest = {kind: seen.ring.newest for kind, seen in self.seen.items()}
        return PermanentMemory(newest, self.closing.remember())

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, PermanentMemory)
        for kind, month in kept.newest.items():
            self.seen[kind].ring.newest = month
        self.closing.recall(kept.closing)
