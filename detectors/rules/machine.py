"""A card without a human user: a machine that talks to a machine."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct, convert
from numpy.typing import NDArray

from detectors.kernels import sameness, scatter
from detectors.kernels.log_bins import LogBins
from detectors.kernels.running import distinct_values, running_maxima, running_totals
from detectors.periods.regular import Regularly
from detectors.rules.contract import Batch, Customers, Declaration, Hit, Standing
from detectors.rules.families.scored_day import (
    OPEN_BACK,
    Features,
    PerMille,
    ScoredDays,
    ScoredMemory,
    ScoredParameters,
)
from detectors.state.period_columns import PeriodColumns
from schemas.amounts import Unit
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.safeguards import SUBSCRIPTION
from schemas.units import Ints, Mask

GAPS_MAX = 65_535
"""Gaps of a day that are counted, by kind; further ones change nothing."""

NIGHT_HOURS, DAY_HOURS = 6, 18
SIZE_BINS = LogBins(4)
SIZE_BINS_APART = 1
CELL_MAX = 255

PRESENT, INTERVALS, SAME, RHYTHM = 1, 2, 4, 8
"""Bits that are kept of a day by kind: whether the kind was used, and the signs that hold."""


SCORE = Unit(
    "machine per mille",
    "use that looks like that of a machine",
    symbol="points",
    per=10,
    digits=1,
)


class MachineParameters(ScoredParameters, kw_only=True, frozen=True):
    """Each sign adds its weight to the score of a kind of event; the lowest kind's score counts.

    `gaps_min`: gaps between events of a kind in a day from which on intervals are compared.
    `variation_percent`: highest coefficient of variation of the gaps that is near-constant.
    `rhythm_spread`: most that the shares of night and day hours with use may differ, per mille.
    `human_gaps_min`: a kind with fewer gaps in a day is taken for unused.
    `regular_periods` of the last `regular_window` days in breach are "regularly".
    """

    gaps_min: Annotated[int, Meta(ge=2), LIVE]
    variation_percent: Annotated[int, Meta(ge=0, le=100), LIVE]
    rhythm_spread: Annotated[PerMille, LIVE]
    human_gaps_min: Annotated[int, Meta(ge=1), LIVE]
    weight_intervals: Annotated[PerMille, LIVE]
    weight_same: Annotated[PerMille, LIVE]
    weight_rhythm: Annotated[PerMille, LIVE]
    regular_periods: Annotated[Positive, LIVE]
    regular_window: Positive

    def __post_init__(self) -> None:
        """Refuse parameters that contradict each other."""
        super().__post_init__()
        if self.gaps_min < self.human_gaps_min:
            raise ValueError("`gaps_min` can't be less than `human_gaps_min`")
        if self.regular_periods > self.regular_window:
            raise ValueError("`regular_periods` can't be more than `regular_window`")


class MachineMemory(Struct, frozen=True):
    """What is remembered of all days, and scores of the latest breaches by customer and day."""

    days: ScoredMemory
    breaches: dict[str, dict[int, int]]


class Machine(ScoredDays):
    """Score a customer's local day by the signs of a machine, for each kind of event.

    `INTERVALS`: the gaps between the events of a day are near-constant. `SAME`: all events have one
    size within a factor of 1.5, or one other party. `RHYTHM`: the hours of the night are used as
    much as those of the day (shares of the hours 0 to 6 and 6 to 24 since midnight). The lowest
    score of the kinds counts: one human way of use is enough.

    What it catches: meters, alarms and trackers that report all day and night, the days on which
    they do, and the days that make it "regularly".
    What it misses: machines with random pauses, or that report fewer than `gaps_min` times a day;
    those whose card people use, too; customers with a professional contract unless `applies_to`
    says "all". A kind that is more than `retention_periods` days ahead of the others is taken for
    unused.
    Delay: the day's end plus `lateness_hours`, and until every kind has closed the day.
    False alarms: a phone that nobody touches and that only keeps its connection alive: of 9,000
    generated customers (docs/CURVES.md, seeds 1 to 3) four, all of them among 120 idle tablets;
    none of 579 students of the Copenhagen Networks Study. Received calls and texts don't count.
    Gaps are in whole seconds, and only between events in rising order: a late event changes none.

    References
    ----------
    Clauses base-mobile 6.3.1(iv), 6.3.2(iii).
    """

    name: ClassVar[str] = "machine"
    declaration: ClassVar[Declaration] = Declaration(
        section="Who it is",
        services=SUBSCRIPTION,
        units=(SCORE,),
        what="signs of a machine in a day, by the most human kind: near-constant intervals, one "
        "size or party, no rhythm of the day",
        limit="{score_min} points of 1000, or more",
        misses="random pauses; fewer than eleven events a day; a card that people use too",
    )
    reads: ClassVar[tuple[str, ...]] = ("data", "sms", "voice")
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "data": ("bytes",),
        "sms": ("is_sent", "recipient"),
        "voice": ("is_originated", "is_first_part", "other_party", "duration_ms"),
    }
    Parameters: ClassVar[type[RuleParameters]] = MachineParameters

    def __init__(self, parameters: MachineParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        self.breaches: dict[str, dict[int, int]] = {}
        self.scores = np.array([self._score_of(signs) for signs in range(16)], np.int64)

    def _score_of(self, signs: int) -> int:
        weights = (
            (INTERVALS, self.parameters.weight_intervals),
            (SAME, self.parameters.weight_same),
            (RHYTHM, self.parameters.weight_rhythm),
        )
        return min(1000, sum(weight for sign, weight in weights if signs & sign))

    def rings_of(self, parameters: MachineParameters) -> dict[str, list[PeriodColumns]]:
        """Two days of sums, and signs of each day by which a kind may be ahead."""
        sums = {"gaps": "<u2", "span_s": "<u4", "squares": "<u8", "last_s": "<u4", "hours": "<u4"}
        party, sizes = {"party": "<u2"}, {"smallest": "<u1", "largest": "<u1"}
        own = {"data": sizes, "sms": party, "voice": party | sizes}
        back = max(OPEN_BACK, parameters.retention_periods)
        self.counted = {
            kind: PeriodColumns(self.name, kind, OPEN_BACK, sums | own[kind]) for kind in self.reads
        }
        self.signs = {
            kind: PeriodColumns(self.name, kind, back, {"signs": "<u1"}) for kind in self.reads
        }
        return {kind: [self.counted[kind], self.signs[kind]] for kind in self.reads}

    # -- events ---------------------------------------------------------------------------------

    def count(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints, day: Ints) -> None:
        """Add events to the sums of their days, and update the signs of these days."""
        counts = _is_use(batch)[row]
        row, day = row[counts], day[counts]
        if len(row) == 0:
            return
        kind, ring = batch.kind, self.counted[batch.kind].ring
        slot, place = batch.slot[row], day % ring.width
        cells = self.counted[kind].of(columns)
        second = (batch.time_ms[row] - self.days.start_ms[day]) // 1000
        _count_gaps(cells, slot, place, second)
        hour = np.minimum(second // 3600, NIGHT_HOURS + DAY_HOURS - 1)
        scatter.set_bits(cells["hours"], slot, place, 1 << hour)
        if "party" in cells:
            name = "recipient" if kind == "sms" else "other_party"
            sameness.note(cells["party"], slot, place, sameness.marks(batch.fields[name][row]))
        if "largest" in cells:
            size = batch.fields["bytes" if kind == "data" else "duration_ms"][row]
            in_bin = SIZE_BINS.of(size)
            scatter.raise_to(cells["largest"], slot, place, in_bin)
            # Counted down from the highest bin, as cells begin at zero and only rise.
            scatter.raise_to(cells["smallest"], slot, place, CELL_MAX - in_bin)
        group = distinct_values(day * len(cells["hours"]) + slot)
        day, slot = group // len(cells["hours"]), group % len(cells["hours"])
        sums = {name: column[slot, day % ring.width] for name, column in cells.items()}
        signs = self.signs[kind]
        signs.of(columns)["signs"][slot, day % signs.ring.width] = self._signs(sums)

    def _signs(self, sums: Mapping[str, NDArray]) -> Ints:
        """Bits of the signs that hold for each day's sums, shape (n,)."""
        policy = self.parameters
        gaps = sums["gaps"].astype(np.int64)
        intervals = (gaps >= policy.gaps_min) & _is_steady(sums, policy.variation_percent)
        same = np.zeros(len(gaps), bool)
        if "party" in sums:
            same |= sums["party"] > sameness.SEVERAL
        if "largest" in sums:
            largest, smallest = sums["largest"].astype(np.int64), CELL_MAX - sums["smallest"]
            same |= largest - smallest <= SIZE_BINS_APART
        night = np.bitwise_count(sums["hours"] & np.uint32(2**NIGHT_HOURS - 1)).astype(np.int64)
        day = np.bitwise_count(sums["hours"] >> np.uint32(NIGHT_HOURS)).astype(np.int64)
        apart = np.abs(night * DAY_HOURS - day * NIGHT_HOURS) * 1000
        rhythm = (night > 0) & (apart <= policy.rhythm_spread * NIGHT_HOURS * DAY_HOURS)
        signs = np.where(gaps >= policy.human_gaps_min, PRESENT, 0)
        return signs + intervals * INTERVALS + same * SAME + rhythm * RHYTHM

    # -- closed days ----------------------------------------------------------------------------

    def candidates_of(
        self, columns: Mapping[str, NDArray], kind: str, day: int, customers: Customers
    ) -> Iterator[tuple[int, Features]]:
        """Customers whose use of this kind alone reaches the score."""
        signs = self.signs[kind].at(columns, day)["signs"][: customers.directory.size]
        reached = (signs & PRESENT != 0) & (self.scores[signs] >= self.parameters.score_min)
        slots = np.flatnonzero(reached)
        if self.parameters.applies_to == "consumer":
            slots = slots[~customers.is_professional(slots)]
        cells = self.counted[kind].at(columns, day)
        sums = [cells[name][slots] for name in ("gaps", "span_s", "squares", "hours")]
        rows = np.stack([signs[slots], *sums], axis=1).astype(np.int64).tolist()
        names = ("signs", "gaps", "gaps_sum_s", "gaps_squares_sum", "hours")
        for slot, row in zip(slots.tolist(), rows, strict=True):
            yield slot, dict(zip(names, row, strict=True))

    def score(
        self, columns: Mapping[str, NDArray], day: int, slot: int, features: Mapping[str, Features]
    ) -> tuple[int, dict[str, Any]]:
        """The lowest score of the kinds that were used."""
        evidence = {}
        for kind in self.reads:
            if kind in features:
                sums = dict(features[kind])
                signs, hours = sums.pop("signs"), sums.pop("hours")
                with_use = [hour for hour in range(24) if hours >> hour & 1]
                evidence[kind] = self._described(signs) | sums | {"hours_with_use": with_use}
            elif self.signs[kind].holds(day):
                signs = int(self.signs[kind].at(columns, day)["signs"][slot])
                if signs & PRESENT:
                    evidence[kind] = self._described(signs)
        return min(of_kind["score"] for of_kind in evidence.values()), {"kinds": evidence}

    def _described(self, signs: int) -> dict[str, Any]:
        """The score of a kind's signs, and the signs by name."""
        return {
            "score": int(self.scores[signs]),
            "near_constant_intervals": bool(signs & INTERVALS),
            "one_size_or_party": bool(signs & SAME),
            "no_rhythm_of_the_day": bool(signs & RHYTHM),
        }

    def hits(
        self, name: str, slot: int, day: int, score: int, evidence: dict[str, Any]
    ) -> list[Hit]:
        """The breach, and a hit for each day that it makes regular."""
        breaches = self.breaches.setdefault(name, {})
        breaches[day] = score
        hits = [self.hit(slot, "breach", day, day, score, evidence)]
        for last, more in self.regularly.completed(breaches, day, self.days):
            hits.append(self.hit(slot, "regular", last, day, breaches[last], evidence | more))
        return hits

    def withdraw(self, name: str, day: int) -> None:
        """Forget that a customer's day was in breach."""
        breaches = self.breaches.get(name, {})
        breaches.pop(day, None)
        if not breaches:
            self.breaches.pop(name, None)

    def forget(self) -> None:
        """Drop the breaches that can't make a later day regular any more."""
        first = self.scored - self.regularly.window + 2
        kept = (
            (name, {day: score for day, score in days.items() if day >= first})
            for name, days in self.breaches.items()
        )
        self.breaches = {name: days for name, days in kept if days}

    # -- state ----------------------------------------------------------------------------------

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest day's score so far."""
        day = max(ring.ring.newest for ring in self.signs.values())
        if day < 0:
            return []
        of_day = [
            ring.at(columns, day)["signs"][slot] for ring in self.signs.values() if ring.holds(day)
        ]
        scores = [int(self.scores[signs]) for signs in of_day if signs & PRESENT]
        return [self.standing_on(day, min(scores, default=0))]

    def remember(self) -> Any:
        """A `MachineMemory`; the sums and signs are in the columns."""
        return MachineMemory(super().remember(), self.breaches)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, MachineMemory)
        super().recall(kept.days)
        self.breaches = kept.breaches


