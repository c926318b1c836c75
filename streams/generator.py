"""A synthetic operator: customers with habits, abusers planted among them, and a seed.

Everything follows from the seed. Each day has its own generator, so that only one day is in memory.
Who the customers are is drawn in `population.py`, what they do on a day in `daily_use.py`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from schemas.events import Event
from schemas.records import Customer
from streams import daily_use
from streams.daily_use import BROWSED_HOSTS_PER_DAY, DATA_SESSIONS_PER_DAY
from streams.local_day import local_day
from streams.population import ABUSERS, HOUR_MS, SCRIPTED_SMS_PER_DAY, populate

CUSTOMERS_MIN = 40
"""With fewer, hardly anybody ordinary is left beside the parts that are played."""

COHORT_MIN = 100
LATENESS_MS = 48 * HOUR_MS
SMS_PER_MONTH_LIMIT = 10_000

KINDS = (
    daily_use.texts,
    daily_use.calls,
    daily_use.sessions,
    daily_use.flows,
    daily_use.snapshots,
    daily_use.viewings,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorShape:
    """How large the operator is, for how long it is played, and from which local midnight on.

    A daylight-saving day lies inside the default. Short or small shapes leave rules without
    abusers: `sms_monthly` needs 29 days of one month, `data_monthly_ratio` a month that ended 48 h
    ago and 100 customers whose data are unlimited.
    """

    customers: int = 2_000
    days: int = 62
    seed: int = 7
    start_ms: int = 1_772_319_600_000
    timezone: str = "Europe/Brussels"

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        if self.customers < CUSTOMERS_MIN or self.days < 1:
            raise ValueError(f"Give at least {CUSTOMERS_MIN} customers and one day.")
        if local_day(self.start_ms, self.timezone, 0).start_ms != self.start_ms:
            raise ValueError(f"Give a midnight in {self.timezone} as start_ms.")


class Operator:
    """Customers and their usage events, day by day."""

    def __init__(self, shape: OperatorShape) -> None:
        self._shape = shape
        self._calendar = [
            local_day(shape.start_ms, shape.timezone, index) for index in range(shape.days)
        ]
        weekdays = np.array([day.date.weekday() for day in self._calendar])
        self._people = populate(self._generator(0), shape.customers, weekdays)

    def customers(self) -> list[Customer]:
        """Everybody, the silent ones included: what goes on the `customers` topic."""
        return self._people.customers

    @property
    def planted(self) -> dict[str, frozenset[str]]:
        """Who breaks each rule within these days, under the default limits."""
        ids, parts = self._people.ids, self._people.parts
        planted = {rule: frozenset(ids[c] for c in parts[rule].tolist()) for rule in ABUSERS}
        if not self._has_month_of_texts():
            planted["sms_monthly"] = frozenset()
        if not self._has_mean():
            planted["data_monthly_ratio"] = frozenset()
        return planted

    @property
    def event_count_estimate(self) -> int:
        """About how many events there will be, for progress bars."""
        habits, people = self._people.habits, self._people
        rates_per_day = (
            habits.sms_sent_per_day,
            habits.sms_received_per_day,
            habits.calls_made_per_day,
            habits.calls_received_per_day,
            habits.flows_per_day,
            habits.viewings_per_day,
            DATA_SESSIONS_PER_DAY * (habits.data_bytes_per_day > 0),
            (habits.storage_used_bytes > 0) / 7,
        )
        browsed_per_day = BROWSED_HOSTS_PER_DAY * len(people.parts["keen_browser"])
        per_day = sum(float(rate.sum()) for rate in rates_per_day) + browsed_per_day
        return round(per_day * self._shape.days) + int(people.texts.amount.clip(0).sum())

    def days(self) -> Iterator[list[Event]]:
        """Yield the events of each local day in order of time; every call yields the same."""
        for day in self._calendar:
            rng = self._generator(day.index + 1)
            events = [event for kind in KINDS for event in kind(rng, day, self._people)]
            events.sort(key=attrgetter("event_time_ms"))
            yield events

    def _generator(self, stream: int) -> np.random.Generator:
        """A generator of its own for the population (0) and for each day (from 1 on)."""
        return np.random.default_rng(np.random.SeedSequence(self._shape.seed, spawn_key=(stream,)))

    def _has_month_of_texts(self) -> bool:
        """Whether some month has days enough for the monthly texters to pass the limit."""
        days = Counter((day.date.year, day.date.month) for day in self._calendar)
        return max(days.values()) * SCRIPTED_SMS_PER_DAY > SMS_PER_MONTH_LIMIT

    def _has_mean(self) -> bool:
        """Whether a month is closed on the last day, and its mean is over customers enough."""
        last_ms = self._calendar[-1].start_ms
        unlimited = sum("data" in customer.unlimited for customer in self._people.customers)
        return unlimited >= COHORT_MIN and any(
            following.date.day == 1 and following.start_ms + LATENESS_MS <= last_ms
            for following in self._calendar[1:]
        )
