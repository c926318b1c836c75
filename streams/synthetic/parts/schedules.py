"""On which days a part is played: each schedule draws the days of one player."""

from collections.abc import Callable, Sequence

import numpy as np

from schemas.units import HOUR_MS, Ints
from streams.synthetic.local_day import LocalDay

Calendar = Sequence[LocalDay]
Schedule = Callable[[np.random.Generator, Calendar], Ints]
Need = Callable[[Calendar, int], bool]
"""Whether days and customers are enough for the part to show."""

CLOSING_MS = 48 * HOUR_MS
PLAN_COHORT_MIN = 300
"""Of so many customers, well over 100 have the commonest plan."""

WEEK = 7


def every_day(_rng: np.random.Generator, calendar: Calendar) -> Ints:
    """From the first day to the last."""
    return np.arange(len(calendar))


def weekdays(_rng: np.random.Generator, calendar: Calendar) -> Ints:
    """From Monday to Friday, each week."""
    return np.array([day.index for day in calendar if not day.is_weekend], np.int64)


def weekends(_rng: np.random.Generator, calendar: Calendar) -> Ints:
    """On Saturdays and Sundays, each week."""
    return np.array([day.index for day in calendar if day.is_weekend], np.int64)


def some_days(least: int, most: int) -> Schedule:
    """On so many days anywhere, or on all if there are fewer."""

    def draw(rng: np.random.Generator, calendar: Calendar) -> Ints:
        wanted = min(int(rng.integers(least, most + 1)), len(calendar))
        return np.sort(rng.choice(len(calendar), size=wanted, replace=False))

    return draw


def some_days_of_a_week(least: int, most: int) -> Schedule:
    """On so many of seven days in a row."""

    def draw(rng: np.random.Generator, calendar: Calendar) -> Ints:
        first = int(rng.integers(0, max(len(calendar) - WEEK + 1, 1)))
        return first + some_days(least, most)(rng, calendar[first : first + WEEK])

    return draw


def stretch(length: int) -> Schedule:
    """On so many days in a row."""

    def draw(rng: np.random.Generator, calendar: Calendar) -> Ints:
        first = int(rng.integers(0, max(len(calendar) - length + 1, 1)))
        return np.arange(first, min(first + length, len(calendar)))

    return draw


def days_between(first: int, end: int) -> Schedule:
    """On the days from `first` up to `end`, which is left out."""

    def draw(_rng: np.random.Generator, calendar: Calendar) -> Ints:
        return np.arange(min(first, len(calendar)), min(end, len(calendar)))

    return draw


def a_closed_day(rng: np.random.Generator, calendar: Calendar) -> Ints:
    """On one day that is over for 48 h before the last one begins."""
    return rng.integers(0, max(len(calendar) - 3, 1), 1)


def whole_weeks(calendar: Calendar) -> Ints:
    """First days of the weeks from Monday to Sunday within the calendar."""
    mondays = [day.index for day in calendar if day.date.weekday() == 0]
    return np.array([first for first in mondays if first + WEEK <= len(calendar)], np.int64)


def two_weeks(rng: np.random.Generator, calendar: Calendar) -> Ints:
    """On every day of two whole weeks in a row that are closed before the last day."""
    first = rng.choice(
        [monday for monday in whole_weeks(calendar) if _ends_twice(monday, calendar)]
    )
    return np.arange(first, first + 2 * WEEK)


def _ends_twice(monday: int, calendar: Calendar) -> bool:
    """Whether two weeks from this Monday on are closed on the last day."""
    sunday = monday + 2 * WEEK
    return sunday < len(calendar) and is_closed(calendar[sunday].start_ms, calendar)


def is_closed(end_ms: int, calendar: Calendar) -> bool:
    """Whether what ended at this time is closed when the last day begins."""
    return end_ms + CLOSING_MS <= calendar[-1].start_ms


def always(_calendar: Calendar, _customers: int) -> bool:
    """However short."""
    return True


def at_least(days: int) -> Need:
    """So many days."""
    return lambda calendar, _customers: len(calendar) >= days


def two_closed_weeks(calendar: Calendar, customers: int) -> bool:
    """Two whole weeks in a row and a cohort to compare with."""
    return customers >= PLAN_COHORT_MIN and any(
        _ends_twice(monday, calendar) for monday in whole_weeks(calendar).tolist()
    )


def a_closed_month(calendar: Calendar, _customers: int) -> bool:
    """The end of a month, closed; a mean over all unlimited customers is over 100 at least."""
    return any(day.date.day == 1 and is_closed(day.start_ms, calendar) for day in calendar[1:])


def a_whole_closed_month(calendar: Calendar, _customers: int) -> bool:
    """A month from its first day on, closed."""
    firsts = [day for day in calendar if day.date.day == 1]
    return any(is_closed(day.start_ms, calendar) for day in firsts[1:])


def days_of_a_month(wanted: int) -> Need:
    """So many days of one month."""

    def has_them(calendar: Calendar, _customers: int) -> bool:
        months = [(day.date.year, day.date.month) for day in calendar]
        return max(months.count(month) for month in set(months)) >= wanted

    return has_them


def a_closed_day_of_a_cohort(calendar: Calendar, customers: int) -> bool:
    """A day that is closed, and enough others of the same plan."""
    return customers >= PLAN_COHORT_MIN and len(calendar) >= 4
