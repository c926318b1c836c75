"""In which order a worker hears what was found: kinds of usage are read side by side."""

import random
from collections import Counter

import pytest

from tests.support.harness.ladder_story import Story, at, by_service, finding

IN_ORDER = {
    "sms": ("sms_daily", "sms_monthly", "sms_group"),
    "voice": ("voice_daily", "voice_continuous", "monitoring"),
    "internet": ("portscan", "ddos", "attack"),
    "data": ("sharing", "roaming_volume", "data_monthly_ratio"),
}
"""Rules whose findings come in the order of one kind of usage, by service."""

IN_ANY_ORDER = {"mobile": ("gateway", "machine", "deviation", "usage_double")}
"""Rules about closed periods, which several kinds of usage close."""

CLOSED = {"monitoring", "data_monthly_ratio", *IN_ANY_ORDER["mobile"]}
HISTORIES = 300


def drawn_day(chance, after=0.0):
    return after + chance.choice((0.01, 0.2, 1, 3, 8, 30)) * chance.random()


def found_of(chance, rules):
    """One service's findings in the order in which they can be known, and these days."""
    days, told = 0.0, []
    for _ in range(chance.randint(0, 8)):
        days = drawn_day(chance, days)
        rule = chance.choice(rules)
        level = "regular" if rule.startswith("voice") and chance.random() < 0.5 else "breach"
        late = chance.choice((0, 0, 0.5))
        known = {"closed": days} if rule in CLOSED else {"reached": days} if late else {}
        told.append((days, finding(days - late, level, rule, **known)))
    return told


def heard_in_order(told):
    """Actions where everything is heard when it is known."""
    story = Story(assumed=True)
    for days, found in sorted(told, key=lambda pair: pair[0]):
        story.tick(days - 1e-6)
        story.find(found)
        story.tick(days)
    story.tick(500)
    return by_service(story.actions)


def heard_by_chance(chance, queues):
    """The same where services come as they like; time goes on as far as nothing is missing."""
    story = Story(assumed=True)
    while any(queues):
        queue = chance.choice([queue for queue in queues if queue])
        story.find(queue.pop(0)[1])
        left = [days for queue in queues for days, _ in queue]
        if chance.random() < 0.5:
            story.tick(min(left, default=400) - 1e-6)
    story.tick(500)
    return by_service(story.actions)


@pytest.mark.parametrize("block", range(5))
def test_the_order_in_which_services_are_heard_changes_no_action(block):
    """Neither an id nor a moment, and wherever ticks fall in between."""
    kinds = Counter()
    for number in range(block * HISTORIES, (block + 1) * HISTORIES):
        chance = random.Random(number)
        queues = [found_of(chance, rules) for rules in IN_ORDER.values()]
        shuffled = found_of(chance, IN_ANY_ORDER["mobile"])
        expected = heard_in_order([pair for queue in [*queues, shuffled] for pair in queue])
        chance.shuffle(shuffled)
        actual = heard_by_chance(chance, [*queues, shuffled])
        assert expected == actual, f"seed {number}"
        kinds.update(action.kind for action in actual)
    assert {"notify", "minimum_service", "throttle", "suspend", "release"} <= set(kinds)


def test_a_customer_is_never_told_of_the_future():
    """An action is decided when its finding could be known, not before."""
    story = Story(assumed=True)
    story.find(finding(1, rule="sms_daily", reached=3))
    story.find(finding(1, rule="deviation", closed=4))
    story.tick(5)
    decided = {action.rule: action.decided_ms for action in story.actions}
    assert {"sms_daily": at(3), "deviation": at(4)} == decided
