"""Small, unkind event histories: few customers, low limits, times where calendars go wrong.

A history is a list of events with, here and there, the mean of a closed month (`CohortAverage`), in
the order of the partition. What is drawn on purpose: local midnights, days of 23 and 25 hours, the
year's end, events that come late or too late, ids that come again, amounts of zero, long calls.
"""

from datetime import datetime
from itertools import product
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
    load_policy(),
    sms_daily={"limit": 0, "retention_periods": 2, "regular_periods": 2, "regular_window": 3},
    sms_monthly={"limit": 3, "retention_periods": 1},
    voice_daily={
        "limit_ms": HOUR_MS - 1,
        "retention_periods": 2,
        "regular_periods": 2,
        "regular_window": 3,
    },
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


def instants(draw, count, spread, jitters):
    """Times of events in the order they come: some rising, some late, some far too late."""
    anchor = draw(st.sampled_from(MIDNIGHTS_MS))
    places = [shift * spread + jitter for shift, jitter in product(range(-3, 4), jitters)]
    several = {"min_size": count, "max_size": count}
    times = draw(st.lists(st.sampled_from(sorted(places, key=abs)), **several))
    if draw(st.booleans()):
        delays = draw(st.lists(st.sampled_from([0, 0, 0, 1, 3, 80]), **several))
        order = sorted(range(count), key=lambda row: times[row] + delays[row] * spread)
        times = [times[row] for row in order]
    return [anchor + time for time in times]


def choices(**fields):
    """One draw for all of an event's fields; a value that stands twice comes twice as often."""
    rows = [dict(zip(fields, row, strict=True)) for row in product(*fields.values())]
    return st.sampled_from(rows)


HEADS = choices(
    back=(0, 0, 0, 0, 0, 1, 2, 5),
    customer_id=(CUSTOMERS[0], *CUSTOMERS),
    source=(None, None, None, None, "a", ""),
)


def events_of(structure, fields, spread=DAY_MS, jitters=JITTERS_MS, **fixed):
    """Histories of one kind of event; an id may be that of an earlier event."""

    @st.composite
    def histories(draw):
        count = draw(st.sampled_from((0, 1, 3, 8, 16, EVENTS_MAX, EVENTS_MAX)))
        events = []
        for number, time_ms in enumerate(instants(draw, count, spread, jitters)):
            common = dict(draw(HEADS))
            event_id = f"e-{max(0, number - common.pop('back'))}"
            common |= {"event_id": event_id, "event_time_ms": time_ms}
            events.append(structure(**common, **draw(fields), **fixed))
        return events

    return histories()


def month_of(time_ms):
    """Months since the year 0."""
    there = datetime.fromtimestamp(time_ms / 1000, ZONE)
    return there.year * 12 + there.month - 1


def month_start_ms(month):
    """Start of a month."""
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=ZONE).timestamp()) * 1000


MEANS = choices(total=(50, 1, 100, 100, 0, 2**53), customers=(2, 3, 4, 1))


@st.composite
def data_with_means(draw):
    """Use over months, with means that come somewhere in between, a month's once or again."""
    history = draw(MONTHS_OF_DATA)
    months = sorted({month_of(event.event_time_ms) for event in history}) or [24_312]
    months = [months[0] - 1, *months]
    places = st.tuples(st.integers(0, len(history)), st.sampled_from(months), MEANS)
    for place, month, mean in draw(st.lists(places, max_size=7)):
        average = CohortAverage(
            rule="data_monthly_ratio",
            period_start_ms=month_start_ms(month),
            period_end_ms=month_start_ms(month + 1),
            **mean,
        )
        history.insert(place, average)
    return history


@st.composite
def sweeps(draw):
    """Many flows in few draws: runs of ports or of hosts, over hours, in and out of order."""
    runs = choices(
        minute=(0, 0, 1, 2, 20, 59, 60, 61, 62, 125),
        count=(1, 2, 3, 9),
        gap_ms=(0, 0, 15_000, 31_000, 95_000),
        hosts=(True, False),
        customer_id=CUSTOMERS,
    )
    flows = []
    for run in draw(st.lists(runs, max_size=14)):
        for n in range(run["count"]):
            flow = Flow(
                event_id=f"e-{len(flows)}",
                customer_id=run["customer_id"],
                event_time_ms=MIDNIGHTS_MS[0] + run["minute"] * MINUTE_MS + n * run["gap_ms"],
                source_address="192.0.2.1",
                destination_address=f"10.0.0.{n if run['hosts'] else 0}",
                destination_port=1 if run["hosts"] else n,
                protocol=6,
                state="rejected",
            )
            flows.append(flow)
    return flows


MESSAGES = choices(
    direction=(*["mo"] * 6, "mt"),
    service=(*["sms"] * 6, "mms"),
    segment_number=(*[None] * 4, 1, 2),
)
CALLS = choices(
    duration_ms=(
        *(0, 1, HOUR_MS, 2 * HOUR_MS, 2 * HOUR_MS + 1, 5 * HOUR_MS),
        *(26 * HOUR_MS, 73 * HOUR_MS, CALL_MS_MAX),
    ),
    direction=("mo", "mo", "mo", "mt"),
)
FLOWS = choices(
    destination_address=(*["10.0.0.1"] * 4, *["2001:db8::1", "x"] * 2, "10.0.0.255", "224.0.0.1"),
    destination_port=(1, 1, 2, 2, 3, 0, 65_535, None),
    protocol=(6, 6, 6, 17),
    tcp_flags=(0x02, 0x12, 0x04, 0x1B, None),
    state=("unanswered", "unanswered", "rejected", "unanswered", "established", None),
    direction=(*["outbound"] * 6, "inbound"),
)
SNAPSHOTS = choices(
    used_bytes=(0, 12, 13, 2_000_000_000, None),
    capacity_bytes=(None, None, 0, 12, 3_000_000_000),
)
BYTES = choices(bytes_uplink=(0, 1, 40), bytes_downlink=(0, 60, 60, 2**53))

SMS = st.sampled_from((DAY_MS, 5 * HOUR_MS, 10 * DAY_MS)).flatmap(
    lambda spread: events_of(Sms, MESSAGES, spread, recipient="r")
)
VOICE = events_of(Voice, CALLS, other_party="o")
FLOW = events_of(
    Flow, FLOWS, MINUTE_MS, jitters=(0, -1, 29_999, 30_000, 89_999), source_address="192.0.2.1"
)
STORAGE = events_of(Storage, SNAPSHOTS, contacts=1) | events_of(
    Storage, SNAPSHOTS, spread=1, jitters=(0,), contacts=1
)
MONTHS_OF_DATA = events_of(Data, BYTES, spread=17 * DAY_MS)
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
    "portscan_sweeps": (LOW, sweeps()),
    "storage": (LOW, STORAGE),
    "all": (LOW, mixed()),
}
"""What every promise is checked over: a policy, and histories to run under it."""
