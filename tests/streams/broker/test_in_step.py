"""Kinds of usage are read in step: any topics, fetched in any order and in parts of any size."""

from types import SimpleNamespace

import msgspec
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.units import HOUR_MS
from streams.broker.in_step import (
    AHEAD_MS,
    LEFT_BEHIND_SECONDS,
    STALLED_AHEAD_MS,
    STALLED_SECONDS,
    InStep,
    event_time_ms,
)

SMS, VOICE, DATA = (TP(f"usage.{kind}", 0) for kind in ("sms", "voice", "data"))
OTHER = TP("usage.sms", 1)


def record(time_ms):
    return SimpleNamespace(value=msgspec.json.encode({"event_time_ms": time_ms, "type": "sms"}))


def hours(*times):
    return [record(hour * HOUR_MS) for hour in times]


def test_what_is_in_step_goes_on_whole():
    fetched = {SMS: hours(0, 5, 23), VOICE: hours(3, 20)}
    assert InStep().in_step(fetched, set()) == {SMS: 3, VOICE: 2}


def test_who_is_far_ahead_waits_for_the_slowest():
    fetched = {SMS: hours(100, 101), VOICE: hours(0, 1), OTHER: hours(500)}
    assert InStep().in_step(fetched, set()) == {VOICE: 2}


def test_a_batch_is_cut_where_it_runs_ahead():
    fetched = {SMS: hours(0, 10, 24, 25, 90), VOICE: hours(0, 1)}
    assert InStep().in_step(fetched, set()) == {SMS: 3, VOICE: 2}


def test_what_is_not_fetched_yet_is_waited_for_until_it_stalls():
    pace = InStep()
    assert pace.in_step({SMS: hours(0, 1)}, {VOICE}, now=0.0) == {}
    pace.handed_on({VOICE: hours(2)})
    assert pace.in_step({SMS: hours(0, 20, 30)}, {VOICE}, now=1.0) == {SMS: 2}
    assert pace.in_step({SMS: hours(90)}, {VOICE}, now=STALLED_SECONDS - 0.1) == {}
    assert pace.in_step({SMS: hours(90)}, {VOICE}, now=STALLED_SECONDS) == {SMS: 1}
    furthest = 2 + STALLED_AHEAD_MS // HOUR_MS
    fetched = {SMS: hours(furthest, furthest + 1)}
    assert pace.in_step(fetched, {VOICE}, now=STALLED_SECONDS) == {SMS: 1}
    assert pace.in_step(fetched, {VOICE}, now=LEFT_BEHIND_SECONDS - 0.1) == {SMS: 1}
    assert pace.in_step(fetched, {VOICE}, now=LEFT_BEHIND_SECONDS) == {SMS: 2}
    pace.forget_all_but({SMS})
    assert pace.in_step({SMS: hours(0)}, set(), now=200.0) == {SMS: 1}
    assert pace.in_step({SMS: hours(0)}, {VOICE}, now=201.0) == {}


def test_what_never_came_is_waited_for_from_where_the_others_stand():
    """A worker that begins does not know how far it was before."""
    pace = InStep()
    assert pace.in_step({SMS: hours(40)}, {VOICE}, now=0.0) == {}
    furthest = 40 + STALLED_AHEAD_MS // HOUR_MS
    fetched = {SMS: hours(furthest, furthest + 1)}
    assert pace.in_step(fetched, {VOICE}, now=STALLED_SECONDS) == {SMS: 1}


def test_a_record_without_a_time_holds_nobody_up():
    broken = [SimpleNamespace(value=value) for value in (None, b"{", b'{"event_time_ms":"x"}')]
    assert InStep().in_step({SMS: broken}, set()) == {SMS: 3}
    assert InStep().in_step({SMS: [*broken, *hours(99)], VOICE: hours(0)}, set())[SMS] == 3


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_everything_is_handed_on_in_order_and_nobody_runs_ahead(data):
    times = st.lists(st.integers(0, 12 * 24), max_size=30).map(sorted)
    left = {tp: hours(*data.draw(times)) for tp in (SMS, VOICE, DATA)}
    sent = {tp: list(records) for tp, records in left.items()}
    handed, pace, is_stuck = {tp: [] for tp in left}, InStep(), False
    while any(left.values()):
        behind = [tp for tp in left if left[tp]]
        some = st.lists(st.sampled_from(behind), min_size=1, unique=True)
        at_hand = behind if is_stuck else data.draw(some)
        fetched = {tp: left[tp][: data.draw(st.integers(1, 9))] for tp in at_hand}
        counts = pace.in_step(fetched, set(behind) - set(at_hand), 0.0)
        is_stuck = not counts
        assert counts or set(at_hand) != set(behind)
        slowest = min(event_time_ms(left[tp][0]) for tp in behind)
        for tp, count in counts.items():
            taken = fetched[tp][:count]
            assert event_time_ms(taken[-1]) <= slowest + AHEAD_MS
            handed[tp] += taken
            left[tp] = left[tp][count:]
        pace.handed_on({tp: fetched[tp][:count] for tp, count in counts.items()})
    assert handed == sent
