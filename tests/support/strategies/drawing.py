"""What histories are drawn from: times where calendars go wrong, few customers, few values."""

from datetime import datetime
from itertools import product
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st

from schemas.events import Flow
from schemas.records import Customer

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
    Customer(
        customer_id="c1",
        plan="fast",
        unlimited=["sms", "voice", "data"],
        data_bundle_bytes=125,
        spend_limit_microeur=100,
        roaming_spend_limit_microeur=99,
        roaming_bundle_bytes=100,
        stream_devices=2,
    ),
    Customer(
        customer_id="ünlimited/2",
        plan="pocket",
        storage_capacity_bytes=12,
        data_bundle_bytes=99,
        spend_limit_microeur=0,
        roaming_spend_limit_microeur=120,
        roaming_bundle_bytes=0,
        stream_concurrent=2,
    ),
    Customer(
        customer_id="new in 2027",
        plan="fast",
        unlimited=["data"],
        valid_from_ms=MIDNIGHTS_MS[-1],
    ),
    Customer(
        customer_id="gone in March",
        plan="pocket",
        contract_state="ended",
        valid_from_ms=MIDNIGHTS_MS[0] - DAY_MS,
    ),
    Customer(
        customer_id="gone in October",
        plan="pocket",
        contract_state="ended",
        valid_from_ms=MIDNIGHTS_MS[2] - HOUR_MS,
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


def only(policy, *rules):
    """A policy with some of its rules."""
    kept = {name: parameters for name, parameters in policy.rules.items() if name in rules}
    return msgspec.structs.replace(policy, rules=kept)


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


def runs_of_flows(made, **runs):
    """Many flows in few draws: runs of one customer's flows, each `gap_ms` after the one before.

    `runs` holds the choices for `minute`, `count`, `gap_ms` and whatever else `made(run, number)`
    looks at, which gives the fields of a flow that are its own.
    """

    @st.composite
    def histories(draw):
        flows = []
        for run in draw(st.lists(choices(customer_id=CUSTOMERS, **runs), max_size=12)):
            for number in range(run["count"]):
                start_ms = MIDNIGHTS_MS[0] + run["minute"] * MINUTE_MS
                flow = Flow(
                    event_id=f"e-{len(flows)}",
                    customer_id=run["customer_id"],
                    event_time_ms=start_ms + number * run["gap_ms"],
                    source_address="192.0.2.1",
                    protocol=6,
                    **made(run, number),
                )
                flows.append(flow)
        return flows

    return histories()


def month_of(time_ms):
    """Months since the year 0."""
    there = datetime.fromtimestamp(time_ms / 1000, ZONE)
    return there.year * 12 + there.month - 1


def month_start_ms(month):
    """Start of a month."""
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=ZONE).timestamp()) * 1000
