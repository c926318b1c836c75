"""Recipients in any window, and who of them ever answered."""

from collections import defaultdict
from math import log

from hypothesis import strategies as st

from schemas.events import Sms
from schemas.hashing import hash_strings, mix
from tests.support.reference import naive
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, MINUTE_MS, choices, events_of

LOW = {
    "recipients": 2,
    "answered_percent": 33,
    "history_days": 2,
    "length_seconds": 180,
    "step_seconds": 60,
    "retention_hours": 1,
}


def estimate(bits, of):
    """How many elements set so many of a map's bits."""
    return round(-of * log(max(1, of - len(bits)) / of))


class Twin(naive.Distinct):
    """A set of recipients, and sets of set bits for each half of the history."""

    name, reads = "sms_bulk", ("sms",)

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        super().__init__(*naive.rolling(self.parameters, "all"))
        self.half_ms = self.parameters.history_days * DAY_MS // 2
        self.recipients, self.answered = defaultdict(set), defaultdict(set)

    def feed(self, sms, watermark_ms):
        if not self.accepts(sms, watermark_ms):
            return
        self.newest = watermark_ms // self.half_ms
        columns = (hash_strings([text]) for text in (sms.customer_id, sms.recipient))
        spread = int(mix(*columns)[0])
        key = (sms.customer_id, sms.event_time_ms // self.half_ms)
        if sms.direction == "mo":
            self.recipients[key].add(spread >> 56)
        elif spread >> 56 in self.held(self.recipients, sms.customer_id):
            self.answered[key].add(spread >> 50 & 63)
        yield from super().feed(sms, watermark_ms)

    def held(self, maps, customer_id):
        """Bits of the two halves before the newest, and of that one."""
        return {
            bit
            for half in range(self.newest - 2, self.newest + 1)
            for bit in maps.get((customer_id, half), ())
        }

    def touched(self, sms):
        if sms.direction == "mo":
            yield "all", "all", sms.recipient, self.parameters.recipients + 1

    def is_breach(self, sms):
        enough = self.parameters.recipients + 1
        recipients = max(estimate(self.held(self.recipients, sms.customer_id), 256), enough)
        answered = estimate(self.held(self.answered, sms.customer_id), 64)
        return 100 * answered < self.parameters.answered_percent * recipients


MESSAGES = choices(
    recipient=("a", "b", "c", "d", "a" * 256),
    direction=("mo", "mo", "mt"),
    service=("sms", "sms", "mms"),
    segment_number=(None, None, 2),
)
JITTERS_MS = (0, -1, 59_999, 60_000, 179_999, 180_000)


@st.composite
def rounds(draw):
    """Many messages in few draws: rounds to everybody, and answers before, in and after them."""
    runs = choices(
        hour=(0, 0, 1, 20, 24, 47, 60, 100),
        count=(1, 2, 3, 4),
        first=(0, 0, 2, 4),
        direction=("mo", "mo", "mt"),
    )
    messages = []
    for run in draw(st.lists(runs, max_size=12)):
        for n in range(run["count"]):
            sms = Sms(
                event_id=f"e-{len(messages)}",
                customer_id="c0",
                event_time_ms=20_000 * DAY_MS + run["hour"] * HOUR_MS + n,
                recipient=f"r{run['first'] + n}",
                direction=run["direction"],
            )
            messages.append(sms)
    return messages


CASES = {
    "minutes": ({}, events_of(Sms, MESSAGES, MINUTE_MS, JITTERS_MS)),
    "hours": ({"retention_hours": 20}, events_of(Sms, MESSAGES, 13 * HOUR_MS, JITTERS_MS)),
    "rounds": ({"answered_percent": 40}, rounds()),
}
