"""Each part of the synthetic operator crosses its limit, counted naively, and nobody else does."""

import pytest

from streams.generator import Operator, OperatorShape
from tests.played import SHARES

SEED = 20_260_301
LONG = ("roaming_permanent", "inactive")
"""Rules that want more months than the default shape has."""

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
"""Which share of which limit a look-alike reaches at least."""


class Played:
    """An operator with all its events, and each rule's shares once they are asked for."""

    def __init__(self, **shape):
        print(f"OperatorShape(seed={SEED}, **{shape})")
        self.operator = Operator(OperatorShape(seed=SEED, **shape))
        self.events = [event for day in self.operator.days() for event in day]
        self.customers = {c.customer_id: c for c in self.operator.customers()}
        self._shares = {}

    def shares(self, rule):
        if rule not in self._shares:
            self._shares[rule] = SHARES[rule](self.customers, self.events)
        return self._shares[rule]

    def breakers(self, rule):
        return {customer for customer, share in self.shares(rule).items() if share > 1}


@pytest.fixture(scope="module")
def two_months():
    return Played(customers=600)


def assert_as_expected(played, rule):
    expected, found = played.operator.expected[rule], played.breakers(rule)
    names = {c: name for name, players in played.operator.cast.items() for c in players}
    missed = {(c, names.get(c)) for c in expected.must - found}
    wrong = {(c, names.get(c)) for c in found - expected.must - expected.may}
    assert (missed, wrong) == (set(), set())


@pytest.mark.parametrize("rule", SHARES)
def test_only_those_who_play_a_part_break_a_rule(two_months, rule):
    """All who must, nobody but those who may."""
    assert_as_expected(two_months, rule)


@pytest.mark.parametrize("rule", sorted(set(SHARES) - set(LONG)))
def test_every_rule_has_abusers(two_months, rule):
    assert len(two_months.operator.expected[rule].must) >= 2


@pytest.mark.parametrize("name", CLOSE)
def test_look_alikes_come_close_to_a_limit(two_months, name):
    rule, least = CLOSE[name]
    shares = [two_months.shares(rule).get(c, 0) for c in two_months.operator.cast[name]]
    assert min(shares) >= least
    assert max(shares) <= 1
