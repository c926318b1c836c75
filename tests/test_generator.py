"""The operator keeps its word: exactly the planted customers break the rules, counted naively."""

from collections import Counter, defaultdict, deque
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from schemas.events import USAGE_KINDS, Data, Flow, Sms, Storage, UsageEvent, Voice
from streams.generator import Operator, OperatorShape

ZONE = ZoneInfo("Europe/Brussels")
HOUR_MS = 3_600_000
SEED = 20_260_301


def played(**shape):
    print(f"OperatorShape(seed={SEED}, **{shape})")
    operator = Operator(OperatorShape(seed=SEED, **shape))
    return operator, [event for day in operator.days() for event in day]


@pytest.fixture(scope="module")
def two_months():
    return played(customers=600)


SMALL = [
    {"customers": 40, "days": 1},
    {"customers": 120, "days": 33},
    {"customers": 120, "days": 34},
    {"customers": 120, "days": 12, "start_ms": 1_792_792_800_000},
]


@pytest.fixture(params=SMALL)
def small(request):
    return played(**request.param)


def local(time_ms):
    return datetime.fromtimestamp(time_ms / 1000, ZONE)


def month_of(time_ms):
    return local(time_ms).strftime("%Y-%m")


def next_midnight_ms(time_ms):
    tomorrow = local(time_ms).date() + timedelta(days=1)
    return int(datetime.combine(tomorrow, datetime.min.time(), ZONE).timestamp()) * 1000


def only(kind, events):
    return [event for event in events if isinstance(event, kind)]


def texts_sent(events, period):
    """Texts sent by customer and period."""
    return Counter(
        (text.customer_id, period(text.event_time_ms))
        for text in only(Sms, events)
        if text.direction == "mo"
    )


def talk_ms(events):
    """Time of calls made by customer and local day, calls split at midnight."""
    totals = Counter()
    for call in only(Voice, events):
        start_ms, end_ms = call.event_time_ms, call.event_time_ms + call.duration_ms
        while call.direction == "mo" and start_ms < end_ms:
            part_end_ms = min(end_ms, next_midnight_ms(start_ms))
            totals[call.customer_id, local(start_ms).date()] += part_end_ms - start_ms
            start_ms = part_end_ms
    return totals


def data_ratios(operator, events, lateness_ms):
    """Use of a month closed by the last event, compared with the mean, by customer and month."""
    unlimited = {c.customer_id for c in operator.customers() if "data" in c.unlimited}
    totals = defaultdict(Counter)
    for use in only(Data, events):
        if use.customer_id in unlimited:
            totals[month_of(use.event_time_ms)][use.customer_id] += (
                use.bytes_uplink + use.bytes_downlink
            )
    closed_before = month_of(events[-1].event_time_ms - lateness_ms)
    return {
        (customer, month): used * len(unlimited) / total.total()
        for month, total in totals.items()
        if month < closed_before and len(unlimited) >= 100
        for customer, used in total.items()
    }


def most_targets(events, window_ms, is_counted):
    """Most ports of one host, and most hosts on one port, of each customer in any window."""
    ports, hosts, recent = Counter(), Counter(), defaultdict(deque)
    for flow in filter(is_counted, only(Flow, events)):
        window = recent[flow.customer_id]
        window.append((flow.event_time_ms, flow.destination_address, flow.destination_port))
        while window[0][0] <= flow.event_time_ms - window_ms:
            window.popleft()
        pairs = {(host, port) for _, host, port in window}
        for most, column in ((ports, 0), (hosts, 1)):
            targets = Counter(pair[column] for pair in pairs)
            most[flow.customer_id] = max(most[flow.customer_id], *targets.values())
    return ports, hosts


def has_failed(flow):
    return flow.state != "established"


def was_answered(flow):
    return flow.state == "established"


def storage_shares(operator, events):
    """Share of the capacity in use, snapshot by snapshot, of each customer who has a capacity."""
    capacity = {c.customer_id: c.storage_capacity_bytes for c in operator.customers()}
    shares = defaultdict(list)
    for snapshot in only(Storage, events):
        if capacity[snapshot.customer_id] is not None:
            share = snapshot.used_bytes / capacity[snapshot.customer_id]
            shares[snapshot.customer_id].append(share)
    return shares


def breakers(operator, events):
    """Who breaks each of the six rules, by the simplest possible count."""
    by_day = texts_sent(events, lambda time_ms: local(time_ms).date())
    by_month = texts_sent(events, month_of)
    ratios = data_ratios(operator, events, lateness_ms=48 * HOUR_MS)
    ports, hosts = most_targets(events, 300_000, has_failed)
    shares = storage_shares(operator, events)
    return {
        "sms_daily": {customer for (customer, _), sent in by_day.items() if sent > 350},
        "sms_monthly": {customer for (customer, _), sent in by_month.items() if sent > 10_000},
        "voice_daily": {c for (c, _), ms in talk_ms(events).items() if ms > 6 * HOUR_MS},
        "data_monthly_ratio": {c for (c, _), ratio in ratios.items() if ratio >= 10},
        "portscan": {c for c in ports if ports[c] >= 15 or hosts[c] >= 25},
        "storage_capacity": {c for c, share in shares.items() if max(share) > 1},
    }


