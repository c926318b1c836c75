"""TV watched mostly outside the home, in several places a day, and regularly so."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.kernels.running import group_sizes, group_starts
from detectors.periods.calendar import LONGEST_DAY_MS, calendar
from detectors.periods.closing import PeriodCloser
from detectors.periods.regular import Regularly, RegularParameters
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
from schemas.policy import LIVE, Policy, RuleParameters
from schemas.records import Window
from schemas.units import HOUR_MS, MINUTE_MS, Ints, Mask

SHORTEST_DAY_HOURS = 23
VIEW_MINUTES_MAX = 1_440
CODES = (1 << 16) - 1
"""A place is known by a number of 16 bits; zero is none."""


AWAY = Unit(
    "per mille of viewing away from home",
    "{observed} % of the viewing away from home",
    symbol="%",
    per=10,
    measure="percent",
)


class ElsewhereParameters(RegularParameters, kw_only=True, frozen=True):
    """`share_percent` of a day's viewing away from home in `places` places, or more of both.

    A day closes when the watermark is `lateness_hours` past its end.
    """

    share_percent: Annotated[int, Meta(ge=1, le=100), LIVE]
    places: Annotated[int, Meta(ge=1, le=8)]
    lateness_hours: Annotated[int, Meta(ge=0, le=14 * 24)]
    regular_window: Annotated[int, Meta(ge=1, le=366)]


class StreamElsewhere(ClosingRuleBase):
    """Report the day whose viewing was mostly away from the registered address, once it is closed.

    What it catches: closed days with the share or more of their viewing away, in two or more
    places, and the days that make it "regularly". A view counts in begun minutes, 24 hours at
    most, for the day on which it starts; without `at_home` it is away, without `address_id` it is
    in no place.
    What it misses: homes that share one `address_id`, or its 16-bit hash; views that come after
    their day was closed. A view that came late and is corrected later still stays counted.
    Delay: the day's end plus the lateness.
    False alarms: a day of travel with two stops (hence "regularly"); a source that never sends
    `at_home`, for then the home itself is a place away. Of 9,000 generated customers (62 days,
    seeds 1 to 3) nobody was wrongly found; no real data was at hand.

    References
    ----------
    Clause base-tv 2.3(ii).
    """

    name: ClassVar[str] = "stream_elsewhere"
    declaration: ClassVar[Declaration] = Declaration(
        section="Television",
        services=("tv",),
        units=(AWAY,),
        what="a day's viewing away from the registered address, once the day is closed",
        limit="{share_percent} % of it or more, in {places} places or more",
        misses="homes that share an `address_id`; views that come after their day was closed",
    )
    reads: ClassVar[tuple[str, ...]] = ("stream",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "stream": ("at_home", "duration_ms", "address_id")
    }
    siblings_ms: ClassVar[int] = LONGEST_DAY_MS
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = ElsewhereParameters

    def __init__(self, parameters: ElsewhereParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.days = calendar(policy.timezone, "day")
        # Days before the newest that may still be open.
        self.late_days = -(-parameters.lateness_hours // SHORTEST_DAY_HOURS)
        self.closing = PeriodCloser(self.days, parameters.lateness_hours * HOUR_MS, self.late_days)
        self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        self.limit = parameters.share_percent * 10
        self.places = [f"stream_place_{number}" for number in range(parameters.places)]
        self.kept = 0
        # One ring of days for each column; they all turn together.
        back = self.late_days + parameters.regular_window - 1
        names = ("stream_home_minutes", "stream_away_minutes", *self.places)
        self.rings = {name: PeriodRing(back) for name in names}
        self.fields = tuple(Field(name, "<u2", ring.width) for name, ring in self.rings.items())

    @property
    def newest(self) -> int:
        """The newest day."""
        return self.rings["stream_home_minutes"].newest

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the view's day is still open."""
        return self.days.period_of(time_ms) > self.closing.last(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Add a batch to the open days; nothing is judged before a day is closed."""
        newest = int(self.days.period_of(batch.watermark_ms[-1:])[0])
        day = self.days.period_of(batch.time_ms)
        row = np.flatnonzero(self._counted(batch) & (day > self.closing.closed))
        self._add(columns, batch, row, newest)
        return []

    def _counted(self, batch: Batch) -> Mask:
        """Whether each view counts for its day, shape (n,)."""
        return self.accepts(batch.time_ms, batch.watermark_ms) & (batch.fields["duration_ms"] > 0)

    def _add(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints, newest: int) -> None:
        """Add views to the minutes and places of their days."""
        slot, day = batch.slot[row], self.days.period_of(batch.time_ms[row])
        minutes = np.minimum(-(-batch.fields["duration_ms"][row] // MINUTE_MS), VIEW_MINUTES_MAX)
        at_home = batch.fields["at_home"][row]
        place = batch.fields["address_id"][row]
        somewhere = ~at_home & (place != 0)
        # A day's 16-bit number of a place is never zero.
        code = (place[somewhere] >> np.uint64(48)).astype(np.int64) % CODES + 1
        places = self._new_places(columns, slot[somewhere], day[somewhere], code)
        for name, amount in (
            ("stream_home_minutes", minutes * at_home),
            ("stream_away_minutes", minutes * ~at_home),
        ):
            total = self.rings[name].totals(columns[name], slot, day, amount)
            self.rings[name].write(columns[name], slot, day, total, newest)
        for name, new in zip(self.places, places, strict=True):
            self.rings[name].write(columns[name], *new, newest)

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Count the customer's day again without the view; if it was judged, judge it again."""
        siblings, slot = correction.siblings, int(batch.slot[0])
        if not self._counted(siblings.event)[0]:
            return []
        (day,) = self.days.period_of(batch.time_ms).tolist()
        is_held = self.rings[self.places[0]].holds(np.array([day]), self.newest)[0]
        if not is_held or self.days.bounds(day)[0] < siblings.complete_ms:
            self.kept += 1
            return []
        before = self._share(columns, day, slot)
        for name, ring in self.rings.items():
            columns[name][slot, day % ring.width] = 0
        others = siblings.others
        same = self.days.period_of(others.time_ms) == day
        self._add(columns, others, np.flatnonzero(same & self._counted(others)), self.newest)
        after = self._share(columns, day, slot)
        if day > self.closing.closed or (before >= self.limit) == (after >= self.limit):
            return []
        if after >= self.limit:
            hits = self._judge(columns, slot, day)
        else:
            hits = [self._hit(columns, slot, "cleared", day, after, {})]
        return [correction.told(hit) for hit in hits]

    def _share(self, columns: Mapping[str, NDArray], day: int, slot: int) -> int:
        """A customer's share of viewing away on a day, per mille."""
        return int(self._shares(columns, day, slice(slot, slot + 1))[0])

    def _new_places(
        self, columns: Mapping[str, NDArray], slot: Ints, day: Ints, code: Ints
    ) -> list[tuple[Ints, Ints, Ints]]:
        """Slot, day and code of the places to write, for each of the columns of places."""
        known = np.zeros((len(slot), len(self.places)), np.int64)
        for number, name in enumerate(self.places):
            ring = self.rings[name]
            held = ring.holds(day, ring.newest) & (ring.newest >= 0)
            known[:, number] = np.where(held, columns[name][slot, day % ring.width], 0)
        fresh = np.flatnonzero(~(known == code[:, None]).any(axis=1))
        slot, day, code, taken = (
            slot[fresh],
            day[fresh],
            code[fresh],
            (known[fresh] > 0).sum(axis=1),
        )
        if len(slot) == 0:
            return [(slot, day, code) for _ in self.places]
        group = slot * (int(day.max()) + 1) + day
        _, first = np.unique(group * (CODES + 1) + code, return_index=True)
        # By customer and day, in the order of rows: of equal places only the first is new.
        first = np.sort(first)
        first = first[np.argsort(group[first], kind="stable")]
        starts = group_starts(group[first])
        sizes = group_sizes(starts, len(first))
        number = taken[first] + np.arange(len(first)) - np.repeat(starts, sizes)
        columns_of = (first[number == wanted] for wanted in range(len(self.places)))
        return [(slot[at], day[at], code[at]) for at in columns_of]

    def close_periods(
        self, columns: Mapping[str, NDArray], days: range, customers: Customers
    ) -> RuleOutput:
        """Who was mostly elsewhere on each of the days, in the order of customer ids."""
        hits: list[Hit] = []
        size = customers.directory.size
        first, end = (
            max(days.start, self.newest - self.late_days),
            min(days.stop, self.newest + 1),
        )
        for day in range(first, end):
            in_breach = np.flatnonzero(self._shares(columns, day, slice(size)) >= self.limit)
            for slot in sorted(in_breach.tolist(), key=customers.directory.name):
                hits += self._judge(columns, slot, day)
        return RuleOutput(hits=tuple(hits))

    def _judge(self, columns: Mapping[str, NDArray], slot: int, day: int) -> list[Hit]:
        """A customer's day in breach, and whether it makes a regular one."""
        window = range(day - self.regularly.window + 1, day + 1)
        shares = {d: self._share(columns, d, slot) for d in window}
        breaches = {d: share for d, share in shares.items() if share >= self.limit}
        hits = [self._hit(columns, slot, "breach", day, breaches[day], {})]
        for regular in self.regularly.completed_by(breaches, day):
            more = self.regularly.evidence(breaches, regular, self._start_ms)
            hits.append(self._hit(columns, slot, "regular", regular, breaches[regular], more))
        return hits

    def _shares(self, columns: Mapping[str, NDArray], day: int, slots: slice) -> Ints:
        """Share of viewing away, per mille; zero with too few places, shape (slots,)."""
        ring = self.rings["stream_home_minutes"]
        home, away, last_place = (
            columns[name][slots, day % ring.width].astype(np.int64)
            for name in ("stream_home_minutes", "stream_away_minutes", self.places[-1])
        )
        if not ring.holds(np.array([day]), ring.newest)[0]:
            return np.zeros(len(home), np.int64)
        return np.where(last_place > 0, away * 1000 // np.maximum(1, home + away), 0)

    def _start_ms(self, day: int) -> int:
        return self.days.bounds(day)[0]

    def _hit(
        self,
        columns: Mapping[str, NDArray],
        slot: int,
        level: str,
        day: int,
        observed: int,
        more: dict[str, Any],
    ) -> Hit:
        start_ms, end_ms = self.days.bounds(day)
        cell = slot, day % self.rings["stream_home_minutes"].width
        return Hit(
            slot=slot,
            event_time_ms=end_ms,
            level=level,
            window=Window(kind="day", start_ms=start_ms, end_ms=end_ms),
            observed=observed,
            limit=self.limit,
            unit=AWAY.name,
            offset=None,
            evidence={
                "home_minutes": int(columns["stream_home_minutes"][cell]),
                "away_minutes": int(columns["stream_away_minutes"][cell]),
                "places_min": len(self.places),
                **more,
            },
        )

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Empty the cells that later days took over since a row was written."""
        written = self.days.period_of(written_ms)
        for name, ring in self.rings.items():
            ring.catch_up(columns[name], slots, written)

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest day's share, as far as it has come."""
        if self.newest < 0:
            return []
        start_ms, end_ms = self.days.bounds(self.newest)
        return [
            Standing(
                window=Window(kind="day", start_ms=start_ms, end_ms=end_ms),
                observed=self._share(columns, self.newest, slot),
                limit=self.limit,
                unit=AWAY.name,
            )
        ]

    def remember(self) -> Any:
        """The newest day, and the last closed one."""
        return [self.newest, self.closing.remember()]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        newest, closed = memory
        self.closing.recall(closed)
        for ring in self.rings.values():
            ring.newest = newest
