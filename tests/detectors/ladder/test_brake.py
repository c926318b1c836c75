"""The brake: when it engages, what it holds, and how a person lets it off."""

import pytest

from detectors.ladder import brake as brake_module
from detectors.ladder.brake import FLOOR, HOURS_KEPT, Brake
from detectors.ladder.ladder import Ladder
from schemas.units import HOUR_MS
from tests.support.harness.ladder_story import (
    PATIENT,
    POLICY,
    Story,
    at,
    cleared,
    finding,
    kinds,
    with_ladder,
)

TIGHT = with_ladder(PATIENT, brake_actions_per_hour=4)
"""Four actions an hour in all, two of a single rule."""


def breaches(story, customers, days=0.0, rule="sms_daily"):
    """A breach of each of so many customers, within an hour."""
    step = 1 / 24 / 60 / max(1, customers)
    return [
        action
        for number in range(customers)
        for action in story.breach(days + number * step, rule=rule, customer=f"c{number}")
    ]


def through(brake, count, hour, rule="sms_daily"):
    """How many of so many actions of an hour a brake lets through."""
    return sum(brake.lets_through(rule, hour * HOUR_MS) for _ in range(count))


# -- when it engages ------------------------------------------------------------------------------


def test_a_rule_may_use_half_of_what_all_may():
    brake = Brake(with_ladder(brake_actions_per_hour=200).ladder)
    assert through(brake, 150, 1) == 100
    assert brake.engaged == ["sms_daily"]
    assert through(brake, 150, 1, "voice_daily") == 100
    assert through(brake, 10, 1, "portscan") == 0
    assert brake.engaged == ["sms_daily", "voice_daily", ""]


def test_hours_are_those_of_the_decisions():
    """So a replay, which is faster, counts as the worker did."""
    brake = Brake(with_ladder(brake_actions_per_hour=200).ladder)
    assert [through(brake, 100, hour) for hour in range(5)] == [100] * 5
    assert brake.engaged == []


def test_no_more_than_a_share_of_the_customers():
    brake = Brake(with_ladder(brake_share_percent=5).ladder)
    brake.customers = 4_000
    assert through(brake, 500, 1) == 100


def test_in_a_small_partition_a_share_is_no_reason():
    brake = Brake(with_ladder(brake_share_percent=5).ladder)
    brake.customers = 30
    assert through(brake, 500, 1) == FLOOR


def test_many_times_a_rules_usual_hour_is_too_much():
    brake = Brake(with_ladder(brake_surge=20).ladder)
    for hour in range(3):
        through(brake, 4, hour)
    assert through(brake, 500, HOURS_KEPT + 3) == 20 * 4


def test_a_rule_that_has_no_usual_hour_yet_can_not_surge():
    brake = Brake(with_ladder(brake_surge=2).ladder)
    assert through(brake, 300, 1) == 300


def test_hours_of_a_backlog_that_comes_days_later_are_not_taken_for_one():
    """Kinds of usage that are days apart bring decisions of hours that are gone."""
    brake = Brake(with_ladder(brake_actions_per_hour=200).ladder)
    through(brake, 1, 1_000)
    assert [through(brake, 60, hour) for hour in range(9)] == [60] * 9
    assert brake.engaged == []


# -- what it holds --------------------------------------------------------------------------------


def test_what_is_too_much_is_held_in_order_and_let_go_in_order():
    story = Story(TIGHT)
    sent = breaches(story, 5)
    assert [action.customer_id for action in sent] == ["c0", "c1"]
    assert (story.alerts.held, story.alerts.engaged) == ({"sms_daily": 3}, ["sms_daily"])
    released = story.decide("release_brake", 1, rule="sms_daily")
    assert [action.customer_id for action in released] == ["c2", "c3", "c4"]
    assert {action.effective_ms for action in released} == {at(1)}
    assert released[0].evidence["decisions"][0]["kind"] == "release_brake"
    assert (story.alerts.held, story.alerts.engaged) == ({}, [])


def test_once_a_person_has_looked_the_hour_counts_anew():
    story = Story(TIGHT)
    breaches(story, 5)
    story.decide("release_brake", 0.01)
    assert len(story.breach(0.02, customer="new")) == 1


def test_detection_and_other_rules_go_on():
    story = Story(TIGHT)
    breaches(story, 5)
    assert len(breaches(story, 2, rule="storage_capacity")) == 2


def test_all_rules_are_held_once_all_together_are_too_many():
    story = Story(TIGHT)
    breaches(story, 2)
    breaches(story, 2, rule="storage_capacity")
    assert breaches(story, 1, rule="voice_daily") == []
    assert story.alerts.engaged == [""]
    assert kinds(story.decide("release_brake", 1)) == ["notify"]


