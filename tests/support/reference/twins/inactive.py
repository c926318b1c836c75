"""No use at all for some months."""

from collections import defaultdict
from datetime import date
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from schemas.events import Data, Flow, Sms, Storage, Stream, Voice
from tests.support.reference.naive import Days, Found
from tests.support.strategies.drawing import (
    CUSTOMERS,
    DAY_MS,
    EVENTS_MAX,
    HOUR_MS,
    MIDNIGHTS_MS,
    instants,
)

LOW = {"months": 1, "lateness_hours": 30}

MADE_OF = {
    Sms: {"recipient": "r"},
    Voice: {"other_party": "o", "duration_ms": 1},
    Data: {"bytes_uplink": 0, "bytes_downlink": 0},
    Flow: {"source_address": "192.0.2.1", "destination_address": "192.0.2.2", "protocol": 6},
    Storage: {"written_bytes": 1},
    Stream: {"device_id": "box", "duration_ms": 0},
}
JITTERS_MS = (0, -1, -HOUR_MS, 2 * DAY_MS, -DAY_MS, 4 * DAY_MS)


@st.composite
def uses(draw, structures=tuple(MADE_OF), spread=31 * DAY_MS):
    """Events of these kinds through one another, often months apart."""
    count = draw(st.sampled_from((0, 1, 3, 8, EVENTS_MAX, EVENTS_MAX)))
    events = []
    for number, time_ms in enumerate(instants(draw, count, spread, JITTERS_MS)):
        structure = draw(st.sampled_from(structures))
        fields = MADE_OF[structure]
        if structure is Storage:
            fields = {"written_bytes": draw(st.sampled_from((1, 0, None))), "contacts": 1}
        common = {"event_id": f"e-{number}", "customer_id": draw(st.sampled_from(CUSTOMERS))}
        events.append(structure(event_time_ms=time_ms, **common, **fields))
    return events


@st.composite
def with_ends(draw, histories):
    """The same, with a last event of every kind, so that days are closed before the end."""
    history = draw(histories)
    last_ms = MIDNIGHTS_MS[-1] + 400 * DAY_MS
    ends = [
        structure(event_id="end", customer_id="c0", event_time_ms=last_ms, **fields)
        for structure, fields in MADE_OF.items()
    ]
    return history + draw(st.permutations(ends))


CASES = {
    "of_every_kind": ({}, uses()),
    "of_every_kind_to_the_end": ({}, with_ends(uses())),
    "of_two_kinds": ({}, uses((Sms, Data))),
    "of_two_kinds_to_the_end": ({"lateness_hours": 0}, with_ends(uses((Voice, Storage)))),
    "of_many_months": ({"months": 3}, with_ends(uses((Sms, Stream), 50 * DAY_MS))),
}

USED_MS = MIDNIGHTS_MS[-1] + 12 * HOUR_MS  # on 1 January, so that 1 February is one use too late


def text(number, days, **fields):
    time_ms = USED_MS + days * DAY_MS
    event = {"event_id": f"e-{number}", "customer_id": "c0", "event_time_ms": time_ms}
    return Sms(recipient="r", **(event | fields))


ENDS = [
    structure(
        event_id="end", customer_id="c1", event_time_ms=USED_MS + 90 * DAY_MS, **MADE_OF[structure]
    )
    for structure in MADE_OF
]

EDGES = {
    "a use on the day after the month, while other kinds lag behind": (
        {},
        [text(0, 0), text(1, 32), *ENDS],
    ),
    "a late use on the last day of the month, while other kinds lag behind": (
        {},
        [text(0, 0), text(1, 32), text(2, 31), *ENDS],
    ),
    "a use of another kind within a silence of this one": (
        {},
        [text(0, 0), text(1, 70), *ENDS[1:], text(2, 90, customer_id="c1")],
    ),
}


class Twin:
    """All days of use, by customer; every day after one may begin a silence."""

    name = "inactive"
    reads = ("sms", "voice", "data", "flow", "storage", "stream")

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.plans = plans
        self.days = Days(ZoneInfo(policy.timezone))
        self.used = defaultdict(set)
        self.watermark_ms, self.began = {}, {}
        self.reported, self.cleared = set(), set()

    def closed_by(self, watermark_ms):
        return self.days.of(watermark_ms - self.parameters.lateness_hours * HOUR_MS) - 1

    def accepts(self, event, watermark_ms):
        return self.days.of(event.event_time_ms) > self.closed_by(watermark_ms)

    def feed(self, event, watermark_ms):
        kind = type(event).__name__.lower()
        self.watermark_ms[kind] = watermark_ms
        self.began.setdefault(kind, self.closed_by(watermark_ms) + 1)
        if len(self.watermark_ms) == len(self.reads):
            yield from self.close(self.closed_by(min(self.watermark_ms.values())))
        is_use = kind != "storage" or event.written_bytes
        if is_use and self.accepts(event, watermark_ms):
            self.used[event.customer_id].add(self.days.of(event.event_time_ms))

    def end(self, last_ms):
        if self.began:
            yield from self.close(self.days.of(last_ms) - 1)

    def close(self, last):
        """Every silence that has lasted for the months with this day or before, and its end."""
        ended = {w for w, c in self.plans.announced.items() if c.contract_state == "ended"}
        for who in {*self.used, *self.plans.announced} - ended:
            for start in self.starts(who):
                end = self.months_later(start, self.parameters.months)
                silent = self.used[who].isdisjoint(range(start, end))
                if silent and end - 1 <= last and (who, start) not in self.reported:
                    self.reported.add((who, start))
                    months = self.parameters.months
                    yield self.found(who, "breach", start, self.days.start_ms(end), months)
                again = min((day for day in self.used[who] if day >= start), default=last + 1)
                if silent and end <= again <= last and (who, start) not in self.cleared:
                    self.cleared.add((who, start))
                    months = max(m for m in range(999) if self.months_later(start, m) <= again)
                    yield self.found(who, "cleared", start, self.days.start_ms(again + 1), months)

    def found(self, who, level, start, time_ms, months):
        return Found(
            rule=self.name,
            customer_id=who,
            level=level,
            kind="state",
            start_ms=self.days.start_ms(start),
            event_time_ms=time_ms,
            observed=months,
            limit=self.parameters.months,
        )

    def starts(self, who):
        """The day after each use, and before the first of all the one that counting begins with."""
        yield from (day + 1 for day in self.used[who])
        if who in self.plans.announced:
            valid_from = self.days.of(self.plans.of(who).valid_from_ms)
            start = max(valid_from, min(self.began.values()))
            if all(day >= start for day in self.used[who]):
                yield start

    def months_later(self, start, months):
        """The same day so many months later, or the last of that month."""
        there = date.fromordinal(start)
        months += there.month - 1
        year, month = there.year + months // 12, months % 12 + 1
        for day in range(there.day, 0, -1):
            try:
                return date(year, month, day).toordinal()
            except ValueError:
                continue
        raise AssertionError
