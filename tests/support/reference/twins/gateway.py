"""SIM boxes: every number written down, and each sign asked for one by one."""

from math import log

from detectors.kernels.hashing import SPREAD
from schemas.events import Sms, Voice
from schemas.hashing import hash_strings
from tests.support.reference.scored import ScoredDays, histories_of
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, MIDNIGHTS_MS, MINUTE_MS, choices

BITS, SAMPLED = 128, 256


def estimate(numbers):
    """From how many of 128 bits are left, as one would do with a pencil."""
    set_bits = {int(hash_strings([n])[0]) * int(SPREAD) % 2**64 * BITS // 2**64 for n in numbers}
    return round(BITS * log(BITS / max(BITS - len(set_bits), 1)))


class Twin(ScoredDays):
    """The day's calls and texts of everybody, and the sum of five signs."""

    name, reads = "gateway", ("voice", "sms")

    def calls(self, who, day):
        events = self.events.get((who, day, "voice"), ())
        return [call for call in events if call.partial_sequence in (None, 1)]

    def device(self, who, day):
        """Of the first call that tells."""
        return next(
            (c.served_imei for c in self.calls(who, day) if c.served_imei is not None), None
        )

    def judged(self, who, day):
        policy, calls = self.parameters, self.calls(who, day)
        made = [call for call in calls if call.direction == "mo"]
        if len(made) < policy.calls_min:
            return
        sample = [call.other_party for call in made[:SAMPLED]]
        texts = [
            text
            for text in self.events.get((who, day, "sms"), ())
            if text.direction == "mo" and text.segment_number in (None, 1)
        ]
        device = self.device(who, day)
        everybody = {other for other, d, kind in self.events if (d, kind) == (day, "voice")}
        sims = [other for other in everybody if self.device(other, day) == device]
        score = 0
        if len(made) >= policy.ratio * (len(calls) - len(made)):
            score += policy.weight_ratio
        if min(estimate(sample), len(sample)) * 1000 >= policy.distinct_share * len(sample):
            score += policy.weight_distinct
        if len({call.cell_id for call in calls if call.cell_id is not None}) == 1:
            score += policy.weight_one_place
        if not texts:
            score += policy.weight_voice_only
        if device is not None and len(sims) >= policy.sims_min:
            score += policy.weight_sims
        if score >= policy.score_min:
            yield self.found(who, "breach", day, day, min(1000, score))


LOW = {
    "score_min": 500,
    "lateness_hours": 2,
    "retention_periods": 100,
    "calls_min": 2,
    "ratio": 2,
    "distinct_share": 700,
    "sims_min": 2,
}
CALLS = choices(
    other_party=("a", "a", "b", "c"),
    direction=("mo", "mo", "mo", "mt"),
    cell_id=("here", "here", "here", "there", None),
    served_imei=("one", "two", None),
    partial_sequence=(None, None, 1, 2),
    duration_ms=(0,),
)
TEXTS = choices(
    recipient=("r",),
    direction=("mo", "mo", "mt"),
    segment_number=(None, None, 2),
)
JITTERS_MS = (0, -1, MINUTE_MS, -HOUR_MS, HOUR_MS, 2 * HOUR_MS - 1, 2 * HOUR_MS, 23 * HOUR_MS)
KINDS = [*[(Voice, CALLS)] * 5, (Sms, TEXTS)]
HISTORIES = histories_of(KINDS, DAY_MS, JITTERS_MS)

CASES = {
    "days": ({}, HISTORIES),
    "strict": ({"score_min": 750, "calls_min": 3, "lateness_hours": 0}, HISTORIES),
    "slow": ({"lateness_hours": 23}, HISTORIES),
}


def on_day(day, *events):
    """Events a minute apart from local noon on."""
    first_ms = MIDNIGHTS_MS[0] + day * DAY_MS + 12 * HOUR_MS
    return [
        structure(
            event_id=f"{day}-{n}",
            event_time_ms=first_ms + n * MINUTE_MS,
            **({"customer_id": "c0"} | fields),
        )
        for n, (structure, fields) in enumerate(events)
    ]


def call(party, **fields):
    return Voice, {"other_party": party, "duration_ms": 0} | fields


def text(customer_id):
    return Sms, {"recipient": "r", "customer_id": customer_id}


TEXT = text("c0")
LATER = on_day(2, call("z"), TEXT)

EDGES = {
    # Distinct numbers 250, the ratio 300: without it, or with the 100 for no texts, too little.
    "just as many times more calls made than received": (
        {},
        [*on_day(0, call("a"), call("b"), call("c", direction="mt"), TEXT), *LATER],
    ),
    # The ratio 300, one place 150, no text 100; who sent one is a point short.
    "a text makes the difference": (
        {"distinct_share": 1000},
        [
            *on_day(0, *[call("a", cell_id="here")] * 2),
            *on_day(
                1,
                *[call("a", cell_id="here", customer_id="c1")] * 2,
                (Sms, TEXT[1] | {"customer_id": "c1"}),
            ),
            *LATER,
        ],
    ),
    # After 256 calls to 256 numbers 80 to one of them: they change nothing.
    "more calls than are looked at": (
        {"score_min": 250, "distinct_share": 800, "weight_ratio": 0, "weight_voice_only": 0},
        [*on_day(0, *[call(f"n{min(n, 255)}") for n in range(336)]), *LATER],
    ),
}
