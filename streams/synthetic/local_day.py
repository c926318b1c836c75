"""Local days of the synthetic operator, with their busy hours."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from schemas.units import HOUR_MS, Floats, Ints

WORKDAY_HOURS = np.array(
    [2, 1, 1, 1, 1, 2, 6, 12, 16, 16, 15, 15, 18, 16, 14, 15, 17, 20, 22, 22, 20, 16, 10, 5]
)
WEEKEND_HOURS = np.array(
    [5, 4, 3, 2, 1, 1, 2, 4, 8, 13, 16, 17, 17, 16, 16, 16, 16, 17, 18, 19, 18, 15, 11, 8]
)
"""Weight of each local hour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalDay:
    """One local day of 23, 24 or 25 hours.

    `hour_ends` is the share of the day's use up to the end of each hour. `weekend_days_before` says
    how many of the `index` days before it are days of a weekend.
    """

    index: int
    weekend_days_before: int
    date: date
    start_ms: int
    end_ms: int
    hour_ends: Floats

    @property
    def is_weekend(self) -> bool:
        """Whether it is a Saturday or a Sunday."""
        return self.date.weekday() >= 5

    def moments_ms(self, rng: np.random.Generator, count: int) -> Ints:
        """Draw times of this day, more of them in the busy hours.

        Parameters
        ----------
        rng
            The random generator.
        count
            How many.

        Returns
        -------
        Times, ms, shape (count,).
        """
        hour = np.searchsorted(self.hour_ends, rng.random(count), side="right")
        return self.start_ms + hour * HOUR_MS + rng.integers(0, HOUR_MS, count)


def local_day(start_ms: int, timezone: str, index: int) -> LocalDay:
    """Make a local day.

    Parameters
    ----------
    start_ms
        An instant of day 0, ms.
    timezone
        The time zone.
    index
        Number of the day; may be negative.

    Returns
    -------
    The day, `index` calendar days after day 0.
    """
    zone = ZoneInfo(timezone)
    day = datetime.fromtimestamp(start_ms / 1000, zone).date() + timedelta(days=index)
    day_start_ms, day_end_ms = _midnight_ms(day, zone), _midnight_ms(day + timedelta(days=1), zone)
    return LocalDay(
        index=index,
        weekend_days_before=_weekend_days(day, index),
        date=day,
        start_ms=day_start_ms,
        end_ms=day_end_ms,
        hour_ends=_hour_ends(day_start_ms, day_end_ms, zone),
    )


def _weekend_days(day: date, before: int) -> int:
    """How many of the `before` days before this one are days of a weekend."""
    weeks, rest = divmod(before, 7)
    return 2 * weeks + sum(
        (day - timedelta(days=back)).weekday() >= 5 for back in range(1, rest + 1)
    )


def _midnight_ms(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000


def _hour_ends(start_ms: int, end_ms: int, zone: ZoneInfo) -> Floats:
    """Cumulative share of a day's use at the end of each of its whole hours; the last is 1."""
    starts_ms = range(start_ms, end_ms - HOUR_MS + 1, HOUR_MS)
    local = [datetime.fromtimestamp(hour_ms / 1000, zone) for hour_ms in starts_ms]
    weights = WEEKEND_HOURS if local[0].weekday() >= 5 else WORKDAY_HOURS
    ends: Floats = np.cumsum(weights[[moment.hour for moment in local]], dtype=np.float64)
    ends /= ends[-1]
    return ends
