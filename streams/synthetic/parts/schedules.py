"""On which days a part is played: each schedule draws the days of one player."""

from collections.abc import Callable, Sequence

import numpy as np

from schemas.units import HOUR_MS, Ints
from streams.synthetic.local_day import LocalDay

Calendar = Sequence[LocalDay]
Schedule = Callable[[np.random.Generator, Calendar], Ints]
"""Draws the days of a player: sorted numbers of days of a calendar, shape (n,)."""

Need = Callable[[Calendar, int], bool]
"""Whether a calendar and a number of customers are enough for a part to be found."""

CLOSING_MS = 48 * HOUR_MS
PLAN_COHORT_MIN = 300
"""Of this many customers, well over 100 have the most usual plan."""

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
    """Make a schedule of a few days anywhere.

    Parameters
    ----------
    least, most
        Bounds of the number of days; all days if there are fewer.

    Returns
    -------
    The schedule.
    """

    def draw(rng: np.random.Generator, calendar: Calendar) -> Ints:
        wanted = min(int(rng.integers(least, most + 1)), len(calendar))
        return np.sort(rng.choice(len(calendar), size=wanted, replace=False))

    return draw


def some_days_of_a_week(least: int, most: int) -> Schedule:
    """Make a schedule of a few days within seven days in a row.

    Parameters
    ----------
    least, most
        Bounds of the number of days.

    Returns
    -------
    The schedule.
    """

    def draw(rng: np.random.Generator, calendar: Calendar) -> Ints:
        first = int(rng.integers(0, max(len(calendar) - WEEK + 1, 1)))
        return first + some_days(least, most)(rng, calendar[first : first + WEEK])

    return draw


def stretch(length: int) -> Schedule:
    """Make a schedule of days in a row, anywhere.

    Parameters
    ----------
    length
        How many days; all if there are fewer.

    Returns
    -------
    The schedule.
    """

    def draw(rng: np.random.Generator, calendar: Calendar) -> Ints:
        first = int(rng.integers(0, max(len(calendar) - length + 1, 1)))
        return np.arange(first, min(first + length, len(calendar)))

    return draw


def days_between(first: int, end: int) -> Schedule:
    """Make a schedule of the same days for all players.

    Parameters
    ----------
    first, end
        Number of the first day, and of the day after the last one.

    Returns
    -------
    The schedule.
    """

    def draw(_rng: np.random.Generator, calendar: Calendar) -> Ints:
        return np.arange(min(first, len(calendar)), min(end, len(calendar)))

    return draw


def a_closed_day(rng: np.random.Generator, calendar: Calendar) -> Ints:
    """On one day that ended at least 48 h before the last day begins."""
    return rng.integers(0, max(len(calendar) - 3, 1), 1)


def _whole_weeks(calendar: Calendar) -> Ints:
    """First days of the weeks from Monday to Sunday within the calendar."""
    mondays = [day.index for day in calendar if day.date.weekday() == 0]
    return np.array([first for first in mondays if first + WEEK <= len(calendar)], np.int64)


def two_weeks(rng: np.random.Generator, calendar: Calendar) -> Ints:
    """On every day of two whole weeks in a row that are closed before the last day."""
    first = rng.choice(
        [monday for monday in _whole_weeks(calendar) if _ends_twice(monday, calendar)]
    )
    return np.arange(first, first + 2 * WEEK)


def _ends_twice(monday: int, calendar: Calendar) -> bool:
    """Whether two weeks from this Monday on are closed on the last day."""
    sunday = monday + 2 * WEEK
    return sunday < len(calendar) and _is_closed(calendar[sunday].start_ms, calendar)


def _is_closed(end_ms: int, calendar: Calendar) -> bool:
    """Whether a period that ended at this time is closed when the last day begins."""
    return end_ms + CLOSING_MS <= calendar[-1].start_ms


def always(_calendar: Calendar, _customers: int) -> bool:
    """No need: any calendar is enough."""
    return True


def at_least(days: int) -> Need:
    """Make the need of a number of days.

    Parameters
    ----------
    days
        How many.

    Returns
    -------
    The need.
    """
    return lambda calendar, _customers: len(calendar) >= days


def two_closed_weeks(calendar: Calendar, customers: int) -> bool:
    """Two closed whole weeks in a row, and enough customers with the same plan to compare with."""
    return customers >= PLAN_COHORT_MIN and any(
        _ends_twice(monday, calendar) for monday in _whole_weeks(calendar).tolist()
    )


def a_closed_month(calendar: Calendar, _customers: int) -> bool:
    """The closed end of a month; any operator has the 100 unlimited customers of its mean."""
    return any(day.date.day == 1 and _is_closed(day.start_ms, calendar) for day in calendar[1:])


def a_whole_closed_month(calendar: Calendar, _customers: int) -> bool:
    """A whole month that is closed."""
    firsts = [day for day in calendar if day.date.day == 1]
    return any(_is_closed(day.start_ms, calendar) for day in firsts[1:])


def days_of_a_month(wanted: int) -> Need:
    """Make the need of a number of days of one month.

    Parameters
    ----------
    wanted
        How many.

    Returns
    -------
    The need.
    """

    def has_them(calendar: Calendar, _customers: int) -> bool:
        months = [(day.date.year, day.date.month) for day in calendar]
        return max(months.count(month) for month in set(months)) >= wanted

    return has_them


def a_closed_day_of_a_cohort(calendar: Calendar, customers: int) -> bool:
    """A closed day, and enough customers with the same plan to compare with."""
    return customers >= PLAN_COHORT_MIN and len(calendar) >= 4
