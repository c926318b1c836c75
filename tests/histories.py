"""Small, unkind event histories: few customers, low limits, times where calendars go wrong.

A history is a list of events with, here and there, the mean of a closed month (`CohortAverage`), in
the order of the partition. What is drawn on purpose: local midnights, days of 23 and 25 hours, the
year's end, events that come late or too late, ids that come again, amounts of zero, long calls.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st

from detectors.policies import load_policy
from schemas.events import CALL_MS_MAX, Data, Flow, Sms, Storage, Voice
from schemas.records import CohortAverage, Customer

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
ZONE = ZoneInfo("Europe/Brussels")
EVENTS_MAX = 24

MIDNIGHTS_MS = [
    int(datetime(*day, tzinfo=ZONE).timestamp()) * 1000
    for day in ((2026, 3, 29), (2026, 3, 30), (2026, 10, 25), (2026, 10, 26), (2027, 1, 1))
]
"""Around these everything happens: both ends of the short and of the long day, and of a year."""

JITTERS_MS = (0, -1, 1, MINUTE_MS, -HOUR_MS, HOUR_MS, 2 * HOUR_MS, 3 * HOUR_MS, 23 * HOUR_MS)
CUSTOMERS = ("c0", "c1", "ünlimited/2")

ANNOUNCED = (
    Customer(customer_id="c1", plan="fast", unlimited=["sms", "voice", "data"]),
    Customer(customer_id="ünlimited/2", plan="pocket", storage_capacity_bytes=12),
    Customer(
        customer_id="new in 2027",
        plan="fast",
        unlimited=["data"],
        valid_from_ms=MIDNIGHTS_MS[-1],
    ),
)


def with_parameters(policy, **tables):
    """A policy with some parameters of some rules changed."""
    changed = {
        name: msgspec.convert(msgspec.to_builtins(policy.rules[name]) | table, type(rule))
        for name, rule in policy.rules.items()
        if (table := tables.get(name)) is not None
    }
    return msgspec.structs.replace(policy, rules=policy.rules | changed)


LOW = with_parameters(
    msgspec.structs.replace(load_policy(), dedup_window_hours=30),
    sms_daily={"limit": 1, "retention_periods": 2, "regular_periods": 2, "regular_window": 3},
    sms_monthly={"limit": 3, "retention_periods": 1},
    voice_daily={"limit_ms": 2 * HOUR_MS, "retention_periods": 3, "regular_periods": 2},
    data_monthly_ratio={"ratio": 1.5, "cohort_min": 2},
    portscan={
        "vertical_ports": 3,
        "horizontal_hosts": 2,
        "length_seconds": 90,
        "retention_hours": 1,
    },
)
"""The default policy with limits that a handful of events crosses."""

ROLLING = with_parameters(
    LOW,
    sms_daily={
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


def instants(draw, count, spread, jitters):
    """Times of events in the order they come: some rising, some late, some far too late."""
    anchor = draw(st.sampled_from(MIDNIGHTS_MS))
    time = st.tuples(st.integers(-3, 3), st.sampled_from(jitters))
    times = [
        anchor + shift * spread + jitter
        for shift, jitter in draw(st.lists(time, min_size=count, max_size=count))
    ]
    if draw(st.booleans()):
        return times
    delay = st.sampled_from((0, 0, 0, spread, 3 * spread, 40 * spread))
    delays = draw(st.lists(delay, min_size=count, max_size=count))
    order = sorted(range(count), key=lambda row: times[row] + delays[row])
    return [times[row] for row in order]


def head(draw, number, time_ms):
    """What every event has; an id may be one of an earlier event."""
    back = draw(st.sampled_from((0, 0, 0, 0, 1, 2, 5)))
    return {
        "event_id": f"e-{max(0, number - back)}",
        "customer_id": draw(st.sampled_from(CUSTOMERS)),
        "event_time_ms": time_ms,
        "source": draw(st.sampled_from((None, None, None, "a", ""))),
    }


def events_of(make, spread=DAY_MS, jitters=JITTERS_MS):
    """Histories of one kind of event; `make` draws what the kind adds to the head."""

    @st.composite
    def histories(draw):
        count = draw(st.integers(0, EVENTS_MAX))
        times = instants(draw, count, spread, jitters)
        return [make(draw, **head(draw, n, time_ms)) for n, time_ms in enumerate(times)]

    return histories()


def make_sms(draw, **common):
    return Sms(
        recipient="r",
        direction=draw(st.sampled_from(("mo", "mo", "mo", "mt"))),
        service=draw(st.sampled_from(("sms", "sms", "sms", "mms"))),
        segment_number=draw(st.sampled_from((None, None, 1, 2))),
        **common,
    )


def make_voice(draw, **common):
    durations = (0, 1, HOUR_MS, 2 * HOUR_MS, 5 * HOUR_MS, 26 * HOUR_MS, 73 * HOUR_MS, CALL_MS_MAX)
    return Voice(
        other_party="o",
        duration_ms=draw(st.sampled_from(durations)),
        direction=draw(st.sampled_from(("mo", "mo", "mo", "mt"))),
        **common,
    )


def make_data(draw, **common):
    uplink = draw(st.sampled_from((0, 1, 40)))
    downlink = draw(st.sampled_from((0, 60, 2**53)))
    return Data(bytes_uplink=uplink, bytes_downlink=downlink, **common)


def make_flow(draw, **common):
    states = ("rejected", "unanswered", "unanswered", "established", None)
    addresses = ("10.0.0.1", "10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.255", "224.0.0.1", "x")
    return Flow(
        source_address="192.0.2.1",
        destination_address=draw(st.sampled_from(addresses)),
        protocol=draw(st.sampled_from((6, 6, 6, 17))),
        destination_port=draw(st.sampled_from((0, 1, 2, 3, 65_535, None))),
        tcp_flags=draw(st.sampled_from((None, 0x02, 0x12, 0x04, 0x1B))),
        state=draw(st.sampled_from(states)),
        direction=draw(st.sampled_from(("outbound", "outbound", "outbound", "inbound"))),
        **common,
    )


def make_storage(draw, **common):
    used = draw(st.sampled_from((None, 0, 12, 13, 2_000_000_000)))
    return Storage(
        used_bytes=used,
        contacts=1,
        capacity_bytes=draw(st.sampled_from((None, None, 0, 12, 3_000_000_000))),
        **common,
    )


def _month_start_ms(months):
    """Start of a month, counted from January 2026."""
    return int(datetime(2026 + months // 12, months % 12 + 1, 1, tzinfo=ZONE).timestamp()) * 1000


AVERAGES = st.builds(
    lambda month, total, customers: CohortAverage(
        rule="data_monthly_ratio",
        period_start_ms=_month_start_ms(month),
        period_end_ms=_month_start_ms(month + 1),
        total=total,
        customers=customers,
    ),
    month=st.integers(0, 13),
    total=st.sampled_from((0, 1, 50, 100, 2**53)),
    customers=st.integers(1, 4),
)


@st.composite
def data_with_means(draw):
    """Use over months, with means that come somewhere in between, each month's once or again."""
    history = draw(events_of(make_data, spread=17 * DAY_MS))
    for average in draw(st.lists(AVERAGES, max_size=6)):
        history.insert(draw(st.integers(0, len(history))), average)
    return history


FLOW_JITTERS_MS = (0, -1, 29_999, 30_000, 60_000, 89_999, 90_000, 120_000, 180_000)

SMS = events_of(make_sms) | events_of(make_sms, spread=10 * DAY_MS)
VOICE = events_of(make_voice)
FLOW = events_of(make_flow, spread=3 * MINUTE_MS, jitters=FLOW_JITTERS_MS)
STORAGE = events_of(make_storage)
DATA = data_with_means()


@st.composite
def mixed(draw):
    """All kinds through one another."""
    histories = [draw(kind) for kind in (SMS, VOICE, FLOW, STORAGE, DATA)]
    left = [iter(history) for history in histories]
    turns = draw(st.permutations([n for n, h in enumerate(histories) for _ in h]))
    return [next(left[turn]) for turn in turns]


CASES = {
    "sms": (LOW, SMS),
    "sms_rolling": (ROLLING, SMS),
    "voice": (LOW, VOICE),
    "voice_rolling": (ROLLING, VOICE),
    "data": (LOW, DATA),
    "portscan": (LOW, FLOW),
    "storage": (LOW, STORAGE),
    "all": (LOW, mixed()),
}
"""What every promise is checked over: a policy, and histories to run under it."""
