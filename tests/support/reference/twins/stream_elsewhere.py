"""TV watched mostly outside the home, in several places a day."""

from collections import defaultdict
from zoneinfo import ZoneInfo

from schemas.events import Stream
from schemas.hashing import hash_strings
from tests.support.reference.naive import Days, Found
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, MINUTE_MS, choices, events_of

LOW = {"lateness_hours": 5, "regular_periods": 2, "regular_window": 3}

VIEWS = choices(
    duration_ms=(1, MINUTE_MS, MINUTE_MS + 1, HOUR_MS, 30 * HOUR_MS, 0),
    at_home=(False, None, False, True),
    address_id=("flat", "cabin", "hotel", "flat", "cabin", None),
)
AWAY = choices(
    duration_ms=(HOUR_MS, 2 * HOUR_MS), at_home=(False,), address_id=("flat", "cabin", "hotel")
)

CASES = {
    "over_days": ({}, events_of(Stream, VIEWS, spread=DAY_MS, device_id="box")),
    "over_hours": ({}, events_of(Stream, VIEWS, spread=5 * HOUR_MS, device_id="box")),
    "always_away": ({}, events_of(Stream, AWAY, spread=11 * HOUR_MS, device_id="box")),
    "of_three_places": (
        {"places": 3, "lateness_hours": 30},
        events_of(Stream, AWAY, spread=5 * HOUR_MS, device_id="box"),
    ),
    "of_one_place": (
        {"places": 1, "lateness_hours": 0},
        events_of(Stream, VIEWS, spread=5 * HOUR_MS, device_id="box"),
    ),
}


class Twin:
    """Minutes at home, minutes away and a set of places, by customer and day."""

    name, reads = "stream_elsewhere", ("stream",)

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.days = Days(ZoneInfo(policy.timezone))
        self.home, self.away = defaultdict(int), defaultdict(int)
        self.places = defaultdict(set)
        self.breaches = {}
        self.closed = None

    def accepts(self, event, watermark_ms):
        return self.days.of(event.event_time_ms) > self.closed_by(watermark_ms)

    def closed_by(self, watermark_ms):
        return self.days.of(watermark_ms - self.parameters.lateness_hours * HOUR_MS) - 1

    def feed(self, event, watermark_ms):
        yield from self.close(self.closed_by(watermark_ms))
        if not self.accepts(event, watermark_ms):
            return
        key = event.customer_id, self.days.of(event.event_time_ms)
        minutes = min((event.duration_ms + MINUTE_MS - 1) // MINUTE_MS, 24 * 60)
        if event.at_home:
            self.home[key] += minutes
        else:
            self.away[key] += minutes
            if event.address_id is not None and minutes:
                self.places[key].add(int(hash_strings([event.address_id])[0]) >> 48)

    def end(self, last_ms):
        yield from self.close(self.days.of(last_ms) - 1)

    def close(self, last):
        """Judge every day up to this one, in order."""
        for who, day in sorted(self.away, key=lambda key: key[1]):
            if day <= last and (self.closed is None or day > self.closed):
                yield from self.judged(who, day)
        self.closed = last if self.closed is None else max(self.closed, last)

    def judged(self, who, day):
        home, away = self.home[who, day], self.away[who, day]
        enough = 100 * away >= self.parameters.share_percent * (home + away)
        if not enough or len(self.places[who, day]) < self.parameters.places:
            return
        self.breaches[who, day] = 1000 * away // (home + away)
        yield self.found(who, "breach", day)
        window = range(day - self.parameters.regular_window + 1, day + 1)
        if sum((who, d) in self.breaches for d in window) >= self.parameters.regular_periods:
            yield self.found(who, "regular", day)

    def found(self, who, level, day):
        return Found(
            rule=self.name,
            customer_id=who,
            level=level,
            kind="day",
            start_ms=self.days.start_ms(day),
            event_time_ms=self.days.start_ms(day + 1),
            observed=self.breaches[who, day],
            limit=10 * self.parameters.share_percent,
        )
