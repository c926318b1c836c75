"""Days and events at home and abroad, month by month, one event at a time."""

from collections import defaultdict
from fractions import Fraction
from math import ceil
from operator import itemgetter
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from schemas.events import Data, Sms, Voice
from tests.support.reference import naive
from tests.support.strategies.drawing import CUSTOMERS, DAY_MS, HOUR_MS, choices, month_start_ms

LOW = {"months": 2, "days_min": 1, "lateness_hours": 48, "retention_periods": 12}
KINDS = ("sms", "voice", "data")
JANUARY = 2026 * 12
STRUCTURES = {
    "sms": (Sms, {"recipient": "r"}),
    "voice": (Voice, {"other_party": "o", "duration_ms": 1}),
    "data": (Data, {"bytes_uplink": 0, "bytes_downlink": 1}),
}


def event(number, kind, time_ms, **fields):
    structure, fixed = STRUCTURES[kind]
    head = {"event_id": f"e-{number}", "customer_id": "c0", "event_time_ms": time_ms}
    return structure(**(head | fixed | fields))


def abroad_in(months, start=0, **fields):
    """A text on the 9th, a call at night and data on the 10th of each of these months."""
    events = []
    for month in months:
        for kind, day in (("sms", 9), ("voice", 10), ("data", 10)):
            at_ms = month_start_ms(month) + day * DAY_MS
            number = start + len(events)
            events.append(event(number, kind, at_ms, **({"visited_plmn": "20801"} | fields)))
    return events


@st.composite
def histories(draw):
    """Somebody abroad for some months, and events of all kinds through it, some of them late."""
    draws = choices(
        kind=KINDS,
        day=(0, 3, 29, 31, 32, 33, 59, 60, 70, 92, 93, 121, 124, 152, 160),
        late_days=(0, 0, 0, 0, 33, 90),
        customer_id=(CUSTOMERS[0], *CUSTOMERS),
        visited_plmn=(None, "20801", "20801", "310260"),
    )
    months = range(JANUARY, JANUARY + draw(st.sampled_from((0, 3, 5, 6))))
    events = [(each.event_time_ms, each) for each in abroad_in(months)]
    for drawn in draw(st.lists(draws, max_size=16)):
        row = dict(drawn)
        came_ms = month_start_ms(JANUARY) + row.pop("day") * DAY_MS
        row["time_ms"] = came_ms - row.pop("late_days") * DAY_MS
        events.append((came_ms, event(len(events), **row)))
    return [each for _, each in sorted(events, key=itemgetter(0))]


EDGES = {
    "a month is judged when the last kind has closed it, whatever the others are at": (
        {},
        [
            *abroad_in([JANUARY, JANUARY + 1]),
            *(
                event(90 + n, kind, month_start_ms(month), visited_plmn=None)
                for n, (kind, month) in enumerate(
                    [("sms", JANUARY + 9), ("data", JANUARY + 3), ("voice", JANUARY + 3)]
                )
            ),
        ],
    ),
    "events at home as many as abroad in one month of three": (
        {},
        [
            *abroad_in(range(JANUARY, JANUARY + 2)),
            *abroad_in([JANUARY + 2], 10),
            *abroad_in([JANUARY + 2], 20, visited_plmn=None),
            *abroad_in([JANUARY + 4], 30),
        ],
    ),
}
CASES = {"two": ({}, histories()), "four": ({"months": 4, "share_per_mille": 300}, histories())}


class Twin:
    """Sets of days and numbers of events, looked at when all kinds have closed a month."""

    name, reads = "roaming_permanent", KINDS

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        zone = ZoneInfo(policy.timezone)
        self.months, self.days = naive.Months(zone), naive.Days(zone)
        self.seen = defaultdict(set)
        self.events = defaultdict(int)
        self.closed_of = dict.fromkeys(KINDS, 0)
        self.closed = None

    def last_closed(self, watermark_ms):
        return self.months.of(watermark_ms - self.parameters.lateness_hours * HOUR_MS) - 1

    def accepts(self, event, watermark_ms):
        return self.months.of(event.event_time_ms) > self.last_closed(watermark_ms)

    def feed(self, event, watermark_ms):
        kind = type(event).__name__.lower()
        self.closed_of[kind] = self.last_closed(watermark_ms)
        yield from self.close(min(self.closed_of.values()))
        if self.accepts(event, watermark_ms):
            month = self.months.of(event.event_time_ms)
            place = "home" if event.visited_plmn is None else "abroad"
            self.seen[event.customer_id, month, place].add(self.days.of(event.event_time_ms))
            self.events[event.customer_id, month, place] += 1

    def end(self, last_ms):
        yield from self.close(self.months.of(last_ms) - 1)

    def close(self, last):
        if last > 0:
            first = JANUARY - 24 if self.closed is None else self.closed + 1
            for month in range(first, last + 1):
                for who in sorted({who for who, _, _ in self.seen}):
                    yield from self.judged(who, month)
            self.closed = last if self.closed is None else max(last, self.closed)

    def judged(self, who, last):
        window = range(last - self.parameters.months + 1, last + 1)
        shares = [share for month in window for share in self.shares(who, month)]
        days = [len(self.seen[who, month, "abroad"]) for month in window]
        limit = self.parameters.share_per_mille
        if min(days) >= self.parameters.days_min and min(shares) > Fraction(limit, 1000):
            yield naive.Found(
                rule=self.name,
                customer_id=who,
                level="breach",
                kind="month",
                start_ms=self.months.start_ms(last),
                event_time_ms=self.months.start_ms(last + 1),
                observed=ceil(1000 * min(shares)),
                limit=limit,
            )

    def shares(self, who, month):
        days = [len(self.seen[who, month, place]) for place in ("abroad", "home")]
        events = [self.events[who, month, place] for place in ("abroad", "home")]
        return [Fraction(there, max(1, there + home)) for there, home in (days, events)]
