"""Bytes written in a day against the mean of the cohort, day by day."""

from collections import defaultdict
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from schemas.events import Storage
from schemas.records import CohortAverage
from tests.support.reference.naive import Days, Found
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, MIDNIGHTS_MS, ZONE, choices, events_of

NAMES = ("unknown", "unknown", "fast", "pocket", "elsewhere")


class Twin:
    """Remembers every day for ever, and compares it with the first mean that comes of it."""

    name, reads = "storage_flood", ("storage",)

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.plans = plans
        self.days = Days(ZoneInfo(policy.timezone))
        self.written = defaultdict(int)
        self.means = {}

    def last_closed(self, watermark_ms):
        return self.days.of(watermark_ms - self.parameters.lateness_hours * HOUR_MS) - 1

    def accepts(self, event, watermark_ms):
        return self.days.of(event.event_time_ms) > self.last_closed(watermark_ms)

    def feed(self, event, watermark_ms):
        if self.accepts(event, watermark_ms):
            day = self.days.of(event.event_time_ms)
            self.written[event.customer_id, day] += event.written_bytes or 0
        return ()

    def take_mean(self, average):
        key = (self.days.of(average.period_start_ms), average.cohort)
        if key not in self.means:
            self.means[key] = (average.total, average.customers)
            yield from self.breaches(*key)

    def breaches(self, day, cohort):
        total, customers = self.means[day, cohort]
        if customers < self.parameters.cohort_min or total == 0:
            return
        ten_times = Fraction(str(self.parameters.ratio)) * Fraction(total, customers)
        limit = max(
            -(-ten_times.numerator // ten_times.denominator), self.parameters.at_least_bytes
        )
        for (who, of_day), written in list(self.written.items()):
            if of_day == day and written >= limit and self.cohort_of(who) == cohort:
                yield Found(
                    rule=self.name,
                    customer_id=who,
                    level="breach",
                    kind="day",
                    start_ms=self.days.start_ms(day),
                    event_time_ms=self.days.start_ms(day + 1),
                    observed=written,
                    limit=limit,
                )

    def cohort_of(self, who):
        plan = self.plans.of(who)
        return getattr(plan, "cohort", None) or plan.plan


DAYS = Days(ZONE)
WRITTEN = choices(written_bytes=(0, 40, 40, 60, 60, 2**53, None))
MEANS = choices(total=(50, 50, 1, 100, 0), customers=(2, 2, 3, 1))


def mean_of(day, cohort, total, customers):
    """The mean of a day."""
    return CohortAverage(
        rule="storage_flood",
        cohort=cohort,
        period_start_ms=DAYS.start_ms(day),
        period_end_ms=DAYS.start_ms(day + 1),
        total=total,
        customers=customers,
    )


@st.composite
def days_with_means(draw, spread):
    """Days of writing, with means that come before and after their days are closed, or twice."""
    history = draw(events_of(Storage, WRITTEN, spread=spread, used_bytes=1))
    days = sorted({DAYS.of(event.event_time_ms) for event in history}) or [740_000]
    keys = st.tuples(st.sampled_from(days), st.sampled_from(NAMES))
    for day, cohort in draw(st.lists(keys, min_size=3, max_size=16)):
        place = draw(st.integers(0, len(history)))
        history.insert(place, mean_of(day, cohort, **draw(MEANS)))
    return history


def written(day, amount, customer_id, number):
    return Storage(
        event_id=f"w-{number}",
        customer_id=customer_id,
        event_time_ms=MIDNIGHTS_MS[0] + day * DAY_MS + 12 * HOUR_MS,
        written_bytes=amount,
    )


FIRST = DAYS.of(MIDNIGHTS_MS[0] + 12 * HOUR_MS)

LOW = {"ratio": 1.5, "at_least_bytes": 41, "cohort_min": 2, "candidates_max": 100}
CASES = {
    "days": ({}, days_with_means(DAY_MS)),
    "weeks": ({}, days_with_means(7 * DAY_MS)),
    "no_lateness": ({"lateness_hours": 0, "at_least_bytes": 1}, days_with_means(7 * HOUR_MS)),
}
EDGES = {
    "a mean that comes before the day is closed, and again after it": (
        {},
        [
            written(0, 80, "c1", 0),
            mean_of(FIRST, "fast", 100, 2),
            written(4, 1, "c0", 1),
            mean_of(FIRST, "fast", 100, 2),
        ],
    ),
    "a week without any event before the day is closed": (
        {},
        [written(0, 80, "c1", 0), written(8, 1, "c1", 1), mean_of(FIRST, "fast", 100, 2)],
    ),
    "two cohorts of one day": (
        {},
        [
            written(0, 80, "c1", 0),
            written(0, 75, "c0", 1),
            written(0, 74, "ünlimited/2", 2),
            written(4, 1, "c1", 3),
            mean_of(FIRST, "fast", 100, 2),
            mean_of(FIRST, "unknown", 100, 2),
            mean_of(FIRST, "pocket", 100, 2),
        ],
    ),
}
