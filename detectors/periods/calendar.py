"""Local days, weeks and months of a time zone, over columns of instants."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from schemas.records import Window
from schemas.units import HOUR_MS, Ints

LONGEST_DAY_MS = 25 * HOUR_MS
"""A day on which the clocks go back by an hour."""

SHORTEST_MS = {"day": 23 * HOUR_MS, "week": 167 * HOUR_MS, "month": 671 * HOUR_MS}
"""The shortest period of each unit: one in which the clocks go an hour forward."""

PeriodUnit = Literal["day", "week", "month"]

FIRST_YEAR, LAST_YEAR = 1999, 2101


LATEST_MAX = 4
"""How many answers of `period_of` a calendar caches."""

NARROWED_FROM = 512
"""Fewer instants are searched faster without narrowing the range first."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The local periods of a zone: which one an instant is in, and where each starts.

    Periods are numbered without gaps from the first one of 1999 in the zone. Days have 23, 24 or 25
    hours; weeks start on Monday.

    Parameters
    ----------
    unit
        "day", "week" or "month".
    start_ms
        First instant of each period, shape (periods + 1,), sorted.

    Examples
    --------
    >>> days = calendar("Europe/Brussels", "day")
    >>> spring = days.period_of(np.array([1711839600000]))  # 2024-03-31 00:00 in Brussels
    >>> (days.start_ms[spring + 1] - days.start_ms[spring]).tolist()  # 23 hours
    [82800000]
    """

    unit: PeriodUnit
    start_ms: Ints
    _latest: list[tuple[Ints, Ints]] = field(default_factory=list, repr=False, compare=False)

    def period_of(self, time_ms: Ints) -> Ints:
        """Period of each instant, shape (n,), read-only.

        Every rule asks for the times and watermarks of the same batch, so answers are cached.
        """
        for asked, answer in self._latest:
            if asked is time_ms:
                return answer
        answer = self._search(time_ms)
        answer.setflags(write=False)
        self._latest[LATEST_MAX - 1 :] = []
        self._latest.insert(0, (time_ms, answer))
        return answer

    def _search(self, time_ms: Ints) -> Ints:
        if len(time_ms) < NARROWED_FROM:
            return np.searchsorted(self.start_ms, time_ms, side="right") - 1
        # A batch lies within a few periods: only those are searched.
        around = np.array([time_ms.min(), time_ms.max()])
        first, last = (np.searchsorted(self.start_ms, around, side="right") - 1).tolist()
        if first == last:
            return np.full(len(time_ms), first, np.int64)
        return first + np.searchsorted(self.start_ms[first + 1 : last + 1], time_ms, side="right")

    def whole_periods_after(self, time_ms: Ints, periods: int) -> Ints:
        """End of the `periods`-th whole period that begins at or after each instant, shape (n,).

        Examples
        --------
        >>> days = calendar("Europe/Brussels", "day")
        >>> noon = np.array([1711796400000])  # 2024-03-30 12:00 in Brussels
        >>> ((days.whole_periods_after(noon, 1) - noon) / 3_600_000).tolist()
        [35.0]
        """
        first = self._search(time_ms - 1) + 1
        return self.start_ms[np.minimum(first + periods, len(self.start_ms) - 1)]

    def bounds(self, period: int) -> tuple[int, int]:
        """First instant of a period and first instant after it."""
        return int(self.start_ms[period]), int(self.start_ms[period + 1])

    def window(self, period: int) -> Window:
        """A period as the window of a finding."""
        start_ms, end_ms = self.bounds(period)
        return Window(kind=self.unit, start_ms=start_ms, end_ms=end_ms)


@cache
def calendar(zone: str, unit: PeriodUnit) -> Calendar:
    """Calendar of a zone by "day", "week" or "month"."""
    starts, dates = _day_starts(zone)
    if unit == "week":
        keep = (dates.astype(np.int64) + 3) % 7 == 0
    elif unit == "month":
        keep = dates == dates.astype("datetime64[M]").astype("datetime64[D]")
    else:
        keep = np.ones(len(dates), bool)
    return Calendar(unit, starts[keep])


@cache
def _day_starts(zone: str) -> tuple[Ints, NDArray[np.datetime64]]:
    dates = np.arange(f"{FIRST_YEAR}-01-01", f"{LAST_YEAR}-01-01", dtype="datetime64[D]")
    tz = ZoneInfo(zone)
    starts = [_first_instant_ms(date, tz) for date in dates.tolist()]
    return np.array(starts, np.int64), dates


def _first_instant_ms(date, tz: ZoneInfo) -> int:
    """First instant of a local date, in ms; midnight itself may be skipped or come twice."""
    midnight = datetime(date.year, date.month, date.day, tzinfo=tz, fold=0)
    instant = midnight.astimezone(UTC)
    while instant.astimezone(tz).date() < date:
        instant += timedelta(minutes=15)
    while (instant - timedelta(minutes=15)).astimezone(tz).date() >= date:
        instant -= timedelta(minutes=15)
    return round(instant.timestamp() * 1000)
