"""Stored state of another layout version is refused in a sentence that says what to do."""

import msgspec
import pytest

from detectors.fold.partition import Partition
from detectors.ladder.ladder import Ladder
from detectors.policies.editions import load_policy
from detectors.state.version import STATE_VERSION, LayoutError

POLICY = load_policy()
REMEDY = "start under a new app id, or run the release that wrote it"


@pytest.mark.parametrize(
    ("kept_by", "what"),
    [
        (Partition(3, POLICY, 1_000), "the stored state of partition 3"),
        (Ladder(3, POLICY), "the stored ladder of partition 3"),
    ],
)
@pytest.mark.parametrize(
    ("found", "said"),
    [(STATE_VERSION - 1, f"layout version {STATE_VERSION - 1}"), (None, "no layout version")],
)
def test_a_memory_of_another_version_is_refused(kept_by, what, found, said):
    """Whatever else it holds: its other fields are not read."""
    memory = {"something": "else"} if found is None else {"version": found, "next_offset": 5}

    with pytest.raises(LayoutError) as refused:
        kept_by.state.recall(msgspec.msgpack.encode(memory))

    expected = f"{what} has {said}, this release reads version {STATE_VERSION}: {REMEDY}"
    assert expected == str(refused.value)


@pytest.mark.parametrize("kept_by", [Partition(3, POLICY, 1_000), Ladder(3, POLICY)])
def test_a_memory_of_this_version_is_taken_back(kept_by):
    kept_by.state.passed("sms", 41)

    kept_by.state.recall(kept_by.state.remember())

    assert kept_by.state.next_offset == {"sms": 42}
