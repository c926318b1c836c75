"""Machines: every event of a day written down in the order it came, then looked at."""

from fractions import Fraction

from hypothesis import strategies as st

from schemas.events import Data, Sms, Voice
from tests.support.reference.scored import ScoredDays, histories_of
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, MIDNIGHTS_MS, MINUTE_MS, choices


class Twin(ScoredDays):
    """Three questions about each kind of a day, and the most human answer."""

    name, reads = "machine", ("data", "sms", "voice")

    def __init__(self, policy, plans):
        super().__init__(policy, plans)
        self.scores = {}

    def judged(self, who, day):
        scores = [
            self.score(kind, day, used)
            for kind in self.reads
            if len(self.gaps(used := self.used(who, day, kind))) >= self.parameters.human_gaps_min
        ]
        if not scores or min(scores) < self.parameters.score_min:
            return
        self.scores[who, day] = min(scores)
        yield self.found(who, "breach", day, day, min(scores))
        window = range(day - self.parameters.regular_window + 1, day + 1)
        if sum((who, d) in self.scores for d in window) >= self.parameters.regular_periods:
            yield self.found(who, "regular", day, day, min(scores))

    def used(self, who, day, kind):
        """What the customer did, once each."""
        return [
            event
            for event in self.events.get((who, day, kind), ())
            if kind == "data"
            or (
                event.direction == "mo"
                and getattr(event, "segment_number", None) in (None, 1)
                and getattr(event, "partial_sequence", None) in (None, 1)
            )
        ]

    def gaps(self, used):
        """Whole seconds between each event and the latest before it; late ones are left out."""
        gaps, last = [], None
        for second in (event.event_time_ms // 1000 for event in used):
            if last is None or second >= last:
                gaps += [] if last is None else [second - last]
                last = second
        return gaps

    def score(self, kind, day, used):
        policy, gaps = self.parameters, self.gaps(used)
        score = 0
        if len(gaps) >= policy.gaps_min and sum(gaps):
            mean = Fraction(sum(gaps), len(gaps))
            variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
            if variance * 100**2 <= (policy.variation_percent * mean) ** 2:
                score += policy.weight_intervals
        if self.is_same(kind, used):
            score += policy.weight_same
        start_ms = self.days.start_ms(day)
        hours = {min(23, (event.event_time_ms - start_ms) // HOUR_MS) for event in used}
        night = {hour for hour in hours if hour < 6}
        apart = abs(Fraction(len(night), 6) - Fraction(len(hours - night), 18))
        if night and apart <= Fraction(policy.rhythm_spread, 1000):
            score += policy.weight_rhythm
        return min(1000, score)

    def is_same(self, kind, used):
        """One other party, or sizes in the same quarter of a doubling or the next."""
        if kind != "data":
            parties = {e.recipient if kind == "sms" else e.other_party for e in used}
            if len(parties) == 1:
                return True
        if kind == "sms":
            return False
        sizes = [
            event.bytes_uplink + event.bytes_downlink if kind == "data" else event.duration_ms
            for event in used
        ]
        quarters = [((size + 1) ** 4).bit_length() - 1 for size in sizes]
        return max(quarters) - min(quarters) <= 1


LOW = {
    "score_min": 500,
    "lateness_hours": 2,
    "retention_periods": 130,
    "gaps_min": 2,
    "human_gaps_min": 1,
    "variation_percent": 60,
    "rhythm_spread": 300,
    "regular_periods": 2,
    "regular_window": 3,
}
SESSIONS = choices(bytes_uplink=(40, 40, 50, 60, 900), bytes_downlink=(0, 0, 2**53))
TEXTS = choices(
    recipient=("r", "r", "s"), direction=("mo", "mo", "mo", "mt"), segment_number=(None, None, 2)
)
CALLS = choices(
    other_party=("a", "a", "b"),
    duration_ms=(0, 1000, 1000, 1400),
    direction=("mo", "mo", "mo", "mt"),
    partial_sequence=(None, None, 2),
)
JITTERS_MS = (0, 999, 1000, MINUTE_MS, HOUR_MS, 2 * HOUR_MS, 3 * HOUR_MS, 7 * HOUR_MS, 23 * HOUR_MS)
KINDS = [*[(Data, SESSIONS)] * 6, (Sms, TEXTS), (Voice, CALLS)]
RUNS = choices(
    day=(0, 0, 1, 2, 4),
    hour=(0, 0, 1, 5, 20),
    gap_ms=(3 * HOUR_MS, 3 * HOUR_MS, 5 * HOUR_MS, 2 * HOUR_MS - 1, 0),
    who=("c0", "c0", "c1"),
    kind=(0, 0, 1, 2),
)


def noons(start_ms):
    """One event of each kind a day, so that days close while the history goes on."""
    kinds = (
        (Data, {"bytes_uplink": 1, "bytes_downlink": 1}),
        (Sms, {"recipient": "r"}),
        (Voice, {"other_party": "o", "duration_ms": 0}),
    )
    return [
        structure(
            event_id=f"noon-{day}",
            customer_id="noon",
            event_time_ms=start_ms + day * DAY_MS + DAY_MS // 2,
            **fields,
        )
        for day in range(8)
        for structure, fields in kinds
    ]


@st.composite
def trains(draw):
    """Runs of events with one gap, a few of them out of order: machines, and what is put in."""
    start_ms = draw(st.sampled_from(MIDNIGHTS_MS))
    events = []
    for run in draw(st.lists(RUNS, min_size=1, max_size=7)):
        structure, fields = ((Data, SESSIONS), (Sms, TEXTS), (Voice, CALLS))[run["kind"]]
        fixed = draw(fields)
        first_ms = start_ms + run["day"] * DAY_MS + run["hour"] * HOUR_MS
        for n in range(draw(st.sampled_from((1, 4, 6)))):
            event = structure(
                event_id=f"e-{len(events)}",
                customer_id=run["who"],
                event_time_ms=first_ms + n * run["gap_ms"],
                **fixed,
            )
            events.append(event)
    if draw(st.booleans()):
        events += noons(start_ms)
    events.sort(key=lambda event: event.event_time_ms)
    for late in draw(st.lists(st.integers(0, len(events) - 1), max_size=3)):
        events.insert(min(late + 3, len(events) - 1), events.pop(late))
    return events


CASES = {
    "days": ({}, histories_of(KINDS, DAY_MS, JITTERS_MS)),
    "trains": ({}, trains()),
    "strict": ({"score_min": 800, "variation_percent": 0, "lateness_hours": 23}, trains()),
}
