"""Each part crosses its limit, counted in a naive way, and no other customer does."""

import pytest

from detectors.rules.registry import RULES
from schemas.events import Sms
from streams.synthetic.parts import PARTS
from tests.support.nearness import SHARES, Played
from tests.support.nearness.texts_and_calls import sms_bulk

LONG = ("roaming_permanent", "inactive")
"""Rules that need more months than the default shape has."""

CLOSE = {
    "festival_crowd": ("sms_daily", 0.95),
    "club_secretary": ("sms_group", 0.9),
    "salesman": ("voice_daily", 0.89),
    "chatterer": ("voice_continuous", 0.7),
    "couple": ("monitoring", 0.85),
    "heavy_data_user": ("data_monthly_ratio", 0.5),
    "careful_user": ("data_bundle", 0.7),
    "traveller": ("roaming_volume", 0.15),
    "family": ("sharing", 1.0),
    "probed": ("inbound_abuse", 0.01),
    "club_mail_list": ("mail_spam", 0.7),
    "photographer": ("mail_bomb", 0.1),
    "link_checker": ("portscan_slow", 0.01),
    "full_storage": ("storage_contacts", 1.0),
    "family_with_television": ("stream_devices", 1.0),
    "weekender": ("stream_elsewhere", 1.0),
    "tidy_leaver": ("storage_ended", 0.6),
}
"""The share of a limit that each look-alike reaches at least."""


SMALL = (
    {"customers": 200, "days": 1},
    {"customers": 200, "days": 33},
    {"customers": 300, "days": 34},
    {"customers": 200, "days": 12, "start_ms": 1_792_792_800_000},
)


@pytest.fixture(scope="module")
def two_months():
    return Played(customers=600)


@pytest.fixture(scope="module")
def long():
    """A fifth of the events, since all of them would not fit in memory."""
    return Played(customers=200, days=405, keep=lambda event: event.event_id[-1] in "05")


def assert_as_expected(played, rule):
    expected, found = played.operator.expected[rule], played.breakers(rule)
    names = {c: name for name, players in played.operator.cast.items() for c in players}
    missed = {(c, names.get(c)) for c in expected.must - found}
    wrong = {(c, names.get(c)) for c in found - expected.must - expected.may}
    assert (missed, wrong) == (set(), set())


@pytest.mark.parametrize("rule", SHARES)
def test_only_those_who_play_a_part_break_a_rule(two_months, rule):
    """All players who must break it do, and only players who may."""
    assert_as_expected(two_months, rule)


@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_short_and_small_operators_plant_only_what_rules_can_find(shape):
    """One day has no whole month, 33 days no closed one; one day in October has 25 hours."""
    played = Played(**shape)
    for rule in SHARES:
        assert_as_expected(played, rule)


@pytest.mark.parametrize("rule", LONG)
def test_abuse_of_several_months_is_planted_in_long_shapes_only(two_months, long, rule):
    """Four months abroad, a year without use, and those who come back just before."""
    assert two_months.operator.expected[rule].must == set()
    assert len(long.operator.expected[rule].must) >= 2
    assert_as_expected(long, rule)
    assert 0.85 < max(long.shares("inactive").get(c, 0) for c in long.operator.cast["returner"]) < 1


@pytest.mark.parametrize("rule", sorted(set(SHARES) - set(LONG)))
def test_every_rule_has_abusers(two_months, rule):
    assert len(two_months.operator.expected[rule].must) >= 2


@pytest.mark.parametrize("name", CLOSE)
def test_look_alikes_come_close_to_a_limit(two_months, name):
    rule, least = CLOSE[name]
    shares = [two_months.shares(rule).get(c, 0) for c in two_months.operator.cast[name]]
    assert min(shares) >= least
    assert max(shares) <= 1


def test_ordinary_customers_stay_far_below_the_limits(two_months):
    """At most they reach nine tenths of a plan's capacity, or twice the mean."""
    players = frozenset().union(*two_months.operator.cast.values())
    near = {"storage_capacity", "storage_file_size", "usage_double", "data_bundle"}
    for rule in SHARES:
        shares = [s for c, s in two_months.shares(rule).items() if c not in players]
        limit = 0.95 if rule in near else 1 if rule == "stream_elsewhere" else 0.7
        assert max(shares, default=0) <= limit, rule


def test_there_is_a_part_for_every_rule_and_a_count_for_every_part():
    """A new rule needs a part that breaks it."""
    rules = {part.name for part in PARTS if part.name in part.must}
    assert set(RULES) <= rules
    assert rules == set(SHARES)
    assert {rule for part in PARTS for rule in (*part.must, *part.may)} == rules


def test_an_organiser_writes_to_more_people_than_a_spammer_may_and_is_answered(two_months):
    """The answers show that the organiser is no spammer."""
    players = two_months.operator.cast["organiser"]
    texts = [t for t in two_months.events if isinstance(t, Sms) and t.customer_id in players]
    unanswered = [text for text in texts if text.direction == "mo"]
    customers = two_months.customers
    assert min(sms_bulk(customers, unanswered)[player] for player in players) > 1
    assert max(sms_bulk(customers, texts)[player] for player in players) == 0
