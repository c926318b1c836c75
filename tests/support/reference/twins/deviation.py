"""Weeks against a cohort: every value written out and sorted, no histogram but the given ones."""

from collections import defaultdict
from datetime import date, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from schemas.events import Data, Sms, Voice
from schemas.records import CohortAverage
from tests.support.reference import naive
from tests.support.reference.scored import histories_of, kind_of
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, choices

FEATURES = ("frequency", "connection", "data_share", "sms_share", "voice_share")


class Weeks:
    """Local weeks, by the number of their Monday."""

    kind = "week"

    def __init__(self, zone):
        self.zone = zone

    def of(self, time_ms):
        day = naive.local(time_ms, self.zone).date()
        return (day - timedelta(days=day.weekday())).toordinal() // 7

    def start_ms(self, number):
        day = date.fromordinal(number * 7)
        day += timedelta(days=1)
        return naive.instant_ms(day.year, day.month, day.day, self.zone)


def middle_of(feature, number):
    """An eighth of a doubling stands for itself, one per cent for its middle."""
    return min(1000, 10 * number + 5) if feature.endswith("share") else number


def scaled(feature, value):
    """Shares as they are; events and seconds in whole eighths of doublings."""
    if feature.endswith("share"):
        return value
    return next(n for n in range(600) if 2 ** (n + 1) > (value + 1) ** 8)


def middle_one(values):
    return sorted(values)[(len(values) - 1) // 2]


class Twin:
    """Every customer's week, and what came in of each cohort."""

    name, reads = "deviation", ("data", "sms", "voice")

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.plans = plans
        self.weeks = Weeks(ZoneInfo(policy.timezone))
        self.events = defaultdict(list)
        self.known = defaultdict(dict)
        self.scores = {}
        self.regular = set()

    def accepts(self, event, watermark_ms):
        late_ms = self.parameters.lateness_hours * HOUR_MS
        return self.weeks.of(event.event_time_ms) >= self.weeks.of(watermark_ms - late_ms)

    def feed(self, event, watermark_ms):
        if self.accepts(event, watermark_ms) and is_own(event):
            self.events[event.customer_id, self.weeks.of(event.event_time_ms)].append(event)
        return ()

    def take_mean(self, average):
        week = self.weeks.of(average.period_start_ms)
        cohort, feature = average.cohort.split("/")
        known = self.known[week, cohort]
        if feature in known:
            return
        known[feature] = [
            middle_of(feature, number)
            for number, count in average.histogram.items()
            for _ in range(count)
        ]
        smallest = min(len(values) for values in known.values())
        if len(known) < len(FEATURES) or smallest < self.parameters.cohort_min:
            return
        for who in sorted({who for who, w in self.events if w == week}):
            plan = self.plans.of(who)
            values = self.values(who, week)
            if (getattr(plan, "cohort", None) or plan.plan) == cohort and values:
                yield from self.breaches(who, week, values, known)

    def values(self, who, week):
        used = self.events[who, week]
        counts = dict.fromkeys(self.reads, 0)
        connected_ms = 0
        for event in used:
            counts[kind_of(event)] += getattr(event, "partial_sequence", None) in (None, 1)
            connected_ms += getattr(event, "duration_ms", None) or 0
        total = sum(counts.values())
        if not total:
            return None
        shares = {f"{kind}_share": count * 1000 // total for kind, count in counts.items()}
        return {"frequency": total, "connection": connected_ms // 1000} | shares

    def breaches(self, who, week, values, known):
        least = defaultdict(lambda: self.parameters.share_deviation_min)
        least["frequency"] = least["connection"] = self.parameters.eighths_deviation_min
        scores = []
        for feature in FEATURES:
            middle = middle_one(known[feature])
            apart = middle_one([abs(value - middle) for value in known[feature]])
            deviation = Fraction(14826, 10000) * max(apart, least[feature])
            if feature.endswith("share") and values["frequency"] < self.parameters.mix_events_min:
                scores.append(0)
                continue
            scores.append((scaled(feature, values[feature]) - middle) * 1000 // deviation)
        if max(scores) < self.parameters.z_min * 1000:
            return
        self.scores[who, week] = max(scores)
        yield self.found(who, "breach", week)
        needed, window = self.parameters.regular_periods, self.parameters.regular_window
        breaches = sorted(w for other, w in self.scores if other == who)
        for last in breaches:
            company = [w for w in breaches if last - window < w <= last]
            if len(company) >= needed and (who, last) not in self.regular:
                self.regular.add((who, last))
                yield self.found(who, "regular", last)

    def found(self, who, level, week):
        return naive.Found(
            rule=self.name,
            customer_id=who,
            level=level,
            kind="week",
            start_ms=self.weeks.start_ms(week),
            event_time_ms=self.weeks.start_ms(week + 1),
            observed=self.scores[who, week],
            limit=self.parameters.z_min * 1000,
        )


def is_own(event):
    """What the customer did, a message once."""
    if isinstance(event, Sms):
        return event.direction == "mo" and event.segment_number in (None, 1)
    return not isinstance(event, Voice) or event.direction == "mo"


LOW = {
    "z_min": 1,
    "cohort_min": 2,
    "eighths_deviation_min": 1,
    "mix_events_min": 3,
    "share_deviation_min": 100,
    "regular_periods": 2,
    "regular_window": 3,
    "retention_periods": 52,
}
SESSIONS = choices(bytes_uplink=(1,), bytes_downlink=(0,), duration_ms=(None, 0, 999, 5000, 9000))
TEXTS = choices(recipient=("r",), direction=("mo", "mo", "mt"), segment_number=(None, None, 2))
CALLS = choices(
    other_party=("a",),
    duration_ms=(0, 1000, 3000),
    direction=("mo", "mo", "mt"),
    partial_sequence=(None, None, 1, 2),
)
JITTERS_MS = (0, -1, HOUR_MS, 23 * HOUR_MS, 47 * HOUR_MS, 49 * HOUR_MS)
EVENTS = histories_of([(Data, SESSIONS), (Sms, TEXTS), (Voice, CALLS)], 5 * DAY_MS, JITTERS_MS)
HISTOGRAMS = st.sampled_from(({0: 3}, {8: 2, 12: 1}, {0: 1, 8: 1, 50: 2}, {8: 1}))
SPREADS = st.tuples(
    st.integers(0, 2),
    st.sampled_from(("unknown", "unknown", "fast")),
    st.permutations(FEATURES),
    st.sampled_from((5, 5, 5, 4)),
    HISTOGRAMS,
)


@st.composite
def with_cohorts(draw):
    """Use over weeks; in between and after it, what is known of cohorts, in any order."""
    history = draw(EVENTS)
    weeks = Weeks(naive.ZoneInfo("Europe/Brussels"))
    first = weeks.of(min((event.event_time_ms for event in history), default=DAY_MS * 20_000))
    for after, cohort, features, count, histogram in draw(st.lists(SPREADS, max_size=4)):
        place = draw(st.sampled_from((len(history), len(history), 0, len(history) // 2)))
        averages = [
            CohortAverage(
                rule="deviation",
                cohort=f"{cohort}/{feature}",
                period_start_ms=weeks.start_ms(first + after),
                period_end_ms=weeks.start_ms(first + after + 1),
                total=1,
                customers=sum(histogram.values()),
                histogram=histogram,
            )
            for feature in features[:count]
        ]
        history[place:place] = averages
    return history


CASES = {
    "weeks": ({}, with_cohorts()),
    "strict": ({"z_min": 3, "lateness_hours": 0}, with_cohorts()),
}
