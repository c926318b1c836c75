"""The synthetic operator: its days, its customers, and the same events from the same seed."""

from io import StringIO

import msgspec
import pytest
from rich.console import Console

from schemas.events import USAGE_KINDS, Data, Storage, UsageEvent
from schemas.records import Finding, PolicyRef, Window
from streams.demo import play as demo
from streams.synthetic import scoreboard
from streams.synthetic.generator import Operator, OperatorShape
from tests.support.nearness import SEED, Played
from tests.support.nearness.counting import local, only
from tests.support.nearness.data_and_all import data_monthly_ratio


@pytest.fixture(scope="module")
def two_months():
    played = Played(customers=600)
    return played.operator, played.events


def test_customers_who_use_too_much_data_do_so_in_each_month(two_months):
    """April, closed at the end of a replay, shows the same customers as March, 20 to 40 times."""
    operator, events = two_months
    customers = {c.customer_id: c for c in operator.customers()}
    heavy = operator.expected["data_monthly_ratio"].must
    last = max(only(Data, events), key=lambda use: use.event_time_ms)
    for month in (3, 4):
        of_month = [use for use in only(Data, events) if local(use.event_time_ms).month == month]
        closing = msgspec.structs.replace(last, event_time_ms=last.event_time_ms + 3 * 86_400_000)
        shares = data_monthly_ratio(customers, [*of_month, closing])
        ratios = {c: 10 * share for c, share in shares.items() if share > 1}
        assert set(ratios) == heavy
        assert all(20 <= ratio <= 40 for ratio in ratios.values())


def test_some_storage_falls_below_the_limit_again_and_some_does_not(two_months):
    """Both the clearing of a breach and a breach that lasts occur."""
    operator, events = two_months
    capacity = {c.customer_id: c.storage_capacity_bytes for c in operator.customers()}
    players = operator.expected["storage_capacity"].must
    newest = {s.customer_id: s for s in only(Storage, events) if s.customer_id in players}
    assert {s.used_bytes > capacity[c] for c, s in newest.items()} == {True, False}


def test_the_same_seed_gives_the_same_events():
    """A second operator and a second pass over the first one give the same bytes."""
    shape = OperatorShape(seed=SEED, customers=200, days=3)
    first, second = Operator(shape), Operator(shape)
    expected = list(first.days())
    assert expected == list(first.days())
    assert expected == list(second.days())
    assert first.customers() == second.customers()
    assert expected != list(Operator(OperatorShape(seed=8, customers=200, days=3)).days())


def test_events_are_in_order_of_time_and_within_their_day():
    """All 23 hours of 29 March 2026 have events."""
    start_ms = 1_774_652_400_000
    days = list(Operator(OperatorShape(seed=SEED, days=3, start_ms=start_ms)).days())
    for day, events in enumerate(days):
        times_ms = [event.event_time_ms for event in events]
        assert times_ms == sorted(times_ms)
        assert {f"2026-03-{28 + day}"} == {str(local(t).date()) for t in times_ms}
    hours = {local(event.event_time_ms).hour for event in days[1]}
    assert set(range(24)) - {2} == hours


def test_every_event_is_valid_and_has_an_id_of_its_own(two_months):
    """Structs are not checked when they are made, so the test encodes and decodes them."""
    operator, events = two_months
    decoder = msgspec.json.Decoder(UsageEvent)
    encoder = msgspec.json.Encoder()
    assert all(event == decoder.decode(encoder.encode(event)) for event in events[::7])
    assert len(events) == len({event.event_id for event in events})
    assert {c.customer_id for c in operator.customers()} > {e.customer_id for e in events}


def test_most_customers_are_unlimited_and_some_silent(two_months):
    """So means have enough customers, some of them without use."""
    operator, events = two_months
    customers = operator.customers()
    active = {event.customer_id for event in events}
    for service in ("sms", "voice", "data"):
        assert sum(service in c.unlimited for c in customers) >= 0.7 * len(customers)
    assert 0.02 < 1 - len(active) / len(customers) < 0.06
    assert {"consumer", "professional"} == {c.segment for c in customers}
    assert {10**9, 32 * 10**9, None} == {c.storage_capacity_bytes for c in customers}


def test_every_kind_goes_on_to_the_last_day(two_months):
    """So the watermarks of all eight partitions advance."""
    operator, events = two_months
    eighth = {c.customer_id: i % 8 for i, c in enumerate(operator.customers())}
    last_day = local(events[-1].event_time_ms).date()
    last = [event for event in events[-5_000:] if local(event.event_time_ms).date() == last_day]
    assert set(USAGE_KINDS.values()) == {type(event) for event in last}
    assert set(range(8)) == {eighth[event.customer_id] for event in last}
    assert abs(operator.event_count_estimate / len(events) - 1) < 0.05


@pytest.mark.parametrize(
    "wrong", [{"customers": 199}, {"days": 0}, {"start_ms": 1_772_319_600_001}]
)
def test_a_shape_that_cannot_be_played_is_refused(wrong):
    """The error says in one sentence what to give."""
    with pytest.raises(ValueError, match="Give "):
        OperatorShape(**wrong)


def test_no_event_is_in_the_future():
    """Long shapes begin years earlier, since events ahead of the clock are refused."""
    for days in (1, 62, 63, 405, 1_500):
        shape = OperatorShape(days=days)
        last = local(shape.begins_ms + days * 86_400_000)
        assert (last.year, last.month) <= (2026, 5)
    assert OperatorShape(days=62).begins_ms == 1_772_319_600_000


def test_the_demo_counts_by_rule_who_must_and_may_be_found(monkeypatch):
    """Only rules that there are have a row; whom a rule may find is neither missed nor wrong."""
    operator = Operator(OperatorShape(seed=SEED, customers=200, days=40))
    expected = operator.expected["storage_capacity"]
    ordinary = next(
        c.customer_id
        for c in operator.customers()
        if c.customer_id not in frozenset().union(*operator.cast.values())
    )
    hits = [*sorted(expected.must)[1:], *expected.may, ordinary]
    output = demo.Output(findings={c: finding(c, "storage_capacity") for c in hits})
    monkeypatch.setattr(scoreboard, "RULES", ("storage_capacity", "sms_daily", "not_planted"))
    terminal = Console(width=110, record=True, file=StringIO())
    demo._print_summary(terminal, operator, output, "", sent=1, seconds=1.0)
    rows = [line.split() for line in terminal.export_text().splitlines() if "_" in line]
    planted = len(expected.must)
    assert rows[:2] == [
        ["sms_daily", "2", "0", "2", "0", "0"],
        ["storage_capacity", *map(str, (planted, planted - 1, 1, 1, len(hits)))],
    ]
    assert not any(row[0] == "not_planted" for row in rows)


def finding(customer, rule):
    return Finding(
        finding_id=customer,
        rule=rule,
        customer_id=customer,
        event_time_ms=0,
        known_ms=0,
        corrects=None,
        closed_period=False,
        level="breach",
        window=Window(kind="state", start_ms=0, end_ms=None),
        observed=2,
        limit=1,
        unit="bytes",
        policy=PolicyRef(name="default", version="1"),
        shadow=False,
        evidence={},
    )
