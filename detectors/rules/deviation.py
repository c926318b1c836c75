"""Use that is far from that of other customers: how often, how long, and of which kinds."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.kernels.running import group_starts
from detectors.periods.calendar import calendar
from detectors.periods.closing import PeriodCloser
from detectors.periods.regular import Regularly, RegularParameters
from detectors.rules.contract import (
    Batch,
    Correction,
    Customers,
    Declaration,
    Hit,
    Level,
    PeriodSums,
    RuleOutput,
    Standing,
)
from detectors.rules.families.closing import ClosingRuleBase
from detectors.rules.families.cohort_spread import (
    FEATURES,
    KINDS,
    LOGARITHMIC,
    Spread,
    scaled,
    spread_of,
    sum_of,
)
from detectors.state.columns import Field
from detectors.state.period_columns import PeriodColumns
from schemas.amounts import Unit
from schemas.policy import LIVE, Policy, Positive
from schemas.records import CohortAverage, Window
from schemas.safeguards import SUBSCRIPTION
from schemas.units import HOUR_MS, Ints, Mask

WEEKS_MAX = 52
"""Weeks whose cohorts are remembered, and how far behind a kind or a cohort's sum may be."""

SCALE, SCALE_UNIT = 14_826, 10_000
"""1.4826 median absolute deviations are a standard deviation of the normal distribution."""


Z_SCORE = Unit(
    "deviation per mille",
    "use that is far from that of other customers",
    symbol="deviations",
    per=1_000,
    digits=1,
)


class DeviationParameters(RegularParameters, kw_only=True, frozen=True):
    """A robust z-score of `z_min` or more counts; a smaller cohort than `cohort_min` has none.

    Cohorts whose customers are nearly alike are taken to differ by the least deviations:
    `eighths_deviation_min` (of a doubling of events or seconds), `share_deviation_min` (per mille).
    The mix of fewer than `mix_events_min` events a week says nothing.
    A week closes `lateness_hours` past its end; `retention_periods` is how many weeks a kind may be
    ahead of the others, or a cohort's sum may take to come.
    """

    z_min: Annotated[int, Meta(ge=1, le=1000), LIVE]
    cohort_min: Annotated[Positive, LIVE]
    eighths_deviation_min: Annotated[int, Meta(ge=1, le=1_000), LIVE]
    mix_events_min: Annotated[Positive, LIVE]
    share_deviation_min: Annotated[int, Meta(ge=1, le=1_000), LIVE]
    lateness_hours: Annotated[int, Meta(ge=0, le=7 * 24 - 1)]
    retention_periods: Annotated[int, Meta(ge=1, le=WEEKS_MAX)]

    def __post_init__(self) -> None:
        """Refuse what would not fit."""
        super().__post_init__()
        if self.regular_window > WEEKS_MAX:
            raise ValueError(f"more than {WEEKS_MAX} weeks can't be kept")


