"""Small, unkind event histories: few customers, low limits, times where calendars go wrong.

A history is a list of events with, here and there, the mean of a closed month (`CohortAverage`), in
the order of the partition. What is drawn on purpose: local midnights, days of 23 and 25 hours, the
year's end, events that come late or too late, ids that come again, amounts of zero, long calls.
"""

from datetime import datetime

from hypothesis import strategies as st

from detectors.policies.editions import load_policy
from schemas.events import CALL_MS_MAX, Data, Flow, Sms, Storage, Voice
from schemas.records import CohortAverage
from tests.support.reference import twins
from tests.support.strategies.drawing import (
    CUSTOMERS,
    DAY_MS,
    HOUR_MS,
    MIDNIGHTS_MS,
    ZONE,
    choices,
    events_of,
    month_start_ms,
    only,
    with_parameters,
)

LOW = with_parameters(
    load_policy(),
    **{name: twin.LOW for name, twin in twins.MODULES.items()},
)
"""The default policy with limits that a handful of events crosses."""

ROLLING = with_parameters(
    LOW,
    sms_daily={
        "limit": 1,
        "window": "rolling",
        "length_seconds": 6 * 3600,
        "step_seconds": 3600,
        "regular_periods": None,
        "regular_window": None,
    },
    sms_monthly={"window": "rolling", "length_seconds": 3 * 86_400, "step_seconds": 86_400},
    voice_daily={
        "window": "rolling",
        "length_seconds": 12 * 3600,
        "step_seconds": 3 * 3600,
        "regular_periods": None,
        "regular_window": None,
    },
)
"""The counting rules over rolling windows."""


RECIPIENTS = choices(
    recipient=("a", "b", "c", "d"), direction=("mo", "mo", "mt"), message_reference=("m",)
)
SMS, VOICE, FLOW, STORAGE, DATA = (
    twins.MODULES[name].HISTORIES
    for name in ("sms_daily", "voice_daily", "portscan", "storage_capacity", "data_monthly_ratio")
)


@st.composite
def mixed(draw):
    """All kinds through one another."""
    histories = [draw(kind) for kind in (SMS, VOICE, FLOW, STORAGE, DATA)]
    left = [iter(history) for history in histories]
    turns = draw(st.permutations([n for n, h in enumerate(histories) for _ in h]))
    return [next(left[turn]) for turn in turns]


def cases_of(name, twin):
    """The cases of one rule's file, each under that rule alone."""
    for case, (changes, histories) in twin.CASES.items():
        yield f"{name}_{case}", (only(with_parameters(LOW, **{name: changes}), name), histories)


FIRST = ("sms_daily", "sms_monthly", "voice_daily", "data_monthly_ratio", "portscan")
FIRST_LOW, FIRST_ROLLING = (only(policy, *FIRST, "storage_capacity") for policy in (LOW, ROLLING))

