"""The ladder over random histories: what no sequence of events may lead to.

`History` says what is checked. One block of histories always runs; with `-m long` all of them do.
"""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.harness.ladder_histories import History
from tests.support.harness.ladder_story import by_service

BLOCK = 5_000
BLOCKS = [0, *(pytest.param(number, marks=pytest.mark.long) for number in range(1, 20))]
STEPS_MAX = 14


def drawn(chance):
    """One history, checked as it goes and once more as others would see it."""
    history = History(chance)
    history.run(chance.randint(1, STEPS_MAX))
    actions, ladder = history.replay()
    assert by_service(actions) == by_service(history.actions), "who looks when makes a difference"
    assert ladder.state.cases == history.ladder.state.cases
    return history


@pytest.mark.parametrize("block", BLOCKS)
def test_whatever_happens(block, seed):
    """Notice first, one restriction of a service, no action without its cause, an end to all.

    And the same input, looked at by others at other times, leads to the same actions and ids.
    """
    kinds, early, drift = Counter(), 0, 0
    for number in range(BLOCK):
        drawn_by = f"{seed}/{block}/{number}"
        try:
            history = drawn(Random(drawn_by))
        except Exception:
            print(f"the history that fails is drawn(Random({drawn_by!r}))")
            raise
        kinds.update(action.kind for action in history.actions)
        early += len(history.early)
        drift += history.ladder.alerts.drift
    rare = {"withdraw", "suspend", "propose_termination", "minimum_service", "delete_storage"}
    assert rare <= set(kinds), "histories that lead to nothing prove nothing"
    assert early > BLOCK / 10, "answers before their actions are to be told too"
    assert drift, "restrictions that come back are to be told too"


@given(st.randoms(use_true_random=False))
def test_whatever_happens_in_the_shortest_history_that_goes_wrong(chance):
    """The same, with a failure made small."""
    drawn(chance)