def test_exactly_the_planted_customers_break_each_rule(two_months):
    """At least three for each rule, and nobody else."""
    operator, events = two_months
    expected = operator.planted
    assert expected == breakers(operator, events)
    assert all(len(customers) >= 3 for customers in expected.values())


def test_short_and_small_operators_promise_only_what_can_be_seen(small):
    """A day holds no month, 33 days none that is closed; in October a day has 25 hours."""
    operator, events = small
    assert operator.planted == breakers(operator, events)


def test_who_uses_too_much_data_does_so_in_each_month(two_months):
    """April, closed at the end of a replay, shows the same customers as March, 20 to 40 times."""
    operator, events = two_months
    heavy = {key: r for key, r in data_ratios(operator, events, 0).items() if r >= 10}
    planted = operator.planted["data_monthly_ratio"]
    assert {(c, month) for c in planted for month in ("2026-03", "2026-04")} == set(heavy)
    assert all(20 <= ratio <= 40 for ratio in heavy.values())


def test_the_innocent_come_close_and_keep_every_limit(two_months):
    """A festival, a salesman, a heavy user, a browser and a full storage, all within the limits."""
    operator, events = two_months
    planted = frozenset().union(*operator.planted.values())
    innocent = [event for event in events if event.customer_id not in planted]
    texts = texts_sent(innocent, lambda time_ms: local(time_ms).date())
    talk = talk_ms(innocent)
    ratios = data_ratios(operator, events, 0)
    shares = storage_shares(operator, innocent)
    ports, hosts = most_targets(innocent, 330_000, has_failed)
    _, browsed = most_targets(innocent, 330_000, was_answered)
    assert max(texts.values()) == 340
    assert 5.4 * HOUR_MS < max(talk.values()) < 6 * HOUR_MS
    assert 5 < max(ratio for (c, _), ratio in ratios.items() if c not in planted) < 7
    assert 0.98 < max(max(share) for share in shares.values()) <= 0.99
    assert max(browsed.values()) > 100
    assert max(ports.values()) < 10
    assert max(hosts.values()) < 15


def test_some_storage_falls_back_and_some_stays_above(two_months):
    """Both the clearing of a breach and a breach that lasts occur."""
    operator, events = two_months
    shares = storage_shares(operator, events)
    ends = {shares[customer][-1] > 1 for customer in operator.planted["storage_capacity"]}
    assert ends == {True, False}


def test_the_same_seed_gives_the_same_events():
    """Byte for byte, from a second operator as from a second pass over the first."""
    shape = OperatorShape(seed=SEED, customers=100, days=3)
    first, second = Operator(shape), Operator(shape)
    expected = list(first.days())
    assert expected == list(first.days())
    assert expected == list(second.days())
    assert first.customers() == second.customers()
    assert expected != list(Operator(OperatorShape(seed=8, customers=100, days=3)).days())


def test_events_are_in_order_of_time_and_within_their_day():
    """Also on 29 March 2026, whose 23 hours are all used."""
    start_ms = 1_774_652_400_000
    days = list(Operator(OperatorShape(seed=SEED, days=3, start_ms=start_ms)).days())
    for day, events in enumerate(days):
        times_ms = [event.event_time_ms for event in events]
        assert times_ms == sorted(times_ms)
        assert {f"2026-03-{28 + day}"} == {str(local(t).date()) for t in times_ms}
    hours = {local(event.event_time_ms).hour for event in days[1]}
    assert set(range(24)) - {2} == hours


def test_every_event_is_valid_and_has_an_id_of_its_own(two_months):
    """The structs check nothing when built, so they are read back as a consumer would."""
    operator, events = two_months
    decoder = msgspec.json.Decoder(UsageEvent)
    encoder = msgspec.json.Encoder()
    assert all(event == decoder.decode(encoder.encode(event)) for event in events[::7])
    assert len(events) == len({event.event_id for event in events})
    assert {c.customer_id for c in operator.customers()} > {e.customer_id for e in events}


def test_most_customers_are_unlimited_and_some_silent(two_months):
    """Means exist over enough customers, some of whom add nothing to them."""
    operator, events = two_months
    customers = operator.customers()
    active = {event.customer_id for event in events}
    for service in ("sms", "voice", "data"):
        assert sum(service in c.unlimited for c in customers) >= 0.7 * len(customers)
    assert 0.02 < 1 - len(active) / len(customers) < 0.06
    assert {"consumer", "professional"} == {c.segment for c in customers}
    assert {10**9, 32 * 10**9, None} == {c.storage_capacity_bytes for c in customers}


def test_every_kind_goes_on_to_the_last_day(two_months):
    """So that watermarks advance in every eighth of the customers."""
    operator, events = two_months
    eighth = {c.customer_id: i % 8 for i, c in enumerate(operator.customers())}
    last_day = local(events[-1].event_time_ms).date()
    last = [event for event in events[-5_000:] if local(event.event_time_ms).date() == last_day]
    assert set(USAGE_KINDS.values()) == {type(event) for event in last}
    assert set(range(8)) == {eighth[event.customer_id] for event in last}
    assert abs(operator.event_count_estimate / len(events) - 1) < 0.05


@pytest.mark.parametrize("wrong", [{"customers": 39}, {"days": 0}, {"start_ms": 1_772_319_600_001}])
def test_a_shape_that_cannot_be_played_is_refused(wrong):
    """With one sentence that says what to give."""
    with pytest.raises(ValueError, match="Give "):
        OperatorShape(**wrong)
