"""TV is watched mostly outside the home, in several places a day, and regularly so."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, convert
from numpy.typing import NDArray

from detectors.kernels.running import group_sizes, group_starts
from detectors.periods.calendar import LONGEST_DAY_MS, SHORTEST_MS, calendar
from detectors.periods.closing import PeriodCloser
from detectors.periods.regular import Regularly, RegularParameters
from detectors.rules.contract import (
    Batch,
    Correction,
    Customers,
    Declaration,
    Hit,
    RuleOutput,
    Standing,
)
from detectors.rules.families.closing import ClosingMemory, ClosingRuleBase
from detectors.state.period_columns import PeriodColumns
from schemas.amounts import Unit
from schemas.policy import LIVE, Policy, RuleParameters
from schemas.records import Level
from schemas.units import HOUR_MS, MINUTE_MS, Ints, Mask

VIEW_MINUTES_MAX = 1_440
CODES = (1 << 16) - 1
"""Places are told apart by codes of 16 bits; zero is no place."""


AWAY = Unit(
    "per mille of viewing away from home",
    "{observed} % of the viewing away from home",
    symbol="%",
    per=10,
    measure="percent",
)


class ElsewhereParameters(RegularParameters, kw_only=True, frozen=True):
    """A breach is `share_percent` or more of a day's viewing away from home, in `places` or more.

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
    their day was closed. A view still counts if it came late and its correction comes later yet.
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
        lateness_ms = parameters.lateness_hours * HOUR_MS
        self.late_days = -(-lateness_ms // SHORTEST_MS["day"])
        self.closing = PeriodCloser(self.days, lateness_ms, self.late_days)
        self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        self.limit = parameters.share_percent * 10
        self.places = [f"place_{number}" for number in range(parameters.places)]
        self.kept = 0
        back = self.late_days + parameters.regular_window - 1
        cells = dict.fromkeys(("home_minutes", "away_minutes", *self.places), "<u2")
        self.viewing = PeriodColumns(self.name, "stream", back, cells)
        self.fields = self.viewing.fields

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the view's day is still open."""
        return self.days.period_of(time_ms) > self.closing.last(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Add a batch to the open days; only the closing of a day leads to hits."""
        self.viewing.turn(columns, int(self.days.period_of(batch.watermark_ms[-1:])[0]))
        day = self.days.period_of(batch.time_ms)
        self._add(columns, batch, self._counted(batch) & (day > self.closing.closed))
        return []

    def _counted(self, batch: Batch) -> Mask:
        """Whether each view counts for its day, shape (n,)."""
        return self.accepts(batch.time_ms, batch.watermark_ms) & (batch.fields["duration_ms"] > 0)

    def _add(self, columns: Mapping[str, NDArray], batch: Batch, counts: Mask) -> None:
        """Add the views that count to the minutes and places of their days."""
        day, ring = self.days.period_of(batch.time_ms), self.viewing.ring
        row = np.flatnonzero(counts & ring.holds(day, ring.newest))
        slot, day = batch.slot[row], day[row]
        minutes = np.minimum(-(-batch.fields["duration_ms"][row] // MINUTE_MS), VIEW_MINUTES_MAX)
        at_home = batch.fields["at_home"][row]
        place = batch.fields["address_id"][row]
        somewhere = ~at_home & (place != 0)
        code = (place[somewhere] >> np.uint64(48)).astype(np.int64) % CODES + 1
        self._add_places(columns, slot[somewhere], day[somewhere], code)
        self.viewing.add(columns, "home_minutes", slot, day, minutes * at_home)
        self.viewing.add(columns, "away_minutes", slot, day, minutes * ~at_home)

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Count the customer's day again without the view; a closed day may change its hits."""
        siblings, slot = correction.siblings, int(batch.slot[0])
        if not self._counted(siblings.event)[0]:
            return []
        (day,) = self.days.period_of(batch.time_ms).tolist()
        if not self.viewing.holds(day) or self.days.bounds(day)[0] < siblings.complete_ms:
            self.kept += 1
            return []
        before = self._share(columns, day, slot)
        for cells in self.viewing.at(columns, day).values():
            cells[slot] = 0
        others = siblings.others
        same = self.days.period_of(others.time_ms) == day
        self._add(columns, others, same & self._counted(others))
        after = self._share(columns, day, slot)
        if day > self.closing.closed or (before >= self.limit) == (after >= self.limit):
            return []
        if after >= self.limit:
            hits = self._breach(columns, slot, day)
        else:
            hits = [self._hit(columns, slot, "cleared", day, after, {})]
        return [correction.caused(hit) for hit in hits]

    def _share(self, columns: Mapping[str, NDArray], day: int, slot: int) -> int:
        """A customer's share of viewing away on a day, per mille."""
        return int(self._shares(columns, day, slice(slot, slot + 1))[0])

    def _add_places(
        self, columns: Mapping[str, NDArray], slot: Ints, day: Ints, code: Ints
    ) -> None:
        """Store the codes of places that are new on their days, each in the next empty column."""
        place, cells = day % self.viewing.ring.width, self.viewing.of(columns)
        known = np.stack([cells[name][slot, place] for name in self.places], axis=1)
        fresh = np.flatnonzero(~(known == code[:, None]).any(axis=1))
        slot, day, place, code = slot[fresh], day[fresh], place[fresh], code[fresh]
        taken = (known[fresh] > 0).sum(axis=1)
        if len(slot) == 0:
            return
        group = slot * (int(day.max()) + 1) + day
        _, first = np.unique(group * (CODES + 1) + code, return_index=True)
        # By customer and day, in the order of rows; of equal places only the first is new.
        first = np.sort(first)
        first = first[np.argsort(group[first], kind="stable")]
        starts = group_starts(group[first])
        sizes = group_sizes(starts, len(first))
        number = taken[first] + np.arange(len(first)) - np.repeat(starts, sizes)
        for wanted, name in enumerate(self.places):
            at = first[number == wanted]
            cells[name][slot[at], place[at]] = code[at]

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """Report who was mostly elsewhere on each of the days, in the order of customer ids."""
        hits: list[Hit] = []
        size, newest = customers.directory.size, self.viewing.ring.newest
        first, end = max(periods.start, newest - self.late_days), min(periods.stop, newest + 1)
        for day in range(first, end):
            in_breach = np.flatnonzero(self._shares(columns, day, slice(size)) >= self.limit)
            for slot in sorted(in_breach.tolist(), key=customers.directory.name):
                hits += self._breach(columns, slot, day)
        return RuleOutput(hits=tuple(hits))

    def _breach(self, columns: Mapping[str, NDArray], slot: int, day: int) -> list[Hit]:
        """The breach of a customer's day, and a hit for each day that it makes regular."""
        window = range(day - self.regularly.window + 1, day + 1)
        shares = {d: self._share(columns, d, slot) for d in window}
        breaches = {d: share for d, share in shares.items() if share >= self.limit}
        hits = [self._hit(columns, slot, "breach", day, breaches[day], {})]
        for regular, more in self.regularly.completed(breaches, day, self.days):
            hits.append(self._hit(columns, slot, "regular", regular, breaches[regular], more))
        return hits

    def _shares(self, columns: Mapping[str, NDArray], day: int, slots: slice) -> Ints:
        """Share of viewing away, per mille; zero with too few places, shape (slots,)."""
        of_day = self.viewing.at(columns, day)
        home, away, last_place = (
            of_day[name][slots].astype(np.int64)
            for name in ("home_minutes", "away_minutes", self.places[-1])
        )
        if not self.viewing.holds(day):
            return np.zeros(len(home), np.int64)
        return np.where(last_place > 0, away * 1000 // np.maximum(1, home + away), 0)

    def _hit(
        self,
        columns: Mapping[str, NDArray],
        slot: int,
        level: Level,
        day: int,
        observed: int,
        more: dict[str, Any],
    ) -> Hit:
        of_day = self.viewing.at(columns, day)
        return Hit(
            slot=slot,
            event_time_ms=self.days.bounds(day)[1],
            level=level,
            window=self.days.window(day),
            observed=observed,
            limit=self.limit,
            unit=AWAY.name,
            offset=None,
            evidence={
                "home_minutes": int(of_day["home_minutes"][slot]),
                "away_minutes": int(of_day["away_minutes"][slot]),
                "places_min": len(self.places),
                **more,
            },
        )

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Zero the cells that were reused for later days after a row was written."""
        self.viewing.catch_up(columns, slots, self.days.period_of(written_ms))

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest day's share so far."""
        newest = self.viewing.ring.newest
        if newest < 0:
            return []
        return [
            Standing(
                window=self.days.window(newest),
                observed=self._share(columns, newest, slot),
                limit=self.limit,
                unit=AWAY.name,
            )
        ]

    def remember(self) -> Any:
        """A `ClosingMemory`; the viewing is in the columns."""
        return ClosingMemory(self.viewing.ring.newest, self.closing.remember())

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, ClosingMemory)
        self.viewing.ring.newest = kept.newest
        self.closing.recall(kept.closing)
