"""Months of each service against twice its mean, one event at a time."""

from collections import defaultdict
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from schemas.events import Data, Sms, Voice
from schemas.records import CohortAverage
from tests.support.reference import naive
from tests.support.strategies.drawing import (
    DAY_MS,
    HOUR_MS,
    choices,
    events_of,
    month_of,
    month_start_ms,
)

LOW = {
    "ratio": 2,
    "messages_min": 2,
    "call_ms_min": 0,
    "bytes_min": 50,
    "cohort_min": 2,
    "retention_periods": 15,
}
KINDS = ("sms", "voice", "data")
TEXTS = events_of(
    Sms,
    choices(
        direction=("mo", "mo", "mt"),
        service=("sms", "sms", "mms"),
        segment_number=(None, None, 2),
    ),
    spread=17 * DAY_MS,
    recipient="r",
)
CALLS = events_of(
    Voice,
    choices(duration_ms=(0, HOUR_MS, 168 * HOUR_MS), direction=("mo", "mo", "mt")),
    spread=17 * DAY_MS,
    other_party="o",
)
SESSIONS = events_of(
    Data, choices(bytes_uplink=(0, 1, 40), bytes_downlink=(0, 60, 2**53)), spread=17 * DAY_MS
)
MEANS = {
    kind: choices(total=(1, *totals), customers=(2, 2, 2, 3, 4, 1))
    for kind, totals in {"sms": (2, 3), "voice": (0, 3 * HOUR_MS), "data": (100, 2**50)}.items()
}


def average_of(kind, month, mean):
    return CohortAverage(
        rule="usage_double",
        cohort=kind,
        period_start_ms=month_start_ms(month),
        period_end_ms=month_start_ms(month + 1),
        **mean,
    )


@st.composite
def histories(draw):
    """Kinds through one another, with means of months that come together or far apart."""
    kinds = [draw(kind) for kind in (TEXTS, CALLS, SESSIONS)]
    left = [iter(history) for history in kinds]
    turns = draw(st.permutations([n for n, h in enumerate(kinds) for _ in h]))
    history = [next(left[turn]) for turn in turns]
    months = sorted({month_of(event.event_time_ms) for event in history}) or [24_312]
    for month in draw(st.lists(st.sampled_from(months), max_size=8)):
        for kind in draw(st.permutations(KINDS)):
            place = draw(st.sampled_from((len(history), len(history) // 2)))
            history.insert(place, average_of(kind, month, draw(MEANS[kind])))
    return history


JANUARY = 2026 * 12
IN_JANUARY_MS = month_start_ms(JANUARY)
IN_FEBRUARY_MS = month_start_ms(JANUARY + 1) + 20 * DAY_MS


def used(event, number, time_ms, **fields):
    """Something that c0 used."""
    return event(event_id=f"e-{number}", customer_id="c0", event_time_ms=time_ms, **fields)


EDGES = {
    "two services over their limits, the smaller ratio first": (
        {},
        [
            *(used(Sms, number, IN_JANUARY_MS, recipient="r") for number in range(3)),
            used(Data, 3, IN_JANUARY_MS, bytes_uplink=400, bytes_downlink=0),
            average_of("data", JANUARY, {"total": 100, "customers": 2}),
            average_of("voice", JANUARY, {"total": 0, "customers": 2}),
            average_of("sms", JANUARY, {"total": 2, "customers": 2}),
            used(Sms, 4, IN_FEBRUARY_MS, recipient="r"),
            used(Voice, 5, IN_FEBRUARY_MS, duration_ms=0, other_party="o"),
            used(Data, 6, IN_FEBRUARY_MS, bytes_uplink=1, bytes_downlink=0),
        ],
    ),
}
CASES = {"services": ({}, histories()), "waiting": ({"lateness_hours": 20 * 24}, histories())}


class Twin:
    """Sums by service and month; a month is compared once all three means are there."""

    name, reads = "usage_double", KINDS

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.months = naive.Months(ZoneInfo(policy.timezone))
        self.used = defaultdict(int)
        self.newest = dict.fromkeys(KINDS, 0)
        self.means = defaultdict(dict)

    def accepts(self, event, watermark_ms):
        closed = self.months.of(watermark_ms - self.parameters.lateness_hours * HOUR_MS) - 1
        return self.months.of(event.event_time_ms) > closed

    def feed(self, event, watermark_ms):
        kind = type(event).__name__.lower()
        self.newest[kind] = self.months.of(watermark_ms)
        if self.accepts(event, watermark_ms):
            month = self.months.of(event.event_time_ms)
            self.used[kind, event.customer_id, month] += self.amount(event)
        return ()

    def amount(self, event):
        if isinstance(event, Data):
            return event.bytes_uplink + event.bytes_downlink
        if isinstance(event, Voice):
            return event.duration_ms if event.direction == "mo" else 0
        sent = event.direction == "mo" and event.service == "sms"
        return int(sent and event.segment_number in (None, 1))

    def take_mean(self, average):
        month = self.months.of(average.period_start_ms)
        means = self.means[month]
        if average.cohort in means:
            return
        means[average.cohort] = average
        if len(means) == len(KINDS):
            for who in sorted({who for _, who, _ in self.used}):
                yield from self.breaches(who, month, means)

    def breaches(self, who, month, means):
        ratios = {}
        for kind in KINDS:
            used, mean = self.used[kind, who, month], means[kind]
            if self.newest[kind] - self.parameters.retention_periods - 1 > month:
                continue
            if (limit := self.limit(kind, mean)) and used >= limit:
                ratio = Fraction(used * mean.customers * 1000, mean.total)
                ratios[kind] = (int(ratio), -KINDS.index(kind), used, limit)
        if ratios:
            _, _, used, limit = max(ratios.values())
            yield naive.Found(
                rule=self.name,
                customer_id=who,
                level="breach",
                kind="month",
                start_ms=self.months.start_ms(month),
                event_time_ms=self.months.start_ms(month + 1),
                observed=used,
                limit=limit,
            )

    def limit(self, kind, mean):
        if mean.customers < self.parameters.cohort_min or mean.total == 0:
            return None
        least = {"sms": "messages_min", "voice": "call_ms_min", "data": "bytes_min"}[kind]
        times = Fraction(self.parameters.ratio * mean.total, mean.customers)
        return max(getattr(self.parameters, least), -(-times.numerator // times.denominator))
