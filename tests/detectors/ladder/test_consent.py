"""A rule that warns before its limit, cuts data at the limit, and lets the customer consent."""

from types import SimpleNamespace

import msgspec
import pytest

from detectors.rules.contract import Declaration
from detectors.rules.registry import RULES
from schemas.policy import RuleParameters
from schemas.records import Window
from schemas.safeguards import Terms, refusals
from tests.support.harness.ladder_story import (
    PATIENT,
    Story,
    at,
    dossier_of,
    finding,
    kinds,
    with_ladder,
)

RULE = "spending"
LIMITED = RuleParameters(
    clause="base-mobile 5.7", service="data", restriction="cut_data", at_once=True
)


@pytest.fixture(autouse=True)
def spending(monkeypatch):
    """A rule whose terms say that its early findings warn the customer."""
    declaration = Declaration(
        section="Data and plans",
        services=("data",),
        urgency="contract",
        warns_early=True,
        units=(),
        what="",
        limit="",
        misses="",
    )
    monkeypatch.setitem(RULES, RULE, SimpleNamespace(declaration=declaration))


def with_spending(policy=PATIENT, rule=LIMITED):
    """The policy with that rule."""
    return msgspec.structs.replace(policy, rules={**policy.rules, RULE: rule})


def of_month(days, level, start=0):
    """A finding of the month of 30 days that begins at `start`."""
    window = Window(kind="month", start_ms=at(start), end_ms=at(start + 30))
    return msgspec.structs.replace(finding(days, level, RULE, window=start), window=window)


def story(policy=PATIENT, *, assumed=True):
    """A story in which notices arrive and restrictions work at once, unless told otherwise."""
    return Story(with_spending(policy), assumed=assumed)


def warned(days=10, start=0):
    """A story with an early warning that was delivered."""
    told = story()
    told.find(of_month(days, "early", start))
    return told


def test_an_early_finding_warns_once_a_month():
    told = story()
    (notice,) = told.find(of_month(10, "early"))
    assert ("notify", at(10)) == (notice.kind, notice.decided_ms)
    again = msgspec.structs.replace(of_month(11, "early"), finding_id="f-of-another-version")
    assert told.find(of_month(10, "early"), again) == []
    (next_one,) = told.find(of_month(40, "early", 30))
    assert ("notify", at(40)) == (next_one.kind, next_one.decided_ms)


def test_early_findings_of_other_rules_lead_to_nothing():
    assert Story().find(finding(0, "early", "data_bundle")) == []


def test_the_breach_cuts_data_at_once_with_the_notice_of_the_warning():
    told = warned()
    (cut,) = told.find(of_month(12, "breach"))
    assert ("cut_data", "data", at(12), {}) == (
        cut.kind,
        cut.service,
        cut.effective_ms,
        cut.parameters,
    )
    assert (True, None, at(10)) == (
        cut.notice.required,
        cut.notice.waived_because,
        cut.notice.delivered_ms,
    )


def test_a_warning_that_has_not_arrived_does_not_delay_the_cut():
    told = story(assumed=False)
    told.find(of_month(10, "early"))
    (cut,) = told.find(of_month(10.1, "breach"))
    assert cut.kind == "cut_data"
    assert (cut.notice.waived_because, cut.notice.delivered_ms) == ("contract", None)


def test_a_breach_without_a_warning_is_told_and_cut_together():
    assert kinds(story().find(of_month(12, "breach"))) == ["notify", "cut_data"]


def test_a_warning_that_the_brake_holds_does_not_delay_the_cut():
    told = story(with_ladder(PATIENT, brake_actions_per_hour=1))
    told.ladder.state.brake.engaged = [RULE]
    assert told.find(of_month(10, "early"), of_month(12, "breach")) == []
    assert kinds(told.decide("release_brake", 12.5, rule=RULE)) == ["notify", "cut_data"]


def test_the_new_month_lifts_the_cut_and_begins_anew():
    told = warned()
    told.find(of_month(12, "breach"))
    (release,) = told.find(of_month(30, "cleared"))
    assert release.kind == "release"
    assert kinds(told.find(of_month(40, "early", 30))) == ["notify"]
    assert kinds(told.find(of_month(45, "breach", 30))) == ["cut_data"]


def test_a_warning_of_the_next_month_lifts_the_cut_that_its_end_has_not_lifted_yet():
    told = warned()
    told.find(of_month(12, "breach"))
    assert kinds(told.find(of_month(31, "early", 30))) == ["release", "notify"]
    assert told.find(of_month(30, "cleared")) == []
    assert kinds(told.find(of_month(35, "breach", 30))) == ["cut_data"]


