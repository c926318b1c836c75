"""When dossiers are looked at, against a table that is searched."""

from hypothesis import given
from hypothesis import strategies as st

from detectors.ladder.alarms import Alarms
from detectors.ladder.dossier import NEVER_MS

KEYS = ("a", "b", "c")
times = st.integers(0, 9)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(KEYS), st.one_of(times, st.just(NEVER_MS))),
        times,
    ),
    max_size=30,
)


@given(st.dictionaries(st.sampled_from(KEYS), times), steps)
def test_each_is_due_once_at_the_time_that_was_set_last(begun, steps):
    alarms, table = Alarms(dict(begun)), dict(begun)
    for step in steps:
        if isinstance(step, tuple):
            key, due_ms = step
            alarms.set(key, due_ms)
            table[key] = due_ms
        else:
            expected = sorted((due, key) for key, due in table.items() if due <= step)
            assert list(alarms.due(step)) == expected
            for _, key in expected:
                del table[key]
        for key in KEYS:
            assert alarms.is_due(key, 9) == (table.get(key, NEVER_MS) <= 9)
    list(alarms.due(9))
    assert list(alarms.due(NEVER_MS)) == [], "what has no time is not kept"


def test_one_may_be_set_again_while_others_are_told():
    alarms = Alarms({"a": 1, "b": 2})
    told = []
    for due_ms, key in alarms.due(4):
        told.append((due_ms, key))
        if due_ms < 3:
            alarms.set(key, due_ms + 2)
    assert told == [(1, "a"), (2, "b"), (3, "a"), (4, "b")]


def test_a_timer_that_moves_to_later_again_and_again_has_one_entry():
    alarms = Alarms({})
    for due_ms in range(1_000):
        alarms.set("a", due_ms)
    assert len(alarms._heap) == 1
    assert list(alarms.due(1_000)) == [(999, "a")]
