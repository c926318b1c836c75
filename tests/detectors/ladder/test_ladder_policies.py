"""The ladder goes by the policy of its time: notice, limits of the ladder, who is passed over."""

import msgspec
import pytest

from detectors.ladder.ladder import Ladder
from schemas.hashing import hash_strings
from tests.support.harness.ladder_histories import moved
from tests.support.harness.ladder_story import (
    PATIENT,
    Story,
    at,
    by_service,
    cleared,
    finding,
    kinds,
    with_ladder,
    with_rule,
)
from tests.support.strategies.editions import edition_of

STORED = "storage_capacity"
SLOWER = with_ladder(PATIENT, notice_days=7)
FASTER = with_ladder(PATIENT, notice_days=1)
EXEMPT = msgspec.structs.replace(PATIENT, exempt={"sms_daily": frozenset({"7"})})


def announced(days, policy, share_percent=100, version="next"):
    """A policy that holds from a day on."""
    return edition_of(policy, PATIENT, at(days), version, share_percent)


def story_with(*editions, **more):
    """A story whose partition knows these policies from the start."""
    story = Story(**more)
    for edition in editions:
        assert story.ladder.announce_policy(edition)
    return story


def told(story, days=0, rule="sms_daily", customer="7"):
    """A breach whose notice was delivered at once."""
    (notice,) = story.breach(days, rule=rule, customer=customer)
    story.result(notice, "delivered", days)
    return story


def test_the_notice_period_is_that_of_the_policy_that_holds_when_it_is_asked():
    story = told(story_with(announced(2, SLOWER)))
    assert story.breach(3, 6.9) == []
    assert kinds(story.breach(7)) == ["minimum_service"]


def test_a_shorter_notice_period_is_over_at_the_earliest_when_the_policy_begins():
    """A state that lasts needs no finding: its timer fires with the change, not before it."""
    story = told(story_with(announced(2, FASTER)), rule=STORED)
    assert story.tick(1.99) == []
    (restriction,) = story.tick(2.5)
    assert (restriction.kind, restriction.decided_ms) == ("restrict_storage", at(2))


def test_a_timer_that_is_due_before_the_change_fires_under_the_old_policy():
    story = told(story_with(announced(3.5, SLOWER)), rule=STORED)
    (restriction,) = story.tick(9)
    assert restriction.decided_ms == at(3)


def test_a_policy_that_comes_late_leads_to_what_a_replay_makes_of_it():
    """Which knows it from the start."""
    late, early = Story(), story_with(announced(1, FASTER))
    for story in (late, early):
        told(story, rule=STORED)
    late.tick(0.9)
    late.ladder.announce_policy(announced(1, FASTER))
    assert late.tick(2.1) == early.tick(2.1)
    assert kinds(late.actions) == ["notify", "restrict_storage"]


def test_whom_a_policy_passes_over_is_left_alone_from_its_time_on():
    """What was found before stays as it is."""
    story = told(story_with(announced(2, EXEMPT)))
    assert story.breach(2, 3, 4) == []
    assert kinds(story.breach(4, customer="8")) == ["notify"]
    assert kinds(story.breach(4, rule="voice_daily")) == ["notify"]


def test_a_state_of_an_exempt_customer_still_ends():
    policy = msgspec.structs.replace(PATIENT, exempt={STORED: frozenset({"7"})})
    story = told(story_with(announced(4, policy), assumed=True), rule=STORED)
    assert kinds(story.tick(4)) == ["restrict_storage"]
    assert kinds(story.find(cleared(5))) == ["release"]


def test_a_policy_on_trial_holds_for_its_share_of_customers_only():
    story = story_with(announced(0, SLOWER, share_percent=40))
    customers = [str(n) for n in range(100)]
    for customer in customers:
        told(story, 0, customer=customer)
    after_three = {c for c in customers if story.breach(3, customer=c)}
    assert after_three == {c for c in customers if hash_strings([c])[0] % 100 >= 40}


def test_a_policy_that_only_shows_what_it_would_find_changes_nothing():
    story = told(story_with(announced(0, EXEMPT, share_percent=0)))
    assert kinds(story.breach(3)) == ["minimum_service"]


def test_limits_of_the_brake_change_with_the_policy():
    tight = with_ladder(PATIENT, brake_actions_per_hour=2)
    story = story_with(announced(1, tight))
    before = story.find(*(finding(0, customer=f"a{n}") for n in range(5)))
    after = story.find(*(finding(1, customer=f"b{n}") for n in range(5)))
    assert (len(before), len(after)) == (5, 1)
    assert story.alerts.held == {"sms_daily": 4}


def test_policies_outlive_a_move_though_nobody_announces_them_again():
    story = told(story_with(announced(2, SLOWER)))
    story.ladder = moved(story.ladder)
    assert story.breach(6) == []
    heir = Ladder(0, PATIENT)
    heir.state.take_arrays(story.ladder.state.arrays())
    heir.state.recall(story.ladder.state.remember())
    story.ladder = heir
    assert story.breach(6.5) == []
    assert kinds(story.breach(7)) == ["minimum_service"]


def test_a_policy_that_is_known_is_no_news_and_is_stored_once():
    story = story_with(announced(2, SLOWER))
    assert list(story.ladder.state.changes())
    assert not story.ladder.announce_policy(announced(2, SLOWER))
    assert list(story.ladder.state.changes()) == []
    story.ladder.state.rewrite([b"policy/0"])
    assert any(b"policy/0" in keys for keys, _ in story.ladder.state.changes())


@pytest.mark.parametrize("number", range(5))
def test_it_makes_no_difference_how_often_a_customer_is_looked_at(number, chance):
    """And which moment a checkpoint falls into. Each story is drawn anew."""
    choices = [SLOWER, FASTER, EXEMPT, with_rule(STORED, PATIENT, clear_after_days=2)]
    editions = [
        announced(chance.uniform(0, 20), chance.choice(choices), version=f"v{n}") for n in range(3)
    ]
    days = sorted(chance.uniform(0, 30) for _ in range(12))
    rules = [chance.choice(["sms_daily", "voice_daily", STORED]) for _ in days]

    def actions(ticks):
        story = story_with(*editions, assumed=True)
        moments = [(day, rule) for day, rule in zip(days, rules, strict=True)]
        for day, rule in sorted(moments + [(tick, "") for tick in ticks]):
            if rule:
                story.breach(day, rule=rule)
            else:
                story.tick(day)
                story.ladder = moved_with_enforcement(story.ladder)
        story.tick(60)
        return story.actions

    often = actions([chance.uniform(0, 40) for _ in range(40)])
    assert often
    assert by_service(often) == by_service(actions([]))


def moved_with_enforcement(ladder):
    """The same partition at another worker, whose enforcement is assumed too."""
    heir = moved(ladder)
    heir.enforcement = ladder.enforcement
    return heir
