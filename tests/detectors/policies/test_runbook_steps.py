"""What runbooks say that the ladder does, held against what it does."""

import re

import msgspec
import pytest

from detectors.policies.editions import load_policy
from detectors.policies.runbook_steps import LASTING, steps_of
from detectors.rules.registry import RULES
from schemas.records import Window
from tests.support.harness.ladder_story import Story, finding, kinds

POLICY = load_policy()
NO_KINDS = {"regular", "early", "cleared", "human_review"}


def sentences_of(rule):
    """The sentences about a rule, each with the kinds of action that it names, in order."""
    told = " ".join(steps_of(rule, POLICY).split()).removesuffix(".").split(". ")
    return [(each, [k for k in re.findall(r"`(\w+)`", each) if k not in NO_KINDS]) for each in told]


def seen(rule, days, level):
    """A finding of a rule, about a state where the rule is about one."""
    found = finding(days, level, rule)
    if not issubclass(RULES[rule], LASTING):
        return found
    state = Window(kind="state", start_ms=found.window.start_ms, end_ms=None)
    return msgspec.structs.replace(found, window=state)


def level_in(sentence):
    """The level of the finding that a sentence is about."""
    return next((level for level in ("early", "regular") if f"`{level}`" in sentence), "breach")


@pytest.mark.parametrize("rule", RULES)
def test_a_runbook_says_what_follows_from_the_first_finding(rule):
    sentence, named = sentences_of(rule)[0]
    story = Story(POLICY, assumed=True)
    assert named == kinds(story.find(seen(rule, 0, level_in(sentence))))


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if "after the notice" in steps_of(rule, POLICY)]
)
def test_a_runbook_says_what_follows_once_the_notice_period_is_over(rule):
    """Not a moment earlier: a day before its end nothing follows."""
    sentence, named = sentences_of(rule)[1]
    days = int(re.search(r"(\d+) day", sentence)[1])
    story = Story(POLICY, assumed=True)
    story.find(seen(rule, 0, "breach"))
    early, late = days - 1, days + 1
    if issubclass(RULES[rule], LASTING):
        assert story.tick(early) == []
        assert named == kinds(story.tick(late))
    else:
        level = level_in(sentence)
        assert story.find(seen(rule, early, level)) == []
        assert named == kinds(story.find(seen(rule, late, level)))


SUSPENDED_FIRST = [r for r in RULES if POLICY.rules[r].restriction == "suspend"]


@pytest.mark.parametrize("rule", SUSPENDED_FIRST)
def test_a_runbook_says_how_a_suspension_ends(rule):
    """It is lifted when its cause is gone; past the days it names, a person is asked before."""
    told = " ".join(steps_of(rule, POLICY).split())
    clear, asked, answered = (
        int(re.search(pattern, told)[1])
        for pattern in (r"After (\d+) ", r"after (\d+) days of susp", r"within (\d+) days the susp")
    )
    story = Story(POLICY, assumed=True)
    story.find(seen(rule, 0, "breach"))
    story.find(seen(rule, 3, "regular"))
    since = next(a.effective_ms for a in story.actions if a.kind == "suspend")
    first = round((since - finding(0).event_time_ms) / 86_400_000)
    if first + asked < 3 + clear:
        assert kinds(story.tick(first + asked)) == ["propose_termination"]
        assert story.tick(first + asked + answered - 0.1) == []
        assert kinds(story.tick(first + asked + answered)) == ["release"]
    else:
        assert story.tick(3 + clear - 0.1) == []
        assert kinds(story.tick(3 + clear)) == ["release"]


@pytest.mark.parametrize(
    "rule",
    [r for r in RULES if "(`release`)" in steps_of(r, POLICY) and r not in SUSPENDED_FIRST],
)
def test_a_runbook_says_when_the_restriction_is_lifted_and_what_comes_after(rule):
    """Lifted after the days it names, or with "cleared"; then the next breach suspends."""
    told = " ".join(steps_of(rule, POLICY).split())
    story = Story(POLICY, assumed=True)
    level = "regular" if "`regular`" in told else "breach"
    again = int((re.search(r"(\d+) days? (or more )?after the notice", told) or [0, 3])[1]) + 1
    story.find(seen(rule, 0, level))
    story.tick(again)
    story.find(seen(rule, again, level))
    if issubclass(RULES[rule], LASTING):
        days = again + 1
        lifted = story.find(finding(days, "cleared", rule, window=again))
    else:
        days = again + int(re.search(r"After (\d+) days? without", told)[1])
        assert story.tick(days - 0.1) == []
        lifted = story.tick(days)
    assert kinds(lifted) == ["release"]
    assert kinds(story.find(seen(rule, days + 1, level))) == ["suspend"]