def _is_use(batch: Batch) -> Mask:
    """Whether each event is use by the customer: not received, and a call's first record only."""
    if batch.kind == "sms":
        return batch.fields["is_sent"]
    if batch.kind == "voice":
        return batch.fields["is_originated"] & batch.fields["is_first_part"]
    return np.ones(len(batch.slot), bool)


def _count_gaps(cells: Mapping[str, NDArray], slot: Ints, place: Ints, second: Ints) -> None:
    """Add the gaps between rising events to each cell: their number, sum, and sum of squares."""
    group = slot * cells["gaps"].shape[1] + place
    # A cell begins at zero, which means no event yet: so it keeps the second plus one.
    last = running_maxima(group, second + 1, cells["last_s"][slot, place].astype(np.int64))
    scatter.raise_to(cells["last_s"], slot, place, second + 1)
    rises = np.flatnonzero((last > 0) & (second + 1 >= last))
    start = cells["gaps"][slot[rises], place[rises]].astype(np.int64)
    number = running_totals(group[rises], np.ones(len(rises), np.int64), start)
    rises = rises[number <= GAPS_MAX]
    slot, place, gap = slot[rises], place[rises], (second + 1 - last)[rises]
    scatter.add(cells["gaps"], slot, place, np.ones(len(rises), np.int64))
    scatter.add(cells["span_s"], slot, place, gap)
    scatter.add(cells["squares"], slot, place, gap * gap)


def _is_steady(sums: Mapping[str, NDArray], percent: int) -> Mask:
    """Whether the gaps' standard deviation is at most `percent` of their mean.

    It is exact: there are at most 65,535 gaps, which sum up to at most 25 hours, so that no product
    needs more than 63 bits.
    """
    gaps, span, squares = (sums[name].astype(np.int64) for name in ("gaps", "span_s", "squares"))
    return (span > 0) & ((gaps * squares - span * span) * 10_000 <= percent**2 * span * span)