CASES = {
    "sms": (FIRST_LOW, SMS),
    "sms_rolling": (FIRST_ROLLING, SMS),
    "voice": (FIRST_LOW, VOICE),
    "voice_rolling": (FIRST_ROLLING, VOICE),
    # Rules that do not agree on what is too late.
    "calls": (only(LOW, "voice_daily", "voice_weekly", "voice_continuous", "monitoring"), VOICE),
    "data": (FIRST_LOW, DATA),
    "portscan": (FIRST_LOW, FLOW),
    "portscan_sweeps": (FIRST_LOW, twins.portscan.sweeps()),
    "storage": (FIRST_LOW, STORAGE),
    **{name: case for rule, twin in twins.MODULES.items() for name, case in cases_of(rule, twin)},
    # Two days late is in time for one of them, an hour late for the others.
    "sms_late_for_some": (
        only(LOW, "sms_daily", "sms_group", "sms_bulk"),
        events_of(Sms, RECIPIENTS, HOUR_MS // 3),
    ),
    "all": (LOW, mixed()),
}
"""What every promise is checked over: a policy, and histories to run under it."""


# -- edges ----------------------------------------------------------------------------------------

NOON_MS = int(datetime(2026, 6, 15, 12, tzinfo=ZONE).timestamp()) * 1000
STEP_MS = 30_000


def numbered(events):
    """Events of (structure, time, fields), each with an id of its own unless it names one."""
    made = []
    for number, (structure, time_ms, fields) in enumerate(events):
        head = {"event_id": f"e-{number}", "customer_id": "c0", "event_time_ms": time_ms}
        made.append(structure(**(head | fields)))
    return made


def texts(*times, **fields):
    return [(Sms, time_ms, {"recipient": "r"} | fields) for time_ms in times]


def flows(step, ports, host="10.0.0.1", **fields):
    there = {"source_address": "192.0.2.1", "destination_address": host, "protocol": 6}
    at_ms = MIDNIGHTS_MS[0] + step * STEP_MS
    return [
        (Flow, at_ms, {**there, "destination_port": port, "state": "rejected", **fields})
        for port in ports
    ]


def snapshots(*seen, **fields):
    return [(Storage, time_ms, {"used_bytes": used} | fields) for time_ms, used in seen]


def bytes_in(month, used):
    return [(Data, month_start_ms(month) + DAY_MS, {"bytes_uplink": used, "bytes_downlink": 0})]


def mean_of(month):
    """25 bytes, so that the limit is 38."""
    return CohortAverage(
        rule="data_monthly_ratio",
        cohort="unlimited data",
        period_start_ms=month_start_ms(month),
        period_end_ms=month_start_ms(month + 1),
        total=50,
        customers=2,
    )


def with_means(before, months, after):
    """Events, then the means of months, then more events."""
    events = numbered([*before, *after])
    return [*events[: len(before)], *map(mean_of, months), *events[len(before) :]]


JANUARY = 2026 * 12
MANY_OTHERS = [flow for n in range(40) for flow in flows(123, [9], f"10.1.0.{n}", customer_id="c1")]
CALLS_OF_DAYS = [
    (Voice, NOON_MS + days * DAY_MS, {"other_party": "o", "duration_ms": hours * HOUR_MS})
    for days, hours in ((0, 1), (0, 1), (2, 1), (2, 1), (1, 1), (1, 3))
]

FIRST_EDGES = {
    "an id that comes again a day later, and an hour after that": (
        FIRST_LOW,
        numbered(
            [
                *texts(NOON_MS, event_id="again"),
                *texts(NOON_MS + 24 * HOUR_MS, event_id="again"),
                *texts(NOON_MS + 25 * HOUR_MS, event_id="again"),
                *texts(NOON_MS + 25 * HOUR_MS, event_id="again", source="a"),
            ]
        ),
    ),
    "an id of the checkpoint before the last": (
        FIRST_LOW,
        numbered(
            [
                *texts(NOON_MS, event_id="again"),
                *texts(NOON_MS, NOON_MS),
                *texts(NOON_MS, event_id="again"),
            ]
        ),
    ),
    # The repeated record moves the watermark into the next day, the rules see nothing of it.
    "a repeated record that moves the watermark on": (
        FIRST_LOW,
        numbered(
            [
                *texts(NOON_MS - 4 * DAY_MS, customer_id="c1"),
                *texts(NOON_MS + 11 * HOUR_MS, customer_id="c1", event_id="again"),
                *texts(NOON_MS + 13 * HOUR_MS, customer_id="c1", event_id="again"),
                *texts(NOON_MS + 14 * HOUR_MS),
                *texts(NOON_MS + 14 * HOUR_MS, customer_id="c1"),
            ]
        ),
    ),
    # Hours:   0 . . . . . 6 . . . . . . . . . . . 18     six back from six, twelve back from 18
    #          x           late                    newest
    "a late message whose window begins before what late messages may still reach": (
        FIRST_ROLLING,
        numbered(texts(NOON_MS, NOON_MS + 18 * HOUR_MS, NOON_MS + 6 * HOUR_MS)),
    ),
    # Seven times 24 hours from just before a midnight of the week that has an hour less.
    "a call of seven days that ends on the ninth": (
        FIRST_LOW,
        numbered(
            [
                (
                    Voice,
                    MIDNIGHTS_MS[0] - 4 * DAY_MS - 1,
                    {"other_party": "o", "duration_ms": CALL_MS_MAX},
                ),
                (
                    Voice,
                    MIDNIGHTS_MS[0] + 3 * DAY_MS + 5 * HOUR_MS,
                    {"other_party": "o", "duration_ms": 1_000},
                ),
            ]
        ),
    ),
    "a late day between two that makes the last one regular, with more use before": (
        FIRST_LOW,
        numbered(CALLS_OF_DAYS),
    ),
    # Only the counting of days takes the message of three hours ago, so nobody answers it.
    "an answer to a message that is too late to count": (
        only(LOW, "sms_daily", "sms_bulk"),
        numbered(
            [
                *texts(NOON_MS + 3 * HOUR_MS, customer_id="c1"),
                *texts(NOON_MS, recipient="a"),
                *texts(NOON_MS + 3 * HOUR_MS, recipient="a", direction="mt"),
                *texts(NOON_MS + 3 * HOUR_MS, recipient="a"),
                *texts(NOON_MS + 3 * HOUR_MS, recipient="b"),
                *texts(NOON_MS + 3 * HOUR_MS, recipient="c"),
            ]
        ),
    ),
    "two stretches above the capacity within a millisecond": (
        FIRST_LOW,
        numbered(
            snapshots(
                (NOON_MS, 13),
                (NOON_MS, 0),
                (NOON_MS, 13),
                (NOON_MS, 0),
                (NOON_MS + 1, 13),
                (NOON_MS + 9, 0),
                customer_id=CUSTOMERS[2],
            )
        ),
    ),
    "a stretch above the capacity that ends at midnight in Greenwich": (
        FIRST_LOW,
        numbered(
            snapshots((20_000 * DAY_MS - 1, 13), (20_000 * DAY_MS, 0), customer_id=CUSTOMERS[2])
        ),
    ),
    "a stretch above the capacity for longer than days are remembered": (
        FIRST_LOW,
        numbered(
            snapshots(
                *((NOON_MS + day * DAY_MS, 13 if day < 449 else 0) for day in range(450)),
                customer_id=CUSTOMERS[2],
            )
        ),
    ),
    # Steps:   0 . . 3 . . . . . 123     120 back from 123, three back from three
    #          x x   late        newest
    "a late flow whose window begins before what late flows may still reach": (
        FIRST_LOW,
        numbered([*flows(0, [1, 2]), *MANY_OTHERS, *flows(3, [3])]),
    ),
    # The first scan's windows end with steps 0 to 3; the next one's begin within three of that.
    "a scan that goes on after an hour's silence is one scan": (
        FIRST_LOW,
        numbered([*flows(0, [1, 2, 3]), *flows(125, [7]), *flows(5, [4, 5, 6])]),
    ),
    # Enough ports of a host first, then enough hosts on a port in the very same window.
    "a window in which two scans cross": (
        FIRST_LOW,
        numbered([*flows(0, [1, 2, 3]), *flows(0, [1], "10.0.0.2"), *flows(0, [2], "10.0.0.3")]),
    ),
    "late bytes of a month in breach, before the next month's breach": (
        FIRST_LOW,
        with_means(
            [*bytes_in(JANUARY, 40), *bytes_in(JANUARY + 1, 30), *bytes_in(JANUARY + 2, 0)],
            [JANUARY, JANUARY + 1],
            [*bytes_in(JANUARY, 1), *bytes_in(JANUARY + 1, 10)],
        ),
    ),
    "two months that cross in the wrong order": (
        FIRST_LOW,
        with_means(
            [*bytes_in(JANUARY, 30), *bytes_in(JANUARY + 1, 30), *bytes_in(JANUARY + 2, 0)],
            [JANUARY, JANUARY + 1],
            [*bytes_in(JANUARY + 1, 10), *bytes_in(JANUARY, 10)],
        ),
    ),
    "a month with a mean of its own is not held against the one before": (
        FIRST_LOW,
        with_means(
            [*bytes_in(JANUARY + 1, 30), *bytes_in(JANUARY + 2, 30)],
            [JANUARY, JANUARY + 1],
            [*bytes_in(JANUARY + 1, 10), *bytes_in(JANUARY + 2, 10)],
        ),
    ),
}

EDGES = FIRST_EDGES | {
    f"{rule}: {edge}": (only(with_parameters(LOW, **{rule: changes}), rule), history)
    for rule, twin in twins.MODULES.items()
    for edge, (changes, history) in getattr(twin, "EDGES", {}).items()
}
"""Policies and histories, by what is hard about them."""