class Deviation(ClosingRuleBase):
    """Hold each customer's calendar week against the others' of the same cohort.

    Robust z-score: (value - median) / (1.4826 x median absolute deviation), over the customers of
    all partitions who used anything in the week. Values: the logarithms of events (own calls and
    texts, data sessions) and of seconds of calls and sessions, in eighths of a doubling, for use is
    spread by factors; and each kind's share of the events.
    What it catches: weeks with a score of `z_min` or more in any of them, and those that make it
    "regularly".
    What it misses: use far below the others'; cohorts in which most are alike in their abuse, or
    differ as much as the students below, where 6 is a thousand times the median's events;
    a kind that is ahead of the others by more than `retention_periods` weeks when they close;
    corrections of events of a closed week. A call or session counts in the week in which it starts.
    Delay: the week's end plus `lateness_hours`, and until every partition has closed it.
    False alarms: customers of a cohort who live otherwise than the others, as one who never calls
    among callers. Of 9,000 generated customers (docs/CURVES.md, seeds 1 to 3) nobody was wrongly
    found, nor of 579 students of the Copenhagen Networks Study, eight of whom reach 4 in a week.
    Bins of 9 % (events, seconds) and of one per cent (shares) move the median by up to half a bin.

    References
    ----------
    Clause base-mobile 6.3.1(vi). Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993).
    """

    name: ClassVar[str] = "deviation"
    declaration: ClassVar[Declaration] = Declaration(
        section="Who it is",
        services=SUBSCRIPTION,
        units=(Z_SCORE,),
        period="week",
        what="events, connection time and mix of a week against the cohort's median",
        limit="robust z-score of {z_min}, or more",
        misses="use far below the others'; cohorts of fewer than {cohort_min}; known only two days "
        "after the week",
    )
    reads: ClassVar[tuple[str, ...]] = KINDS
    longest_ms: ClassVar[int] = 0
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "data": ("duration_ms",),
        "sms": ("is_sent",),
        "voice": ("is_originated", "is_first_part", "duration_ms"),
    }
    siblings_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[DeviationParameters]] = DeviationParameters

    def __init__(self, parameters: DeviationParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.weeks = calendar(policy.timezone, "week")
        # One more week than kinds may be ahead: late events reach into the last one.
        back = parameters.retention_periods + 1
        self.closing = PeriodCloser(self.weeks, parameters.lateness_hours * HOUR_MS, back)
        self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        connected = {"events": "<u2", "connected_ms": "<u4"}
        cells = {"data": connected, "sms": {"events": "<u2"}, "voice": connected}
        self.counted = {k: PeriodColumns(self.name, k, back, cells[k]) for k in self.reads}
        self.fields: tuple[Field, ...] = tuple(
            field for ring in self.counted.values() for field in ring.fields
        )
        share = parameters.share_deviation_min
        self.deviation_min = dict.fromkeys(FEATURES, share) | dict.fromkeys(
            LOGARITHMIC, parameters.eighths_deviation_min
        )
        self.limit = parameters.z_min * 1000
        self.spreads: dict[int, dict[str, dict[str, Spread]]] = {}
        self.breaches: dict[str, dict[int, dict[str, Any]]] = {}

    # -- events ---------------------------------------------------------------------------------

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's week is not closed for its kind."""
        return self.weeks.period_of(time_ms) > self.closing_period(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Add a batch to the weeks' events and connection times."""
        counted = self.counted[batch.kind]
        if counted.ring.newest < 0:
            self.closing.begin(batch.kind, batch.watermark_ms)
        counted.turn(columns, int(self.weeks.period_of(batch.watermark_ms[-1:])[0]))
        slot, week, amounts = self._amounts(batch)
        for name, amount in amounts.items():
            counted.add(columns, name, slot, week, amount)
        return []

    def _amounts(self, batch: Batch) -> tuple[Ints, Ints, dict[str, Ints]]:
        """Slot and week of what counts in weeks that are not closed, and what it adds to each."""
        fields, week = batch.fields, self.weeks.period_of(batch.time_ms)
        counts = self.accepts(batch.time_ms, batch.watermark_ms) & (week > self.closing.closed)
        if batch.kind == "sms":
            counts &= fields["is_sent"]
        elif batch.kind == "voice":
            counts &= fields["is_originated"]
        row = np.flatnonzero(counts)
        amounts = {"events": np.ones(len(row), np.int64)}
        if batch.kind != "sms":
            amounts["connected_ms"] = np.maximum(fields["duration_ms"][row], 0)
        if batch.kind == "voice":
            amounts["events"] = fields["is_first_part"][row].astype(np.int64)
        return batch.slot[row], week[row], amounts

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Take events off their weeks, unless these are closed; a full cell stays."""
        slot, week, amounts = self._amounts(batch)
        for name, amount in amounts.items():
            self.counted[batch.kind].take_off(columns, name, slot, week, amount)
        return []

    # -- closed weeks ---------------------------------------------------------------------------

    def close_periods(
        self, columns: Mapping[str, NDArray], weeks: range, customers: Customers
    ) -> RuleOutput:
        """This partition's share of every week that all kinds have passed."""
        return RuleOutput(sums=tuple(self._share(columns, week, customers) for week in weeks))

    def _share(self, columns: Mapping[str, NDArray], week: int, customers: Customers) -> PeriodSums:
        slot, values = self._values(columns, week, np.arange(customers.directory.size))
        cohort = customers.cohort(slot)
        order = np.argsort(cohort, kind="stable")
        sums = []
        for rows in np.split(order, group_starts(cohort[order])[1:]) if len(order) else ():
            name = customers.cohort_name(int(cohort[rows[0]]))
            sums += [sum_of(name, feature, values[feature][rows]) for feature in FEATURES]
        return PeriodSums(*self.weeks.bounds(week), tuple(sums))

    def _values(
        self, columns: Mapping[str, NDArray], week: int, slot: Ints
    ) -> tuple[Ints, dict[str, Ints]]:
        """Those of the customers who used anything in a week, and each feature of theirs."""
        nothing = np.zeros(len(slot), np.int64)
        events, connected = {}, nothing
        for kind, counted in self.counted.items():
            cells = counted.at(columns, week) if counted.holds(week) else {}
            events[kind] = cells["events"][slot].astype(np.int64) if cells else nothing
            if "connected_ms" in cells:
                connected = connected + cells["connected_ms"][slot]
        total = sum(events.values(), nothing)
        used = np.flatnonzero(total)
        total = total[used]
        shares = {f"{kind}_share": count[used] * 1000 // total for kind, count in events.items()}
        return slot[used], {"frequency": total, "connection": connected[used] // 1000} | shares

    def take_mean(
        self, columns: Mapping[str, NDArray], average: CohortAverage, customers: Customers
    ) -> list[Hit]:
        """Take in how one feature lies in a cohort; with the last one, judge its customers."""
        week = int(self.weeks.period_of(np.array([average.period_start_ms]))[0])
        cohort, _, feature = average.cohort.rpartition("/")
        known = self.spreads.setdefault(week, {}).setdefault(cohort, {})
        if feature in known or feature not in FEATURES:
            return []
        known[feature] = spread_of(feature, average)
        hits = []
        if len(known) == len(FEATURES):
            hits = list(self._judged(columns, week, cohort, known, customers))
        newest = max(self.spreads)
        self.spreads = {w: kept for w, kept in self.spreads.items() if w > newest - WEEKS_MAX}
        self._forget(newest - WEEKS_MAX - self.regularly.window)
        return hits

    def judge_by_given_means(
        self,
        columns: Mapping[str, NDArray],
        period_start_ms: int,
        given: Mapping[str, Any],
        customers: Customers,
    ) -> list[Hit]:
        """Judge a closed week by how a finding's evidence says that the cohort lies."""
        week = int(self.weeks.period_of(np.array([period_start_ms]))[0])
        spreads = {
            name: Spread(given["cohort_customers"], feature["median"], feature["deviation"])
            for name, feature in given["features"].items()
        }
        return list(self._judged(columns, week, given["cohort"], spreads, customers))

    def _judged(
        self,
        columns: Mapping[str, NDArray],
        week: int,
        cohort: str,
        spreads: Mapping[str, Spread],
        customers: Customers,
    ) -> Iterator[Hit]:
        """The customers of a cohort whose week is far from the others'."""
        if min(spread.customers for spread in spreads.values()) < self.parameters.cohort_min:
            return
        slot = np.arange(customers.directory.size)
        of_each = customers.cohort(slot)
        names = {each: customers.cohort_name(each) for each in np.unique(of_each).tolist()}
        named = np.array([each for each, name in names.items() if name == cohort], np.uint64)
        slot, values = self._values(columns, week, slot[np.isin(of_each, named)])
        scores = {name: self._scores(name, values, spreads[name]) for name in FEATURES}
        highest = np.max(list(scores.values()), axis=0, initial=0)
        for at in np.flatnonzero(highest >= self.limit).tolist():
            features = {
                name: {
                    "value": int(values[name][at]),
                    "median": spreads[name].median,
                    "deviation": self._deviation(name, spreads[name]),
                    "z_per_mille": int(scores[name][at]),
                }
                for name in FEATURES
            }
            size = spreads[FEATURES[0]].customers
            more = {"cohort": cohort, "cohort_customers": size, "features": features}
            yield from self._hits(int(slot[at]), week, int(highest[at]), more, customers)

    def _deviation(self, feature: str, spread: Spread) -> int:
        return max(spread.deviation, self.deviation_min[feature])

    def _scores(self, feature: str, values: Mapping[str, Ints], spread: Spread) -> Ints:
        """Robust z-score of each value, per mille, shape (n,)."""
        deviations = SCALE * self._deviation(feature, spread)
        apart = scaled(feature, values[feature]) - spread.median
        scores = apart * (1000 * SCALE_UNIT) // deviations
        if feature in LOGARITHMIC:
            return scores
        return np.where(values["frequency"] < self.parameters.mix_events_min, 0, scores)

    def _hits(
        self, slot: int, week: int, score: int, more: dict[str, Any], customers: Customers
    ) -> Iterator[Hit]:
        """The breach, with every week it makes regular."""
        breaches = self.breaches.setdefault(customers.directory.name(slot).decode(), {})
        breaches[week] = {"observed": score, **more}
        yield self._hit(slot, "breach", week, week, breaches[week])
        for last in self.regularly.completed_by(breaches, week):
            counts = self.regularly.evidence(breaches, last, lambda w: self.weeks.bounds(w)[0])
            yield self._hit(slot, "regular", last, week, breaches[last] | counts)

    def _hit(
        self, slot: int, level: Level, week: int, judged: int, evidence: dict[str, Any]
    ) -> Hit:
        start_ms, end_ms = self.weeks.bounds(week)
        return Hit(
            slot=slot,
            event_time_ms=max(end_ms, self.weeks.bounds(judged)[1]),
            level=level,
            window=Window(kind="week", start_ms=start_ms, end_ms=end_ms),
            observed=evidence["observed"],
            limit=self.limit,
            unit=f"{self.name} per mille",
            offset=None,
            evidence=evidence,
        )

    def _forget(self, first: int) -> None:
        """Drop breaches before a week."""
        kept = (
            (name, {week: seen for week, seen in weeks.items() if week >= first})
            for name, weeks in self.breaches.items()
        )
        self.breaches = {name: weeks for name, weeks in kept if weeks}

    # -- state ----------------------------------------------------------------------------------

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Empty the cells that later weeks took over since a row was written."""
        self.counted[kind].catch_up(columns, slots, self.weeks.period_of(written_ms))

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest week's events, which have no limit before the others' are known."""
        week = max(counted.ring.newest for counted in self.counted.values())
        if week < 0:
            return []
        _, values = self._values(columns, week, np.array([slot]))
        start_ms, end_ms = self.weeks.bounds(week)
        window = Window(kind="week", start_ms=start_ms, end_ms=end_ms)
        observed = int(values["frequency"].sum())
        return [Standing(window=window, observed=observed, limit=None, unit="events")]

    def remember(self) -> Any:
        """How far weeks are closed, what is known of cohorts, and the latest breaches."""
        newest = {kind: counted.ring.newest for kind, counted in self.counted.items()}
        breaches = [[name, list(weeks.items())] for name, weeks in self.breaches.items()]
        spreads = [
            [week, cohort, feature, *spread]
            for week, cohorts in self.spreads.items()
            for cohort, features in cohorts.items()
            for feature, spread in features.items()
        ]
        return [newest, self.closing.remember(), spreads, breaches]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        newest, closing, spreads, breaches = memory
        for kind, week in newest.items():
            self.counted[kind].ring.newest = week
        self.closing.recall(closing)
        self.spreads = {}
        for week, cohort, feature, *spread in spreads:
            known = self.spreads.setdefault(week, {}).setdefault(cohort, {})
            known[feature] = Spread(*spread)
        self.breaches = {name: dict(weeks) for name, weeks in breaches}
