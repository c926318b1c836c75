"""What the slow twins of the rules that score whole days share, and histories of several kinds."""

from collections import defaultdict
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.support.reference import naive
from tests.support.strategies.drawing import EVENTS_MAX, HEADS, HOUR_MS, instants


def kind_of(event):
    return type(event).__name__.lower()


class ScoredDays:
    """Keep every event of every day, and judge a day once all kinds are past it.

    A subclass has `name`, `reads`, and `judged(who, day)`, which yields what a closed day leads to.
    """

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.plans = plans
        self.days = naive.Days(ZoneInfo(policy.timezone))
        self.watermark_ms = dict.fromkeys(self.reads)
        self.events = defaultdict(list)
        self.closed = 0

    def last_closed(self, watermark_ms):
        return self.days.of(watermark_ms - self.parameters.lateness_hours * HOUR_MS) - 1

    def accepts(self, event, watermark_ms):
        return self.days.of(event.event_time_ms) > self.last_closed(watermark_ms)

    def feed(self, event, watermark_ms):
        self.watermark_ms[kind_of(event)] = watermark_ms
        if None not in self.watermark_ms.values():
            yield from self.close(self.last_closed(min(self.watermark_ms.values())))
        if self.accepts(event, watermark_ms):
            day = self.days.of(event.event_time_ms)
            self.events[event.customer_id, day, kind_of(event)].append(event)

    def end(self, last_ms):
        yield from self.close(self.days.of(last_ms) - 1)

    def close(self, last):
        ended = {(day, who) for who, day, _ in self.events if self.closed < day <= last}
        self.closed = max(self.closed, last)
        for day, who in sorted(ended):
            segment = getattr(self.plans.of(who), "segment", "consumer")
            if self.parameters.applies_to == "all" or segment == "consumer":
                yield from self.judged(who, day)

    def found(self, who, level, day, judged, score):
        return naive.Found(
            rule=self.name,
            customer_id=who,
            level=level,
            kind="day",
            start_ms=self.days.start_ms(day),
            event_time_ms=self.days.start_ms(judged + 1),
            observed=score,
            limit=self.parameters.score_min,
        )


def histories_of(kinds, spread, jitters):
    """Histories of several kinds through one another: pairs of a structure and its fields."""

    @st.composite
    def histories(draw):
        count = draw(st.sampled_from((0, 3, 8, 16, EVENTS_MAX, EVENTS_MAX)))
        events = []
        for number, time_ms in enumerate(instants(draw, count, spread, jitters)):
            common = dict(draw(HEADS))
            common |= {"event_id": f"e-{max(0, number - common.pop('back'))}"}
            structure, fields = draw(st.sampled_from(kinds))
            events.append(structure(event_time_ms=time_ms, **common, **draw(fields)))
        return events

    return histories()
