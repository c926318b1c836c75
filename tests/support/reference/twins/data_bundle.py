"""The month's bytes against the plan's bundle, one event at a time."""

from collections import defaultdict
from zoneinfo import ZoneInfo

from schemas.events import Data
from tests.support.reference import naive
from tests.support.strategies.drawing import DAY_MS, choices, events_of, month_start_ms

LOW = {"retention_periods": 2, "warning_percent": 50}
BYTES = choices(bytes_uplink=(0, 1, 40), bytes_downlink=(0, 60, 60, 2**53))
CASES = {
    "months": ({}, events_of(Data, BYTES, spread=17 * DAY_MS)),
    "days": (
        {"warning_percent": 80, "retention_periods": 1},
        events_of(Data, BYTES, spread=5 * DAY_MS),
    ),
}


def bytes_of(number, month, day, used):
    return Data(
        event_id=f"e-{number}",
        customer_id="c1",
        event_time_ms=month_start_ms(month) + day * DAY_MS,
        bytes_uplink=used,
        bytes_downlink=0,
    )


JANUARY = 2026 * 12
EDGES = {
    "the warning and the breach by one session, and the very bytes of the bundle": (
        {},
        [bytes_of(0, JANUARY, 1, 126), bytes_of(1, JANUARY + 1, 1, 125)],
    ),
    "a month in breach, and late bytes that bring the one before into breach": (
        {},
        [
            bytes_of(0, JANUARY, 1, 125),
            bytes_of(1, JANUARY + 1, 1, 126),
            bytes_of(2, JANUARY, 2, 1),
            bytes_of(3, JANUARY + 2, 1, 1),
        ],
    ),
}


class Twin:
    """Sums by month; every breach ends with its month."""

    name, reads = "data_bundle", ("data",)

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.plans = plans
        self.months = naive.Months(ZoneInfo(policy.timezone))
        self.used = defaultdict(int)
        self.open = {}
        self.closed = 0

    def accepts(self, event, watermark_ms):
        month = self.months.of(event.event_time_ms)
        return month >= self.months.of(watermark_ms) - self.parameters.retention_periods

    def feed(self, event, watermark_ms):
        yield from self.end(watermark_ms)
        who, month = event.customer_id, self.months.of(event.event_time_ms)
        before = self.used[who, month]
        after = before + event.bytes_uplink + event.bytes_downlink
        self.used[who, month] = after
        bundle = self.plans.of(who).data_bundle_bytes
        if bundle is None:
            return
        warned = bundle * self.parameters.warning_percent // 100
        if before <= warned < after:
            yield self.found(who, "early", month, event.event_time_ms, after, warned)
        if before <= bundle < after:
            yield self.found(who, "breach", month, event.event_time_ms, after, bundle)
            if month <= self.closed:
                yield self.found(who, "cleared", month, event.event_time_ms, after, bundle)
            else:
                self.open[who, month] = bundle

    def end(self, last_ms):
        """Breaches of the months that are over now."""
        self.closed = max(self.closed, self.months.of(last_ms) - 1)
        for who, month in sorted(self.open):
            if month <= self.closed:
                bundle, used = self.open.pop((who, month)), self.used[who, month]
                ended_ms = self.months.start_ms(month + 1)
                yield self.found(who, "cleared", month, ended_ms, used, bundle)

    def found(self, who, level, month, time_ms, observed, limit):
        return naive.Found(
            rule=self.name,
            customer_id=who,
            level=level,
            kind="month",
            start_ms=self.months.start_ms(month),
            event_time_ms=time_ms,
            observed=observed,
            limit=limit,
        )
