"""Use that is far from that of other customers: how often, how long, and of which kinds."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.periods.calendar import calendar
from detectors.periods.closing import PeriodCloser
from detectors.periods.regular import Regularly, RegularParameters
from detectors.rules.contract import Batch, Customers, Declaration, Hit, Level, Standing
from detectors.rules.families.cohort import (
    CohortMemory,
    CohortRuleBase,
    PeriodView,
    by_cohort,
    slots_of,
)
from detectors.rules.families.cohort_spread import (
    FEATURES,
    KINDS,
    LOGARITHMIC,
    Spread,
    scaled,
    spread_of,
    sum_of,
)
from schemas.amounts import Unit
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.records import CohortAverage, CohortSum
from schemas.safeguards import SUBSCRIPTION
from schemas.units import HOUR_MS, Ints

WEEKS_MAX = 52
"""Weeks whose means are kept, and the most that a kind of event or a mean may be behind."""

CONNECTED = ("data", "voice")
"""Kinds of event that last."""

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
    """A robust z-score of `z_min` or more is a breach; cohorts under `cohort_min` are left out.

    In cohorts whose customers are nearly alike the deviation is taken to be at least
    `eighths_deviation_min` (eighths of a doubling of events or seconds) or `share_deviation_min`
    (per mille). Shares are not compared for weeks of fewer than `mix_events_min` events. A week
    closes when every kind's watermark is `lateness_hours` past its end. `retention_periods` is how
    many weeks one kind of event may be ahead of the others, or a mean may take to come.
    """

    z_min: Annotated[int, Meta(ge=1, le=1000), LIVE]
    cohort_min: Annotated[Positive, LIVE]
    eighths_deviation_min: Annotated[int, Meta(ge=1, le=1_000), LIVE]
    mix_events_min: Annotated[Positive, LIVE]
    share_deviation_min: Annotated[int, Meta(ge=1, le=1_000), LIVE]
    lateness_hours: Annotated[int, Meta(ge=0, le=7 * 24 - 1)]
    retention_periods: Annotated[int, Meta(ge=1, le=WEEKS_MAX)]

    def __post_init__(self) -> None:
        """Refuse more weeks than can be kept."""
        super().__post_init__()
        if self.regular_window > WEEKS_MAX:
            raise ValueError(f"more than {WEEKS_MAX} weeks can't be kept")


class DeviationMemory(CohortMemory[Spread]):
    """What the family remembers, and the weeks in breach with their evidence by customer."""

    breaches: dict[str, dict[int, dict[str, Any]]]


class Deviation(CohortRuleBase[Spread]):
    """Compare each customer's calendar week with those of the others of the same cohort.

    Robust z-score: (value - median) / (1.4826 x median absolute deviation), over the customers of
    all partitions who used anything in the week. The values are the logarithm of the number of
    events (own calls and texts, data sessions), the logarithm of the seconds of calls and sessions,
    and each kind's share of the events. Logarithms, in eighths of a doubling, because customers'
    use differs by factors.
    What it catches: weeks with a score of `z_min` or more in any value, and weeks that make this
    "regularly".
    What it misses: use far below the others'; cohorts in which most customers abuse the service
    alike, or differ as much as the students below, among whom a score of 6 means a thousand times
    the median's events; a kind of event that is more than `retention_periods` weeks ahead when the
    others close a week; corrections of events of a closed week. A call or session counts in the
    week in which it starts.
    Delay: the week's end plus `lateness_hours`, and until every partition has closed the week.
    False alarms: customers who live otherwise than their cohort, such as one who never calls among
    callers. Of 9,000 generated customers (docs/CURVES.md, seeds 1 to 3) nobody was wrongly
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
    Parameters: ClassVar[type[RuleParameters]] = DeviationParameters
    parts: ClassVar[tuple[str, ...]] = FEATURES
    means_kept: ClassVar[int] = WEEKS_MAX
    Memory: ClassVar[Any] = CohortMemory[Spread]

    def __init__(self, parameters: DeviationParameters, policy: Policy) -> None:
        self.parameters = parameters
        # One week more than kinds may be ahead, because late events reach into the last one.
        back = parameters.retention_periods + 1
        lateness_ms = parameters.lateness_hours * HOUR_MS
        closing = PeriodCloser(calendar(policy.timezone, "week"), lateness_ms, back)
        connected = {"events": "<u2", "connected_ms": "<u4"}
        cells = {"data": connected, "sms": {"events": "<u2"}, "voice": connected}
        super().__init__(closing, back, cells)
        self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        share = parameters.share_deviation_min
        self.deviation_min = dict.fromkeys(FEATURES, share) | dict.fromkeys(
            LOGARITHMIC, parameters.eighths_deviation_min
        )
        self.limit = parameters.z_min * 1000
        self.breaches: dict[str, dict[int, dict[str, Any]]] = {}

    def amounts(self, batch: Batch) -> dict[str, Ints]:
        """Events that the customer began, and how long the connections lasted, shape (n,)."""
        fields = batch.fields
        if batch.kind == "sms":
            return {"events": fields["is_sent"].astype(np.int64)}
        if batch.kind == "data":
            return {
                "events": np.ones(len(batch.slot), np.int64),
                "connected_ms": fields["duration_ms"],
            }
        own = fields["is_originated"]
        return {
            "events": (own & fields["is_first_part"]).astype(np.int64),
            "connected_ms": np.where(own, fields["duration_ms"], 0),
        }

    # -- closed weeks ---------------------------------------------------------------------------

    def cohort_sums(self, closed: PeriodView) -> list[CohortSum]:
        """Each feature of each cohort, over the customers who used anything in the week."""
        everybody = np.arange(closed.customers.directory.size)
        slot, values = self._values(closed.columns, closed.period, everybody)
        return [
            sum_of(cohort, feature, values[feature][rows])
            for cohort, rows in by_cohort(slot, closed.customers)
            for feature in FEATURES
        ]

    def _values(
        self, columns: Mapping[str, NDArray], week: int, slot: Ints
    ) -> tuple[Ints, dict[str, Ints]]:
        """The customers who used anything in a week, and each feature of their use."""
        counted = self.counted
        events = {k: each.amounts_in(columns, "events", week, slot) for k, each in counted.items()}
        lasted = [counted[k].amounts_in(columns, "connected_ms", week, slot) for k in CONNECTED]
        connected, total = np.sum(lasted, axis=0), np.sum(list(events.values()), axis=0)
        used = np.flatnonzero(total)
        total = total[used]
        shares = {f"{kind}_share": count[used] * 1000 // total for kind, count in events.items()}
        return slot[used], {"frequency": total, "connection": connected[used] // 1000} | shares

    def split(self, cohort: str) -> tuple[str, str]:
        """The cohort's name and the feature."""
        name, _, feature = cohort.rpartition("/")
        return name, feature

    def mean_of(self, part: str, average: CohortAverage) -> Spread:
        """Median and deviation of the feature."""
        return spread_of(part, average)

    def means_in(self, given: Mapping[str, Any]) -> tuple[str, dict[str, Spread]]:
        """The cohort, and how its features are spread."""
        spreads = {
            name: Spread(given["cohort_customers"], feature["median"], feature["deviation"])
            for name, feature in given["features"].items()
        }
        return given["cohort"], spreads

    def find_breaches(
        self, closed: PeriodView, cohort: str, means: Mapping[str, Spread]
    ) -> list[Hit]:
        """The customers of a cohort whose week is far above the others', in the order of slots."""
        self._forget(max(self.means) - WEEKS_MAX - self.regularly.window)
        if min(spread.customers for spread in means.values()) < self.parameters.cohort_min:
            return []
        members = slots_of(cohort, closed.customers)
        slot, values = self._values(closed.columns, closed.period, members)
        scores = {name: self._scores(name, values, means[name]) for name in FEATURES}
        highest = np.max(list(scores.values()), axis=0, initial=0)
        hits = []
        for at in np.flatnonzero(highest >= self.limit).tolist():
            features = {
                name: {
                    "value": int(values[name][at]),
                    "median": means[name].median,
                    "deviation": self._deviation(name, means[name]),
                    "z_per_mille": int(scores[name][at]),
                }
                for name in FEATURES
            }
            size = means[FEATURES[0]].customers
            more = {"cohort": cohort, "cohort_customers": size, "features": features}
            who = closed.customers.directory.name(int(slot[at])).decode()
            breaches = self.breaches.setdefault(who, {})
            breaches[closed.period] = {"observed": int(highest[at]), **more}
            hits += self._hits(int(slot[at]), closed.period, breaches)
        return hits

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

    def _hits(self, slot: int, week: int, breaches: Mapping[int, dict[str, Any]]) -> Iterator[Hit]:
        """The breach, with every week it makes regular."""
        yield self._hit(slot, week, breaches[week], "breach")
        for last, counts in self.regularly.completed(breaches, week, self.periods):
            yield self._hit(slot, last, breaches[last] | counts, "regular")

    def _hit(self, slot: int, week: int, evidence: dict[str, Any], level: Level) -> Hit:
        score = evidence["observed"]
        return self.closed_hit(slot, week, score, self.limit, Z_SCORE, evidence, level)

    def _forget(self, first: int) -> None:
        """Drop breaches before a week."""
        kept = (
            (name, {week: seen for week, seen in weeks.items() if week >= first})
            for name, weeks in self.breaches.items()
        )
        self.breaches = {name: weeks for name, weeks in kept if weeks}

    # -- state ----------------------------------------------------------------------------------

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest week's events, which have no limit before the others' are known."""
        week = max(counted.ring.newest for counted in self.counted.values())
        if week < 0:
            return []
        _, values = self._values(columns, week, np.array([slot]))
        observed = int(values["frequency"].sum())
        return [
            Standing(window=self.periods.window(week), observed=observed, limit=None, unit="events")
        ]

    def remember(self) -> DeviationMemory:
        """What the family remembers, and the latest breaches."""
        kept = super().remember()
        return DeviationMemory(kept.newest, kept.closing, kept.means, self.breaches)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        super().recall(memory)
        self.breaches = msgspec.convert(memory, DeviationMemory).breaches
