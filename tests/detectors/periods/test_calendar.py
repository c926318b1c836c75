"""Local days, weeks and months equal what zoneinfo says of every instant."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.periods.calendar import FIRST_YEAR, calendar
from schemas.events import CALL_MS_MAX, TIME_MS_MAX, TIME_MS_MIN

PROPERTY = settings(max_examples=60)

ZONES = ("Europe/Brussels", "America/Sao_Paulo", "Asia/Beirut")
"""Clocks that change at 01:00 UTC, and two that (once) skipped or repeated midnight itself."""

UNITS = ("day", "week", "month")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_DAY, FIRST_MONDAY = date(FIRST_YEAR, 1, 1), date(FIRST_YEAR, 1, 4)

every_zone = pytest.mark.parametrize("zone", ZONES)
every_unit = pytest.mark.parametrize("unit", UNITS)


def local(time_ms, zone):
    return (EPOCH + timedelta(milliseconds=time_ms)).astimezone(ZoneInfo(zone))


def number_of(time_ms, zone, unit):
    """Which period an instant is in, counted on paper."""
    day = local(time_ms, zone).date()
    if unit == "day":
        return (day - FIRST_DAY).days
    if unit == "week":
        return (day - FIRST_MONDAY).days // 7
    return (day.year - FIRST_YEAR) * 12 + day.month - 1


@cache
def changes_ms(zone):
    """Every instant, to the hour, at which the zone's clocks changed or will change."""
    hours = range(TIME_MS_MIN, int(datetime(2038, 1, 1, tzinfo=UTC).timestamp() * 1000), DAY_MS)
    found = []
    for start in hours:
        if local(start, zone).utcoffset() != local(start + DAY_MS, zone).utcoffset():
            found += [
                hour
                for hour in range(start, start + DAY_MS, HOUR_MS)
                if local(hour, zone).utcoffset() != local(hour + HOUR_MS, zone).utcoffset()
            ]
    return found


def instants(zone):
    near = st.builds(
        int.__add__,
        st.sampled_from(changes_ms(zone)),
        st.integers(-2 * DAY_MS, 2 * DAY_MS) | st.sampled_from((-1, 0, 1, HOUR_MS, HOUR_MS - 1)),
    )
    return near | st.integers(TIME_MS_MIN, TIME_MS_MAX + CALL_MS_MAX)


@every_unit
@every_zone
@PROPERTY
@given(data=st.data())
def test_periods_equal_those_of_zoneinfo(zone, unit, data):
    """Whatever the clocks do that day."""
    time_ms = data.draw(st.lists(instants(zone), min_size=1, max_size=20))
    expected = [number_of(t, zone, unit) for t in time_ms]
    assert expected == calendar(zone, unit).period_of(np.array(time_ms)).tolist()


@every_unit
@every_zone
@PROPERTY
@given(data=st.data())
def test_bounds_are_the_first_instants_of_a_period_and_of_the_next(zone, unit, data):
    """One millisecond earlier it is the period before."""
    time_ms = data.draw(instants(zone))
    number = number_of(time_ms, zone, unit)
    start_ms, end_ms = calendar(zone, unit).bounds(number)
    assert start_ms <= time_ms < end_ms
    edges = (start_ms - 1, start_ms, end_ms - 1, end_ms)
    assert [number - 1, number, number, number + 1] == [number_of(t, zone, unit) for t in edges]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Brussels", date(2026, 3, 28), 24),
        ("Europe/Brussels", date(2026, 3, 29), 23),
        ("Europe/Brussels", date(2026, 10, 25), 25),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),
        ("America/Sao_Paulo", date(2018, 2, 17), 25),
        ("Asia/Beirut", date(2026, 3, 29), 23),
        ("Asia/Beirut", date(2026, 10, 24), 25),
    ],
)
def test_days_are_as_long_as_the_clocks_make_them(zone, day, hours):
    """A skipped midnight makes the day start at one; a repeated hour belongs to the old day."""
    start_ms, end_ms = calendar(zone, "day").bounds((day - FIRST_DAY).days)
    assert hours * HOUR_MS == end_ms - start_ms
    assert day == local(start_ms, zone).date() == local(end_ms - 1, zone).date()


@every_unit
@every_zone
def test_every_instant_that_an_event_may_name_has_a_period_with_an_end(zone, unit):
    """From the first allowed time to the end of the longest call that starts at the last one."""
    periods = calendar(zone, unit)
    first, last = periods.period_of(np.array([TIME_MS_MIN, TIME_MS_MAX + CALL_MS_MAX])).tolist()
    assert first >= 0
    assert periods.bounds(last)[1] > TIME_MS_MAX + CALL_MS_MAX
    assert (np.diff(periods.start_ms) > 0).all()