def test_what_is_held_is_not_in_force():
    """No notice period runs, and nothing is superseded."""
    story = Story(TIGHT, assumed=True)
    breaches(story, 5)
    assert story.breach(4, 5, customer="c4") == []
    story.decide("release_brake", 6)
    assert story.breach(8.99, customer="c4") == []
    assert kinds(story.breach(9, customer="c4")) == ["minimum_service"]


@pytest.mark.parametrize("kind", ["release", "withdraw"])
def test_what_gives_back_is_never_held(kind):
    story = Story(TIGHT, assumed=True)
    (_, *_) = story.breach(0, rule="storage_capacity")
    story.tick(3)
    breaches(story, 9, days=4)
    story.ladder.state.brake.engaged = ["storage_capacity", ""]
    taken = kind == "withdraw"
    assert kinds(story.find(cleared(5, taken=taken))) == [kind]


def test_an_action_whose_cause_is_gone_meanwhile_is_dropped():
    story = Story(TIGHT)
    breaches(story, 4, rule="storage_capacity")
    story.find(cleared(1, customer="c2", window=2 / 24 / 60 / 4))
    assert [a.customer_id for a in story.decide("release_brake", 2)] == ["c3"]


def test_an_action_held_for_longer_than_its_cause_counts_is_dropped():
    story = Story(TIGHT)
    breaches(story, 5)
    assert story.decide("release_brake", 8) == []
    assert story.ladder.alerts.held == {}


def test_a_restriction_that_was_held_takes_its_place_among_others():
    """What is in force when it is let go counts, not what was in force when it was decided."""
    story = Story(TIGHT, assumed=True)
    story.ladder.state.brake.engaged = ["portscan"]
    assert story.breach(0, rule="portscan") == []
    (_, suspension) = story.breach(1, rule="ddos")
    assert kinds(story.decide("release_brake", 2, rule="portscan")) == ["notify"]
    assert kinds(story.breach(3, rule="portscan")) == []
    (throttle, *_) = story.tick(8)
    assert ("throttle", suspension.action_id) == (throttle.kind, throttle.supersedes)


def test_what_was_due_before_the_brake_was_let_off_was_under_it():
    """Though nobody had looked at the customer in between."""
    story = Story(TIGHT)
    story.breach(0)
    story.ladder.state.brake.engaged = [""]
    days = TIGHT.ladder.delivery_timeout_hours / 24
    assert story.breach(days / 2, rule="portscan") == []
    let_go = story.decide("release_brake", days + 1)
    assert {(action.rule, action.kind) for action in let_go} == {
        ("portscan", "notify"),
        ("portscan", "throttle"),
        ("sms_daily", "notify"),
    }
    assert {action.effective_ms for action in let_go} == {at(days + 1)}


def test_a_rule_that_was_wrong_is_dropped_and_its_cases_are_closed():
    story = Story(TIGHT)
    breaches(story, 5)
    assert story.decide("reject", 1, rule="sms_daily") == []
    assert story.alerts.held == {}
    assert story.decide("release_brake", 2) == []
    assert kinds(story.breach(3, customer="c4")) == ["notify"], "it begins anew"


def test_a_rejection_of_nothing_that_is_held_fits_nothing():
    story = Story(TIGHT)
    story.decide("reject", 1, rule="sms_daily")
    assert story.alerts.unmatched == 1


def test_the_oldest_stay_when_there_is_no_room(monkeypatch):
    monkeypatch.setattr(brake_module, "HELD_MAX", 2)
    story = Story(TIGHT)
    breaches(story, 6)
    assert (story.alerts.held, story.alerts.dropped) == ({"sms_daily": 2}, 2)
    assert [a.customer_id for a in story.decide("release_brake", 1)] == ["c2", "c3"]
    assert kinds(story.breach(2, customer="c5")) == ["notify"], "the next finding tries again"


def test_what_is_held_survives_a_move_in_order():
    story = Story(TIGHT)
    for customer in "zyxwv":
        story.breach(0, customer=customer)
    heir = Ladder(0, TIGHT)
    for keys, values in story.ladder.state.changes(everything=True):
        heir.state.restore(keys, values)
    heir.state.recall(story.ladder.state.remember())
    assert story.alerts.held == heir.alerts.held
    assert heir.fold([finding(0.5, customer="new")], [9]) == []
    story.ladder = heir
    released = story.decide("release_brake", 1)
    assert [action.customer_id for action in released] == ["x", "w", "v", "new"]


def test_the_brake_of_the_default_policy_is_on():
    ladder = POLICY.ladder
    assert (ladder.brake_actions_per_hour, ladder.brake_share_percent) == (1_000, 5)
