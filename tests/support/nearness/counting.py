"""What the counts share: periods, windows, and the largest value of each customer."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Brussels")
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
GB = 10**9
NEVER = 0.0
LOGIN_PORTS, MAIL_PORTS = {21, 22, 23, 3389}, {25, 465, 587}
MORE = 1.000_001
"""Makes a share of a limit that counts itself a breach."""


def local(time_ms):
    return datetime.fromtimestamp(time_ms / 1000, ZONE)


def day_of(time_ms):
    return local(time_ms).date()


def week_of(time_ms):
    return local(time_ms).strftime("%G-%V")


def month_of(time_ms):
    return local(time_ms).strftime("%Y-%m")


def next_midnight_ms(time_ms):
    tomorrow = local(time_ms).date() + timedelta(days=1)
    return int(datetime.combine(tomorrow, datetime.min.time(), ZONE).timestamp()) * 1000


def only(kind, events, direction=None):
    return [
        event
        for event in events
        if isinstance(event, kind) and direction in (None, getattr(event, "direction", None))
    ]


def by_customer(events):
    groups = defaultdict(list)
    for event in events:
        groups[event.customer_id].append(event)
    return groups


def largest(pairs):
    """The largest value of each customer."""
    most = {}
    for customer, value in pairs:
        most[customer] = max(value, most.get(customer, NEVER))
    return most


def of_periods(totals, limit):
    """Totals by (customer, period) as shares of a limit."""
    return largest((customer, total / limit) for (customer, _), total in totals.items())


def rows_of(events, thing):
    """Time and thing of each event."""
    return [(event.event_time_ms, thing(event)) for event in events]


def most_distinct(rows, length_ms):
    """Most distinct things in any window of this length; rows are (time, thing), by time."""
    most, first = 0, 0
    held = Counter()
    for time_ms, thing in rows:
        held[thing] += 1
        while rows[first][0] <= time_ms - length_ms:
            held[rows[first][1]] -= 1
            held += Counter()
            first += 1
        most = max(most, len(held))
    return most
