"""More devices watching TV at the same moment than the plan allows."""

from collections import defaultdict
from zoneinfo import ZoneInfo

from schemas.events import Stream
from schemas.hashing import hash_strings
from tests.support.reference.naive import Days, Found
from tests.support.strategies.drawing import (
    DAY_MS,
    HOUR_MS,
    MIDNIGHTS_MS,
    MINUTE_MS,
    choices,
    events_of,
)

LOW = {
    "limit": 1,
    "views_max": 3,
    "retention_periods": 1,
    "regular_periods": 2,
    "regular_window": 3,
}

VIEWS = choices(
    device_id=("box", "box", "tablet", "telephone", "telephone"),
    duration_ms=(0, 999, MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 40 * HOUR_MS),
)

CASES = {
    "over_days": ({}, events_of(Stream, VIEWS, spread=DAY_MS)),
    "over_hours": ({}, events_of(Stream, VIEWS, spread=HOUR_MS, jitters=(0, 1, 999, -MINUTE_MS))),
    "of_many": ({"views_max": 64}, events_of(Stream, VIEWS, spread=9 * HOUR_MS)),
}


def view(number, at_ms, device_id, duration_ms, customer_id="c0"):
    return Stream(
        event_id=f"e-{number}",
        customer_id=customer_id,
        event_time_ms=at_ms,
        device_id=device_id,
        duration_ms=duration_ms,
    )


EVENING_MS = MIDNIGHTS_MS[1] - HOUR_MS
EDGES = {
    "two devices at once before midnight and after it": (
        {},
        [view(0, EVENING_MS, "box", 2 * HOUR_MS), view(1, EVENING_MS, "tablet", 2 * HOUR_MS)],
    ),
    "a day that a late view puts in breach between two others": (
        {},
        [
            view(n, EVENING_MS + days * DAY_MS, device, HOUR_MS)
            for n, (days, device) in enumerate(
                [(0, "box"), (0, "tablet"), (1, "box"), (2, "box"), (2, "tablet"), (1, "tablet")]
            )
        ],
    ),
    "a view that is forgotten for three that end later": (
        {},
        [
            view(0, EVENING_MS, "box", MINUTE_MS),
            *[view(n, EVENING_MS + n * HOUR_MS, "box", MINUTE_MS) for n in (1, 2, 3)],
            view(4, EVENING_MS, "tablet", MINUTE_MS),
            view(5, EVENING_MS + HOUR_MS, "tablet", MINUTE_MS),
        ],
    ),
    "a plan that allows two": (
        {},
        [
            view(n, EVENING_MS, device, HOUR_MS, "ünlimited/2")
            for n, device in enumerate(("box", "tablet", "telephone"))
        ],
    ),
}


class Twin:
    """Every second at which a view starts, tried one by one."""

    name, reads = "stream_concurrent", ("stream",)
    LONGEST_MS = 18 * HOUR_MS

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.plans = plans
        self.days = Days(ZoneInfo(policy.timezone))
        self.views = defaultdict(list)
        self.devices = {}
        self.regular = set()

    def accepts(self, event, watermark_ms):
        oldest = self.days.of(watermark_ms) - self.parameters.retention_periods
        return self.days.of(event.event_time_ms) >= oldest

    def feed(self, event, watermark_ms):
        if not self.accepts(event, watermark_ms):
            return
        start_ms = event.event_time_ms
        end_ms = start_ms + min(event.duration_ms, self.LONGEST_MS)
        start_s, end_s = start_ms // 1000, end_ms // 1000
        if start_s == end_s:
            return
        who = event.customer_id
        device = int(hash_strings([event.device_id])[0]) >> 48
        self.views[who].append((end_s, start_s, device))
        for day in range(self.days.of(start_s * 1000), self.days.of(end_s * 1000 - 1) + 1):
            yield from self.judged(event, day)
        self.views[who] = sorted(self.views[who])[-self.parameters.views_max :]

    def judged(self, event, day):
        who = event.customer_id
        devices = max(map(len, self.present(who, day)), default=0)
        if devices > self.limit(who) and (who, day) not in self.devices:
            self.devices[who, day] = devices
            yield self.found(event, "breach", day)
            for last in sorted(d for w, d in self.devices if w == who):
                window = range(last - self.parameters.regular_window + 1, last + 1)
                company = [d for d in window if (who, d) in self.devices]
                enough = len(company) >= self.parameters.regular_periods
                if enough and (who, last) not in self.regular:
                    self.regular.add((who, last))
                    yield self.found(event, "regular", last)

    def present(self, who, day):
        """The devices at the day's first second, and at each view's first."""
        first_s, after_s = (self.days.start_ms(d) // 1000 for d in (day, day + 1))
        for at_s in {first_s, *(start for _, start, _ in self.views[who])}:
            if first_s <= at_s < after_s:
                yield {d for end, start, d in self.views[who] if start <= at_s < end}

    def limit(self, who):
        allowed = self.plans.of(who).stream_concurrent
        return self.parameters.limit if allowed is None else allowed

    def found(self, event, level, day):
        return Found(
            rule=self.name,
            customer_id=event.customer_id,
            level=level,
            kind="day",
            start_ms=self.days.start_ms(day),
            event_time_ms=event.event_time_ms,
            observed=self.devices[event.customer_id, day],
            limit=self.limit(event.customer_id),
        )