def test_a_breach_that_comes_back_after_a_correction_waits_for_its_own_step():
    """Steps that are closed together: the correction says nothing of what is known later."""
    told = story()
    steps = [(12, "breach", None), (13, "cleared", "e-1"), (14, "breach", None)]
    findings = [
        msgspec.structs.replace(
            of_month(day, level),
            finding_id=f"f-{level}",
            known_ms=at(day),
            closed_period=True,
            corrects=corrects,
        )
        for day, level, corrects in steps
    ]
    assert told.find(*findings) == []
    told.tick(15)
    assert told.kinds == ["notify", "cut_data", "withdraw", "notify", "cut_data"]


def test_consent_lifts_a_cut_and_says_who_consented():
    told = warned()
    (cut,) = told.find(of_month(12, "breach"))
    (release,) = told.decide("consent", 13, rule=RULE)
    assert ("release", cut.action_id, at(13)) == (
        release.kind,
        release.supersedes,
        release.decided_ms,
    )
    assert [decision["kind"] for decision in release.evidence["decisions"]] == ["consent"]


def test_after_consent_the_same_month_leads_to_nothing_more():
    told = warned()
    told.find(of_month(12, "breach"))
    told.decide("consent", 13, rule=RULE)
    again = msgspec.structs.replace(of_month(14, "breach"), finding_id="f-of-another-version")
    assert told.find(again) == []
    assert told.tick(29) == []
    assert told.find(of_month(30, "cleared")) == []


@pytest.mark.parametrize("is_warned", [True, False])
def test_consent_before_the_limit_prevents_the_cut_of_its_month(is_warned):
    told = warned() if is_warned else story()
    assert told.decide("consent", 11, rule=RULE) == []
    assert told.find(of_month(12, "breach")) == []
    assert told.tick(29.9) == [], "the end of a notice period cuts nothing"
    told.find(of_month(30, "cleared"))
    assert kinds(told.find(of_month(31, "early", 30))) == ["notify"]
    assert kinds(told.find(of_month(45, "breach", 30))) == ["cut_data"]


def test_consent_drops_a_cut_that_the_brake_holds():
    told = warned()
    told.ladder.state.brake.engaged = [RULE]
    assert told.find(of_month(12, "breach")) == []
    assert told.decide("consent", 13, rule=RULE) == []
    assert told.decide("release_brake", 14, rule=RULE) == []


def test_consent_is_forgotten_in_time():
    told = story()
    told.decide("consent", 1, rule=RULE)
    told.tick(1 + PATIENT.ladder.memory_days)
    assert dossier_of(told.ladder, "data").cases == {}


@pytest.mark.parametrize("rule", ["sms_daily", "no_such_rule"])
def test_consent_to_what_cuts_no_data_is_counted(rule):
    told = story()
    assert told.decide("consent", 1, rule=rule) == []
    assert told.alerts.unmatched == 1


def test_a_cut_takes_the_place_of_a_throttle_and_gives_it_back():
    told = story()
    told.find(msgspec.structs.replace(finding(1, rule="data_bundle"), finding_id="f-bundle"))
    throttle = told.actions[-1]
    cut = told.find(of_month(12, "breach"))[-1]
    (again,) = told.decide("consent", 13, rule=RULE)
    assert (throttle.kind, cut.kind, again.kind) == ("throttle", "cut_data", "throttle")
    assert (throttle.action_id, cut.action_id) == (cut.supersedes, again.supersedes)


@pytest.mark.parametrize(
    ("warns_early", "service", "problems"),
    [
        (True, "data", []),
        (
            False,
            "data",
            ["data may be cut only by a rule that warns the customer before its limit"],
        ),
        (True, "mobile", ["cut_data restricts more than the service mobile"]),
    ],
)
def test_a_policy_may_cut_data_only_where_a_warning_came_before(warns_early, service, problems):
    terms = Terms(services=("data", "mobile"), urgency="contract", warns_early=warns_early)
    table = {"restriction": "cut_data", "at_once": True, "service": service}
    ladder = {"notice_days": 14, "memory_days": 90}
    found = [
        problem
        for _, _, problem, _ in refusals({"ladder": ladder, "rules": {RULE: table}}, {RULE: terms})
    ]
    assert len(found) == len(problems)
    assert all(said.startswith(problem) for said, problem in zip(found, problems, strict=True))
