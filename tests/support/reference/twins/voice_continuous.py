"""The slow twin of `voice_continuous`: every call of every chain, sorted anew for each call."""

from collections import defaultdict
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from schemas.events import CALL_MS_MAX, Voice
from tests.support.reference import naive
from tests.support.strategies.drawing import (
    CUSTOMERS,
    DAY_MS,
    HOUR_MS,
    MIDNIGHTS_MS,
    MINUTE_MS,
    choices,
    events_of,
)

CHAINS, DAYS = 3, 64


class Twin:
    """Calls by start time, the next at most the gap after the latest end so far."""

    name, reads = "voice_continuous", ("voice",)

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.gap_ms = self.parameters.gap_seconds * 1000
        self.days = naive.Days(ZoneInfo(policy.timezone))
        self.calls = defaultdict(list)
        self.closed_ms = defaultdict(int)
        self.breach_days = defaultdict(set)

    def accepts(self, event, watermark_ms):
        return event.event_time_ms >= watermark_ms - self.parameters.lateness_hours * HOUR_MS

    def feed(self, event, watermark_ms):
        who, start_ms = event.customer_id, event.event_time_ms
        if event.direction != "mo" or event.duration_ms == 0 or start_ms <= self.closed_ms[who]:
            return
        if not self.accepts(event, watermark_ms):
            return
        before = self.chains(who)
        call = (start_ms, start_ms + event.duration_ms)
        self.calls[who].append(call)
        after = self.chains(who)
        (mine,) = [chain for chain in after if call in chain]
        parts = [chain for chain in before if chain[0] in mine]
        if self.length(mine) > self.parameters.limit_ms and not any(
            self.length(part) > self.parameters.limit_ms for part in parts
        ):
            yield self.found(event, "breach", mine)
            if self.makes_regular(who, self.days.of(mine[0][0])):
                yield self.found(event, "regular", mine)
        if len(after) > CHAINS:
            self.closed_ms[who] = max(end for _, end in after[0]) + self.gap_ms
            self.calls[who] = [call for call in self.calls[who] if call not in after[0]]

    def chains(self, who):
        chains = []
        for start_ms, end_ms in sorted(self.calls[who]):
            if chains and start_ms <= max(end for _, end in chains[-1]) + self.gap_ms:
                chains[-1].append((start_ms, end_ms))
            else:
                chains.append([(start_ms, end_ms)])
        return chains

    def length(self, chain):
        return sum(end - start for start, end in chain)

    def makes_regular(self, who, day):
        """Whether some stretch of days has enough breaches with this one, and had not before."""
        known = {d for d in self.breach_days[who] if d > max({day} | self.breach_days[who]) - DAYS}
        if day in known or day <= max(known, default=0) - DAYS:
            self.breach_days[who] = known
            return False
        self.breach_days[who] = known | {day}
        needed, window = self.parameters.regular_periods, self.parameters.regular_window
        return any(
            len([d for d in known | {day} if last - window < d <= last]) >= needed
            and (last == day or len([d for d in known if last - window < d <= last]) < needed)
            for last in known | {day}
            if day <= last < day + window
        )

    def found(self, event, level, chain):
        return naive.Found(
            rule=self.name,
            customer_id=event.customer_id,
            level=level,
            kind="chain",
            start_ms=chain[0][0],
            event_time_ms=event.event_time_ms,
            observed=self.length(chain),
            limit=self.parameters.limit_ms,
        )


LOW = {
    "limit_ms": 2 * HOUR_MS,
    "gap_seconds": 60,
    "lateness_hours": 80,
    "regular_periods": 2,
    "regular_window": 3,
}
CALLS = choices(
    duration_ms=(0, 1, HOUR_MS, HOUR_MS, 2 * HOUR_MS, 2 * HOUR_MS + 1, 26 * HOUR_MS, CALL_MS_MAX),
    direction=(*["mo"] * 5, "mt"),
)
SHORT = choices(duration_ms=(1, MINUTE_MS, MINUTE_MS, 5 * MINUTE_MS), direction=(*["mo"] * 8, "mt"))


