"""A month's charges against a limit, step by step: `spend_limit` and `roaming_spend`."""

from collections import defaultdict
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from schemas.events import Data, Sms, Voice
from tests.support.reference import naive
from tests.support.strategies.drawing import (
    DAY_MS,
    MINUTE_MS,
    choices,
    events_of,
    month_start_ms,
)

LOW = {"warning_percent": 50, "step_seconds": 900, "pending_max": 1_000}
CHARGED = {"charge_microeur": (None, 0, 1, 40, 60, 60), "visited_plmn": ("20801", "20801", None)}
STRUCTURES = {
    Sms: {"recipient": "r"},
    Voice: {"other_party": "o", "duration_ms": 1},
    Data: {"bytes_uplink": 1, "bytes_downlink": 0},
}


@st.composite
def charges(draw, spread):
    """All three kinds through one another."""
    kinds = [
        draw(events_of(structure, choices(**CHARGED), spread=spread, **fixed))
        for structure, fixed in STRUCTURES.items()
    ]
    left = [iter(history) for history in kinds]
    turns = draw(st.permutations([n for n, h in enumerate(kinds) for _ in h]))
    return [next(left[turn]) for turn in turns]


CASES = {
    "steps": ({}, charges(5 * MINUTE_MS)),
    "days": ({"warning_percent": 80}, charges(5 * DAY_MS)),
}


def used(structure, number, month, day, charge=None):
    """Use abroad by c1, who may be charged with less than 130 in a month."""
    return structure(
        event_id=f"e-{number}",
        customer_id="c1",
        event_time_ms=month_start_ms(month) + day * DAY_MS,
        charge_microeur=charge,
        visited_plmn="20801",
        **STRUCTURES[structure],
    )


MARCH = 2026 * 12 + 2
EDGES = {
    "a month in breach that ends together with steps of a later month": (
        {},
        [
            used(Data, 0, MARCH, 9, 130),
            *(used(structure, 1, MARCH, 20) for structure in STRUCTURES),
            used(Data, 2, MARCH + 2, 9, 60),
            *(used(structure, 3, MARCH + 2, 20) for structure in STRUCTURES),
        ],
    ),
}


class Spending:
    """Every charge waits until all kinds have passed its step."""

    reads = ("sms", "voice", "data")

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.plans = plans
        self.months = naive.Months(ZoneInfo(policy.timezone))
        self.step_ms = self.parameters.step_seconds * 1000
        self.newest = dict.fromkeys(self.reads, 0)
        self.waiting = []
        self.spent, self.level, self.limits = defaultdict(int), defaultdict(int), {}

    def accepts(self, event, watermark_ms):
        return self.months.of(event.event_time_ms) == self.months.of(watermark_ms)

    def feed(self, event, watermark_ms):
        self.newest[type(event).__name__.lower()] = watermark_ms
        if self.counts(event) and event.charge_microeur and self.accepts(event, watermark_ms):
            end_ms = watermark_ms - watermark_ms % self.step_ms + self.step_ms
            self.waiting.append((end_ms, event.customer_id, event.charge_microeur))
        yield from self.close(min(self.newest.values()))

    def end(self, last_ms):
        yield from self.close(last_ms)

    def close(self, reached_ms):
        """Go from one end of a step with charges to the next; months end after their last step."""
        for end_ms in sorted({end_ms for end_ms, _, _ in self.waiting if end_ms <= reached_ms}):
            yield from self.end_months(end_ms - 1)
            month = self.months.of(end_ms - 1)
            for at_ms, who, charge in self.waiting:
                self.spent[who, month] += charge if at_ms == end_ms else 0
            for who in sorted({who for at_ms, who, _ in self.waiting if at_ms == end_ms}):
                yield from self.compared(who, month, end_ms)
            self.waiting = [each for each in self.waiting if each[0] != end_ms]
        yield from self.end_months(reached_ms)

    def compared(self, who, month, end_ms):
        limit = getattr(self.plans.of(who), self.plan_number)
        if limit is None:
            return
        warned = limit * self.parameters.warning_percent // 100
        for level, above in ((1, warned), (2, limit)):
            if self.level[who, month] < level and self.spent[who, month] > above:
                self.level[who, month] = level
                self.limits[who, month] = limit
                yield self.found(who, ("early", "breach")[level - 1], month, end_ms, above)

    def end_months(self, reached_ms):
        for (who, month), level in sorted(self.level.items()):
            ended_ms = self.months.start_ms(month + 1)
            if level == 2 and ended_ms <= reached_ms:
                self.level[who, month] = 3
                yield self.found(who, "cleared", month, ended_ms, self.limits[who, month])

    def found(self, who, level, month, time_ms, limit):
        return naive.Found(
            rule=self.name,
            customer_id=who,
            level=level,
            kind="month",
            start_ms=self.months.start_ms(month),
            event_time_ms=time_ms,
            observed=self.spent[who, month],
            limit=limit,
        )
