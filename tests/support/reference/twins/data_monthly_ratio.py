"""Bytes of a month against the mean of all who have the unlimited offer."""

from collections import defaultdict
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from schemas.events import Data
from schemas.records import CohortAverage
from tests.support.reference.naive import Found, Months
from tests.support.strategies.drawing import (
    DAY_MS,
    HOUR_MS,
    choices,
    events_of,
    month_of,
    month_start_ms,
)

LOW = {"ratio": 1.5, "cohort_min": 2}


class PeriodSums(NamedTuple):
    """A partition's part of a closed month."""

    start_ms: int
    total: int
    customers: int


class Twin:
    """Months against the mean of all customers with the unlimited offer."""

    name, reads = "data_monthly_ratio", ("data",)

    def __init__(self, policy, plans):
        self.parameters = parameters = policy.rules[self.name]
        self.plans = plans
        self.months = Months(ZoneInfo(policy.timezone))
        self.ratio = Fraction(str(parameters.ratio))
        self.kept = parameters.retention_periods + parameters.regular_window
        self.used = defaultdict(int)
        self.averages = {}
        self.regular = set()
        self.newest = self.closed = None
        self.shares = []

    def accepts(self, event, watermark_ms):
        newest = self.months.of(watermark_ms)
        return self.months.of(event.event_time_ms) >= newest - self.parameters.retention_periods

    def feed(self, event, watermark_ms):
        self.close(self.months.of(watermark_ms - self.parameters.lateness_hours * HOUR_MS) - 1)
        self.newest = max(self.newest or 0, self.months.of(watermark_ms))
        who, month = event.customer_id, self.months.of(event.event_time_ms)
        before = self.used[who, month]
        self.used[who, month] += event.bytes_uplink + event.bytes_downlink
        if "data" not in self.plans.of(who).unlimited:
            return
        after = self.used[who, month]
        if month in self.averages:
            if self.reaches(after, month) and not self.reaches(before, month):
                yield from self.breached(who, month, event.event_time_ms)
        elif self.reaches(after, month - 1) and not self.reaches(before, month - 1):
            yield self.found(who, "early", month, month - 1, event.event_time_ms)

    def close(self, last):
        """Put together the shares of the months up to this one, as far back as a new one holds."""
        first = last - self.kept + 1 if self.closed is None else self.closed + 1
        for month in range(first, last + 1):
            self.shares.append(self.share(month))
        self.closed = last if self.closed is None else max(self.closed, last)

    def share(self, month):
        total = customers = 0
        end_ms = self.months.start_ms(month + 1)
        users = {who for (who, m), used in self.used.items() if m == month and used}
        for who in users | set(self.plans.announced):
            announced = self.plans.announced.get(who)
            there = announced is None or announced.valid_from_ms < end_ms
            if there and "data" in self.plans.of(who).unlimited:
                total, customers = total + self.used[who, month], customers + 1
        return PeriodSums(self.months.start_ms(month), total, customers)

    def take_mean(self, average):
        """Take in a mean, and report who reaches the limit it makes."""
        month = self.months.of(average.period_start_ms)
        if month in self.averages:
            return
        self.averages[month] = (average.total, average.customers)
        ended_ms = self.months.start_ms(month + 1)
        for who in sorted({who for who, _ in self.used}):
            if "data" not in self.plans.of(who).unlimited:
                continue
            if self.holds(month) and self.reaches(self.used[who, month], month):
                yield from self.breached(who, month, ended_ms)
            running = month + 1 not in self.averages and self.holds(month + 1)
            if running and self.reaches(self.used[who, month + 1], month):
                closed_ms = ended_ms + self.parameters.lateness_hours * HOUR_MS
                yield self.found(who, "early", month + 1, month, closed_ms)

    def holds(self, month):
        return self.newest is not None and self.newest - self.kept <= month <= self.newest

    def reaches(self, used, mean_month):
        """`ratio` times the mean or more, if there is a mean."""
        total, customers = self.averages.get(mean_month, (0, 0))
        if customers < self.parameters.cohort_min or total == 0:
            return False
        return used >= self.ratio * Fraction(total, customers)

    def breached(self, who, month, time_ms):
        yield self.found(who, "breach", month, month, time_ms)
        needed, window = self.parameters.regular_periods, self.parameters.regular_window
        breaches = sorted(
            m for (w, m), used in self.used.items() if w == who and self.reaches(used, m)
        )
        for last in breaches:
            company = [m for m in breaches if last - window < m <= last]
            if len(company) >= needed and (who, last) not in self.regular:
                self.regular.add((who, last))
                yield self.found(who, "regular", last, last, time_ms)

    def found(self, who, level, month, mean_month, time_ms):
        total, customers = self.averages[mean_month]
        limit = self.ratio * Fraction(total, customers)
        return Found(
            rule=self.name,
            customer_id=who,
            level=level,
            kind="month",
            start_ms=self.months.start_ms(month),
            event_time_ms=time_ms,
            observed=self.used[who, month],
            limit=-(-limit.numerator // limit.denominator),
        )


BYTES = choices(bytes_uplink=(0, 1, 40), bytes_downlink=(0, 60, 60, 2**53))
MONTHS_OF_DATA = events_of(Data, BYTES, spread=17 * DAY_MS)
MEANS = choices(total=(50, 1, 100, 100, 0, 2**53), customers=(2, 3, 4, 1))


@st.composite
def data_with_means(draw):
    """Use over months, with means that come somewhere in between, a month's once or again."""
    history = draw(MONTHS_OF_DATA)
    months = sorted({month_of(event.event_time_ms) for event in history}) or [24_312]
    months = [months[0] - 1, *months]
    places = st.tuples(st.integers(0, len(history)), st.sampled_from(months), MEANS)
    for place, month, mean in draw(st.lists(places, max_size=7)):
        average = CohortAverage(
            rule="data_monthly_ratio",
            cohort="unlimited data",
            period_start_ms=month_start_ms(month),
            period_end_ms=month_start_ms(month + 1),
            **mean,
        )
        history.insert(place, average)
    return history


APRIL = 2026 * 12 + 3
APRIL_MS, MAY_MS = month_start_ms(APRIL), month_start_ms(APRIL + 1)


def used(number, time_ms, amount, customer_id="c0"):
    """Bytes that a customer used."""
    return Data(
        event_id=f"e-{number}",
        customer_id=customer_id,
        event_time_ms=time_ms,
        bytes_uplink=0,
        bytes_downlink=amount,
    )


MEAN_OF_APRIL = CohortAverage(
    rule="data_monthly_ratio",
    cohort="unlimited data",
    period_start_ms=APRIL_MS,
    period_end_ms=MAY_MS,
    total=50,
    customers=2,
)
"""25 bytes, so that the limit is 38. April is closed two days after its end."""

EDGES = {
    "a mean before its month is closed, then late bytes of that month": (
        {},
        [
            MEAN_OF_APRIL,
            used(0, APRIL_MS - DAY_MS, 0),
            used(1, MAY_MS + DAY_MS, 60),
            used(2, MAY_MS + 18 * DAY_MS, 0),
            used(3, APRIL_MS + 14 * DAY_MS, 60),
        ],
    ),
    "a mean before its month is closed, then more bytes within a day of the closing": (
        {},
        [
            MEAN_OF_APRIL,
            used(0, APRIL_MS, 60),
            used(1, MAY_MS, 30, "c1"),
            used(2, MAY_MS + 2 * DAY_MS, 0),
            used(3, MAY_MS + 2 * DAY_MS + HOUR_MS, 30, "c1"),
        ],
    ),
}
HISTORIES = data_with_means()
CASES = {}
"""They are tried together with others, in tests/support/strategies/histories.py."""