@st.composite
def resumed(draw):
    """Calls that follow one another closely, some of them held back for a while."""
    runs = choices(
        day=(0, 0, 1, 2, 3, -1),
        minute=(-9, 0, 3, 60),
        count=(1, 2, 4),
        gap_ms=(-MINUTE_MS, 0, MINUTE_MS, MINUTE_MS, MINUTE_MS + 1),
        customer_id=(CUSTOMERS[0], *CUSTOMERS),
        back=(0, 0, 2, 5),
    )
    calls = []
    for run in draw(st.lists(runs, max_size=9)):
        at_ms = MIDNIGHTS_MS[0] + run["day"] * DAY_MS + run["minute"] * MINUTE_MS
        for _ in range(run["count"]):
            calls.insert(
                max(0, len(calls) - run["back"]),
                {
                    "event_time_ms": at_ms,
                    "customer_id": run["customer_id"],
                    "duration_ms": 2 * MINUTE_MS,
                },
            )
            at_ms += 2 * MINUTE_MS + run["gap_ms"]
    return [Voice(event_id=f"e-{n}", other_party="o", **call) for n, call in enumerate(calls[:24])]


MINUTES = {"limit_ms": 5 * MINUTE_MS}
CASES = {
    "days": ({}, events_of(Voice, CALLS, other_party="o")),
    "hours": ({"limit_ms": HOUR_MS}, events_of(Voice, CALLS, HOUR_MS, other_party="o")),
    "minutes": (
        MINUTES,
        events_of(Voice, SHORT, MINUTE_MS, jitters=(0, -1, 1, 30_000), other_party="o"),
    ),
    "resumed": (MINUTES, resumed()),
    "late": (MINUTES | {"lateness_hours": 1}, resumed()),
    "once": ({"limit_ms": 0, "gap_seconds": 0, "regular_periods": 1}, resumed()),
}


def calls(*times, customer_id="c0"):
    """Calls of a start and an end in minutes after a midnight, in the order they come."""
    return [
        Voice(
            event_id=f"{customer_id}-{number}",
            customer_id=customer_id,
            event_time_ms=MIDNIGHTS_MS[1] + start * MINUTE_MS,
            other_party="o",
            duration_ms=(end - start) * MINUTE_MS,
        )
        for number, (start, end) in enumerate(times)
    ]


A_DAY = 24 * 60
EDGES = {
    "a late call makes one of two chains": (MINUTES, calls((0, 3), (6, 9), (4, 5))),
    "a late call makes one of two chains in breach": (
        MINUTES | {"limit_ms": 2 * MINUTE_MS},
        calls((0, 3), (6, 9), (4, 5)),
    ),
    "a late call moves the start of a chain to the day before": (
        MINUTES,
        calls((A_DAY + 1, A_DAY + 7), (-2, 4), (0, 3), (A_DAY - 4, A_DAY), (3, 4)),
    ),
    "a call of a chain that three newer ones took the place of": (
        MINUTES,
        calls((0, 6), (10, 11), (20, 21), (30, 31), (0, 6), (7, 30), (8, 15)),
    ),
    "a call before all that are kept makes room for itself": (
        MINUTES,
        calls((10, 11), (20, 21), (30, 31), (0, 6), (0, 6), (8, 14)),
    ),
    "a day before two others makes the later of them regular": (
        MINUTES | {"regular_window": 2},
        calls((0, 6), (2 * A_DAY, 2 * A_DAY + 6), (A_DAY, A_DAY + 6)),
    ),
    "a breach that is older than the days that are known": (
        MINUTES | {"lateness_hours": 2400, "regular_periods": 1},
        calls((64 * A_DAY, 64 * A_DAY + 6), (A_DAY, A_DAY + 6), (0, 6)),
    ),
}
