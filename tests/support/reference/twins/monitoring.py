"""The slow twin of `monitoring`: each day's calls in a list, voted on when the day is closed."""

from collections import defaultdict
from zoneinfo import ZoneInfo

from schemas.events import CALL_MS_MAX, Voice
from tests.support.reference import naive
from tests.support.strategies.drawing import HOUR_MS, MIDNIGHTS_MS, MINUTE_MS, choices, events_of


class Twin:
    """One partner with nearly all of a day's calling time."""

    name, reads = "monitoring", ("voice",)

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.days = naive.Days(ZoneInfo(policy.timezone))
        self.lateness_ms = self.parameters.lateness_hours * HOUR_MS
        self.calls = defaultdict(list)
        self.breaches = defaultdict(list)
        self.closed = 0

    def accepts(self, event, watermark_ms):
        day_after = self.days.of(event.event_time_ms) + 1
        return watermark_ms - self.lateness_ms < self.days.start_ms(day_after)

    def feed(self, event, watermark_ms):
        yield from self.close(self.days.of(watermark_ms - self.lateness_ms) - 1)
        if not self.accepts(event, watermark_ms):
            return
        at_ms, end_ms = event.event_time_ms, event.event_time_ms + event.duration_ms
        while at_ms < end_ms and self.days.of(at_ms) <= self.days.of(watermark_ms) + 1:
            day = self.days.of(at_ms)
            next_ms = min(end_ms, self.days.start_ms(day + 1))
            self.calls[day, event.customer_id].append((event.other_party, next_ms - at_ms))
            at_ms = next_ms

    def end(self, last_ms):
        yield from self.close(self.days.of(last_ms) - 1)

    def close(self, last):
        for day, who in sorted(key for key in self.calls if self.closed < key[0] <= last):
            calls = self.calls[day, who]
            total = sum(ms for _, ms in calls)
            share = since_lead(calls) * 1000 // total
            if total < self.parameters.talk_ms_min or share < self.parameters.share_per_mille:
                continue
            self.breaches[who].append(day)
            yield self.found(who, "breach", day, share)
            window = range(day - self.parameters.regular_window + 1, day + 1)
            if sum(d in window for d in self.breaches[who]) >= self.parameters.regular_periods:
                yield self.found(who, "regular", day, share)
        self.closed = max(self.closed, last)

    def found(self, who, level, day, share):
        return naive.Found(
            rule=self.name,
            customer_id=who,
            level=level,
            kind="day",
            start_ms=self.days.start_ms(day),
            event_time_ms=self.days.start_ms(day + 1),
            observed=share,
            limit=self.parameters.share_per_mille,
        )


def since_lead(calls):
    """What the last leader talked since it took the lead; ties leave the lead where it was."""
    leader, lead, own = None, 0, 0
    for partner, ms in calls:
        if partner == leader:
            lead, own = lead + ms, own + ms
        elif ms > lead:
            leader, lead, own = partner, ms - lead, ms
        else:
            lead -= ms
    return own


LOW = {
    "share_per_mille": 700,
    "talk_ms_min": 2 * HOUR_MS,
    "lateness_hours": 5,
    "regular_periods": 2,
    "regular_window": 3,
}
CALLS = choices(
    other_party=(*["nursery"] * 3, "o", ""),
    duration_ms=(0, 1, 30 * MINUTE_MS, HOUR_MS, 2 * HOUR_MS, 30 * HOUR_MS, 73 * HOUR_MS),
    direction=("mo", "mt"),
)
LONG = choices(
    other_party=("nursery", "nursery", "o"),
    duration_ms=(2 * HOUR_MS, 26 * HOUR_MS, CALL_MS_MAX),
    direction=("mo", "mt"),
)
CASES = {
    "days": ({}, events_of(Voice, CALLS)),
    "hours": ({"lateness_hours": 1}, events_of(Voice, CALLS, HOUR_MS)),
    "late": ({"lateness_hours": 60}, events_of(Voice, CALLS, 5 * HOUR_MS)),
    "long": ({"lateness_hours": 24, "regular_window": 7}, events_of(Voice, LONG)),
    "all": ({"share_per_mille": 501, "talk_ms_min": 1}, events_of(Voice, CALLS, 4 * HOUR_MS)),
}


def calls(*talks):
    """Calls of a start after midnight, a length, both in hours, and a partner."""
    return [
        Voice(
            event_id=f"e-{number}",
            customer_id="c0",
            event_time_ms=MIDNIGHTS_MS[0] + start * HOUR_MS,
            other_party=partner,
            duration_ms=round(hours * HOUR_MS),
        )
        for number, (start, hours, partner) in enumerate(talks)
    ]


EDGES = {
    "a partner who was behind in the morning": (
        {"share_per_mille": 900},
        calls((1, 0.5, "o"), (2, 0.4, "nursery"), (3, 9, "nursery"), (40, 1, "o"), (80, 1, "o")),
    ),
    # 23 hours from the first midnight to the next.
    "a call that comes after its day is closed": (
        {},
        calls((1, 4, "o"), (24, 4, "o"), (23 + 6, 1, "o"), (2, 20, "x"), (80, 1, "o")),
    ),
    "a call that reaches past tomorrow": (
        {"regular_periods": 1},
        calls((1, 100, "o"), (200, 1, "o"), (300, 1, "o")),
    ),
    "a day of calls that is closed by one a year later": (
        {},
        calls((1, 4, "o"), (25, 4, "o"), (365 * 24, 4, "o"), (366 * 24 + 20, 1, "o")),
    ),
}
