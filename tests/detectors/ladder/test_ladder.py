"""The ladder, step by step; test_ladder_histories.py has it over any history."""

import msgspec
import pytest

from detectors.ladder.dossier import (
    EARLY_MAX,
    ORDERS_MAX,
    SEEN_MAX,
    WAITING_MAX,
    key_of,
    unpack_dossier,
)
from detectors.ladder.ladder import Ladder
from detectors.ladder.reasons import reason
from schemas.ids import action_id
from schemas.topics import DECISIONS, ENFORCEMENT_RESULTS, FINDINGS
from tests.support.harness.ladder_story import (
    PATIENT,
    POLICY,
    REF,
    Story,
    at,
    cleared,
    dossier_of,
    finding,
    kinds,
    with_ladder,
    with_rule,
)

LADDER = POLICY.ladder
ATTEMPTS = LADDER.attempts_max
STORED = "storage_capacity"


def told(days=0, rule="sms_daily", **more):
    """A story with one breach whose notice was delivered when it was decided."""
    story = Story(**more)
    (notice, *_) = story.breach(days, rule=rule)
    story.result(notice, "delivered", days)
    return story


def case_of(story, rule="sms_daily", customer="7"):
    """A case as it is stored, if it is still remembered."""
    packed = story.ladder.state.cases.get(key_of(POLICY.rules[rule].service, customer))
    return unpack_dossier(packed).cases.get(rule) if packed else None


# -- notice ---------------------------------------------------------------------------------------


def test_a_first_breach_leads_to_a_notice():
    (notice,) = Story().breach(0)
    assert ("notify", at(0), at(0)) == (notice.kind, notice.decided_ms, notice.effective_ms)
    assert notice.parameters == {"channel": "text"}
    assert not notice.notice.required
    assert notice.supersedes is None


def test_nothing_follows_a_notice_that_was_not_delivered():
    """However often, and however late: sent is not delivered."""
    story = Story()
    story.breach(0, 4, 5, 6)
    assert set(story.kinds) == {"notify"}


def test_a_breach_before_the_notice_period_is_over_leads_to_nothing():
    story = told()
    assert story.breach(1, 2, 2.99) == []


def test_a_breach_after_the_notice_period_restricts_at_once():
    """And says when the customer knew."""
    story = Story()
    (notice,) = story.breach(0)
    story.result(notice, "delivered", 0.25)
    assert story.breach(3.24) == []
    (restriction,) = story.breach(3.25)
    assert ("minimum_service", at(3.25)) == (restriction.kind, restriction.effective_ms)
    assert restriction.notice.required
    assert restriction.notice.delivered_ms == at(0.25)
    assert restriction.notice.waived_because is None


def test_still_in_breach_in_the_same_window_restricts_too():
    story = told()
    assert kinds(story.find(finding(3, "regular", window=0))) == ["minimum_service"]


def test_a_breach_that_comes_late_about_the_notice_period_leads_to_nothing():
    """What counts is when it happened, not when it was found."""
    story = told()
    story.tick(5)
    assert story.breach(2) == []


def test_a_period_leads_to_something_once_it_is_closed_and_known_to_somebody():
    """Two days after its end here; the notice period begins no sooner."""
    story = Story(assumed=True)
    assert story.find(finding(1, closed=3)) == story.tick(2.99) == []
    (notice,) = story.tick(4)
    assert notice.effective_ms == at(3)
    assert story.find(finding(5, closed=7)) == story.tick(7) == []
    assert story.find(finding(6, closed=8)) == story.tick(8) == []
    (restriction,) = story.tick(9)
    assert restriction.effective_ms == at(8)
    assert restriction.notice.delivered_ms == at(3)


def test_what_is_due_before_a_period_is_closed_comes_before_what_was_found_in_it():
    """Whether or not a tick saw to it in time."""
    stories = [Story(assumed=True), Story(assumed=True)]
    for story in stories:
        story.breach(0, 3.5)
    clear_days = POLICY.ladder.clear_after_days
    ended = 3.5 + clear_days
    stories[1].tick(ended + 1)
    for story in stories:
        story.find(finding(ended - 1, closed=ended + 1))
        story.tick(ended + 1)
    assert stories[0].actions == stories[1].actions
    assert kinds(stories[0].actions) == ["notify", "minimum_service", "release"]


def test_regular_use_is_what_restricts_where_the_contract_says_regularly():
    story = told(rule="voice_daily")
    assert story.breach(4, 5, rule="voice_daily") == []
    (restriction,) = story.find(finding(5, "regular", "voice_daily"))
    assert restriction.kind == "minimum_service"


def test_regular_use_without_a_breach_before_it_is_announced_first():
    assert kinds(Story().find(finding(0, "regular", "voice_daily"))) == ["notify"]


def test_a_rule_may_have_a_notice_period_of_its_own():
    assert POLICY.rules["roaming_permanent"].notice_days == 14
    story = told(rule="roaming_permanent")
    assert story.breach(13, rule="roaming_permanent") == []
    assert kinds(story.breach(14, rule="roaming_permanent")) == ["minimum_service"]


def test_a_notice_that_does_not_arrive_goes_out_by_the_next_channel():
    """Each is a new action; the last is for a person."""
    story = Story(with_ladder(PATIENT, delivery_timeout_hours=48))
    story.breach(0)
    story.tick(30)
    channels = [action.parameters["channel"] for action in story.actions]
    assert channels == ["text", "mail", "letter", "person"]
    assert [at(2 * n) for n in range(4)] == [action.decided_ms for action in story.actions]
    assert len({action.action_id for action in story.actions}) == 4
    assert [action.human_review for action in story.actions] == [False] * 3 + [True]


@pytest.mark.parametrize("status", ["failed", "expired"])
def test_a_notice_that_failed_goes_out_by_the_next_channel_at_once(status):
    story = Story()
    (notice,) = story.breach(0)
    (letter,) = story.result(notice, status, 0.5)
    assert ("mail", at(0.5)) == (letter.parameters["channel"], letter.decided_ms)
    assert notice.action_id == letter.supersedes


def test_an_earlier_channels_notice_that_is_delivered_after_all_counts():
    story = Story()
    (notice,) = story.breach(0)
    story.result(notice, "failed", 0.5)
    story.result(notice, "delivered", 1)
    assert story.tick(20) == [], "nobody needs to be told again"
    assert kinds(story.breach(21)) == ["minimum_service"]


def person_asked():
    """A story in which a person has to tell the customer, and that action."""
    story = Story()
    (action,) = story.breach(0)
    while not action.human_review:
        (action,) = story.result(action, "failed", 1)
    return story, action


def test_a_persons_word_counts_as_delivered():
    story, asked = person_asked()
    assert story.decide("approve", 2, asked) == []
    assert story.breach(4.99) == []
    (restriction,) = story.breach(5)
    assert restriction.notice.delivered_ms == at(2)
    (decision,) = restriction.evidence["decisions"]
    assert ("approve", "ada", at(2)) == (
        decision["kind"],
        decision["decided_by"],
        decision["time_ms"],
    )


@pytest.mark.parametrize("answer", ["reject", "none"])
def test_where_nobody_can_tell_the_customer_the_ladder_begins_anew(answer):
    story, asked = person_asked()
    if answer == "reject":
        story.decide("reject", 2, asked)
    (notice,) = story.breach(20)
    assert (notice.kind, notice.parameters["channel"]) == ("notify", "text")


# -- restriction and release ----------------------------------------------------------------------


def restricted(rule="sms_daily", **more):
    """A story in which a restriction is in force and applied since day 4, and that action."""
    story = told(rule=rule, **more)
    (restriction,) = story.breach(4, rule=rule)
    story.result(restriction, "applied", 4)
    return story, restriction


def test_further_breaches_while_a_restriction_is_in_force_only_prolong_it():
    story, restriction = restricted()
    assert story.breach(5, 9) == []
    assert story.tick(15.99) == []
    (release,) = story.tick(16)
    assert ("release", at(16)) == (release.kind, release.decided_ms)
    assert restriction.action_id == release.supersedes


def test_a_rule_may_have_its_own_days_without_a_breach():
    assert POLICY.rules["sms_monthly"].clear_after_days == 31
    story, _ = restricted("sms_monthly")
    assert story.tick(4 + 30.9) == []
    assert kinds(story.tick(4 + 31)) == ["release"]


def test_a_state_that_lasts_restricts_with_the_end_of_the_notice_period():
    """A gauge above its limit says so once: no further finding comes."""
    story = told(rule=STORED)
    (restriction,) = story.tick(50)
    assert ("restrict_storage", at(3)) == (restriction.kind, restriction.decided_ms)


def test_a_state_that_ended_in_the_notice_period_leads_to_nothing():
    story = told(rule=STORED)
    assert story.find(cleared(2)) == []
    assert story.tick(50) == []
    assert case_of(story, STORED) is not None


def test_a_state_that_ends_is_released_at_once():
    story = told(rule=STORED)
    (restriction,) = story.tick(3)
    (release,) = story.find(cleared(10))
    assert ("release", at(10)) == (release.kind, release.effective_ms)
    assert restriction.action_id == release.supersedes
    assert release.reason.endswith("the cause is gone and every restriction for it is lifted.")


def test_an_older_state_that_ended_lifts_nothing():
    story = told(rule=STORED)
    story.find(cleared(1), finding(2, rule=STORED))
    story.tick(5)
    assert story.find(cleared(6, window=0)) == []


def test_in_breach_again_after_a_release_suspends_at_once():
    """The notice of the episode before announced it."""
    story, _ = restricted()
    story.tick(20)
    (suspension,) = story.breach(90)
    assert ("suspend", at(90)) == (suspension.kind, suspension.effective_ms)
    assert suspension.notice.delivered_ms == at(0)


def test_a_late_breach_from_before_the_release_suspends_nobody():
    story, _ = restricted()
    story.tick(20)
    assert story.breach(10.9) == []


def test_after_memory_days_the_ladder_begins_anew():
    story, _ = restricted()
    (release,) = story.tick(50)
    assert at(11) == release.decided_ms
    assert kinds(story.breach(11 + LADDER.memory_days)) == ["notify"]


def test_a_notice_is_forgotten_after_memory_days_without_a_breach():
    story = told()
    assert story.tick(LADDER.memory_days) == []
    assert story.ladder.state.cases == {}


def test_who_was_never_told_is_told_before_a_suspension():
    """An urgent restriction that was released before its notice arrived announced nothing."""
    story = Story(with_ladder(PATIENT, delivery_timeout_hours=8_000))
    story.breach(0, rule="portscan")
    story.tick(10)
    assert kinds(story.breach(20, rule="portscan")) == ["notify", "throttle"]


def test_what_is_urgent_is_restricted_together_with_its_notice():
    notice, throttle = Story().breach(0, rule="portscan")
    assert (notice.kind, throttle.kind) == ("notify", "throttle")
    assert at(0) == throttle.effective_ms
    assert throttle.notice.waived_because == "urgency"
    assert throttle.parameters == {"rate_kbps": 256}


@pytest.mark.parametrize(("rule", "because"), [("ddos", "urgency"), ("gateway", "fraud")])
def test_floods_and_gateways_start_at_the_suspension(rule, because):
    notice, suspension = Story().breach(0, rule=rule)
    assert (notice.kind, suspension.kind) == ("notify", "suspend")
    assert because == suspension.notice.waived_because


def test_an_urgent_finding_is_over_though_its_window_has_no_end():
    """A slow scan is reported as a state that nobody clears."""
    story = told(rule="portscan_slow")
    assert kinds(story.tick(8)) == ["release"]


def test_an_exhausted_bundle_never_adds_up_to_a_suspension():
    """Every month anew: it is what the plan says, and no abuse."""
    story = Story(assumed=True)
    for start in (0, 30, 60):
        story.breach(start, rule="data_bundle")
        story.find(cleared(start + 20, "data_bundle", window=start))
    assert story.kinds == ["notify", "throttle", "release"] * 3
    assert story.actions[1].notice.waived_because == "contract"


def test_what_comes_from_another_network_is_reported_each_time_and_nothing_else():
    story = Story()
    reports = story.breach(0, 0.1, 0.2, rule="inbound_abuse")
    assert kinds(reports) == ["report_upstream"] * 3
    assert len({report.action_id for report in reports}) == 3
    assert not any(report.notice.required for report in reports)


@pytest.mark.parametrize(
    "nothing", [finding(0, "early", "data_monthly_ratio"), finding(0, shadow=True), cleared(0)]
)
def test_early_warnings_shadow_policies_and_ends_of_nothing_lead_to_nothing(nothing):
    story = Story()
    assert story.find(nothing) == []
    assert story.ladder.state.cases == {}


# -- suspension and termination -------------------------------------------------------------------


def suspended():
    """A story of a gauge that is suspended since day 20, and the suspension."""
    story = told(rule=STORED)
    (restriction,) = story.tick(3)
    story.result(restriction, "applied", 3)
    (release,) = story.find(cleared(10))
    story.result(release, "applied", 10)
    (suspension,) = story.breach(20, rule=STORED)
    story.result(suspension, "applied", 20)
    return story, suspension


def test_a_suspension_whose_cause_outlasts_ten_days_becomes_a_proposal():
    """Never more than that: what becomes of the contract a person decides."""
    story, _ = suspended()
    assert story.tick(29.99) == []
    (proposal,) = story.tick(30)
    assert ("propose_termination", at(30)) == (proposal.kind, proposal.decided_ms)
    assert proposal.human_review
    assert at(30 + LADDER.review_days) == proposal.expires_ms


def test_a_suspension_whose_cause_is_gone_is_released():
    story, suspension = suspended()
    (release,) = story.find(cleared(25, window=20))
    assert ("release", suspension.action_id) == (release.kind, release.supersedes)
    assert story.tick(80) == []


@pytest.mark.parametrize("answer", ["reject", "none"])
def test_without_a_yes_the_suspension_is_released(answer):
    story, suspension = suspended()
    (proposal,) = story.tick(30)
    if answer == "reject":
        (release,) = story.decide("reject", 33, proposal)
        assert at(33) == release.decided_ms
    else:
        (release,) = story.tick(37)
        assert at(37) == release.decided_ms
    assert ("release", suspension.action_id) == (release.kind, release.supersedes)


def test_after_a_yes_the_suspension_stays_until_a_person_lifts_it():
    story, suspension = suspended()
    (proposal,) = story.tick(30)
    (again,) = story.decide("approve", 33, proposal)
    assert proposal.action_id == again.action_id
    assert not again.human_review
    assert (at(33), None) == (again.effective_ms, again.expires_ms)
    story.result(again, "applied", 34)
    assert story.find(cleared(40, window=20)) == []
    assert story.tick(300) == []
    (release,) = story.decide("reject", 301, suspension)
    assert ("release", suspension.action_id) == (release.kind, release.supersedes)
    assert [d["kind"] for d in release.evidence["decisions"]] == ["approve", "reject"]


# -- corrections ----------------------------------------------------------------------------------


def test_a_breach_that_a_correction_took_back_is_withdrawn():
    story, restriction = restricted()
    (withdrawal,) = story.find(cleared(5, "sms_daily", window=4, taken=True))
    assert ("withdraw", at(5)) == (withdrawal.kind, withdrawal.effective_ms)
    assert restriction.action_id == withdrawal.supersedes
    assert not withdrawal.notice.required
    story.result(withdrawal, "applied", 5)
    assert kinds(story.breach(6)) == ["notify"], "the ladder begins anew"


def test_a_notice_is_withdrawn_too():
    story = told()
    (withdrawal,) = story.find(cleared(1, "sms_daily", taken=True))
    assert (withdrawal.kind, withdrawal.supersedes) == ("withdraw", None)


def test_a_breach_that_comes_back_after_its_withdrawal_counts_as_new():
    """It has the same finding id, and its actions have new ones."""
    story = Story()
    for day in (0, 0.2, 0.4):
        story.find(finding(day, window=0))
        story.find(cleared(day + 0.1, "sms_daily", taken=True))
    assert story.kinds == ["notify", "withdraw"] * 3
    assert len({action.action_id for action in story.actions}) == 6


def test_a_correction_of_something_else_changes_nothing():
    story = told()
    assert story.find(cleared(1, "sms_daily", window=-5, taken=True)) == []


# -- several rules, one service -------------------------------------------------------------------

SCANS = ("portscan", "mail_spam")


def test_of_two_restrictions_of_a_service_the_stronger_is_in_force():
    """The weaker waits, and takes its place without a release between."""
    story = Story(assumed=True)
    (_, throttle) = story.breach(0, rule="portscan")
    (_, suspension) = story.breach(1, rule="ddos")
    assert throttle.action_id == suspension.supersedes
    story.breach(5, rule="portscan")
    (again, release) = story.tick(20)
    assert ("throttle", at(8), suspension.action_id) == (
        again.kind,
        again.decided_ms,
        again.supersedes,
    )
    assert throttle.action_id != again.action_id
    assert ("release", at(12), again.action_id) == (
        release.kind,
        release.decided_ms,
        release.supersedes,
    )


def test_a_weaker_restriction_waits_without_an_action():
    story = Story(assumed=True)
    story.breach(0, rule="ddos")
    assert kinds(story.breach(1, rule="portscan")) == ["notify"]
    assert kinds(story.tick(7)) == ["throttle"]


def test_a_restriction_that_only_waited_is_not_released():
    story = Story(assumed=True)
    story.breach(0, rule="ddos")
    story.breach(1, rule="portscan")
    story.breach(2, rule="ddos")
    assert [(a.kind, a.rule) for a in story.tick(20)] == [("release", "ddos")]


def test_a_lower_speed_is_the_stronger_one():
    policy = with_rule("mail_spam", rate_kbps=300)
    story = Story(policy, assumed=True)
    story.breach(0, rule="mail_spam")
    (_, lower) = story.breach(1, rule="portscan")
    assert (lower.kind, lower.parameters) == ("throttle", {"rate_kbps": 256})
    assert story.breach(2, rule="mail_spam") == []


def test_one_services_breach_never_touches_another():
    story = Story(assumed=True)
    story.breach(0, rule="ddos")
    story.breach(0, 4, rule="sms_daily")
    by_service = {(action.kind, action.service) for action in story.actions}
    assert {("suspend", "internet"), ("minimum_service", "sms")} <= by_service
    assert all(action.supersedes is None for action in story.actions)


# -- single acts ----------------------------------------------------------------------------------


def test_what_is_charged_is_charged_once_until_the_cause_was_gone():
    story = told(rule="roaming_volume")
    (charge,) = story.breach(4, rule="roaming_volume")
    story.result(charge, "applied", 4)
    assert story.breach(5, 11, rule="roaming_volume") == []
    assert story.tick(20) == [], "there is nothing to release"
    assert story.find(finding(20, "regular", "roaming_volume", window=11)) == []
    assert kinds(story.breach(31, rule="roaming_volume")) == ["charge"]


def test_what_can_not_be_undone_waits_for_a_person():
    story = told(rule="inactive")
    (proposal,) = story.tick(3)
    assert (proposal.kind, proposal.human_review) == ("reclaim_number", True)
    (again,) = story.decide("approve", 5, proposal)
    assert proposal.action_id == again.action_id
    assert (False, at(5), at(3)) == (again.human_review, again.effective_ms, again.decided_ms)
    assert again.evidence["decisions"][0]["reason"] == "looked at it"


@pytest.mark.parametrize("answer", ["reject", "none"])
def test_what_nobody_agreed_to_is_not_done_and_not_proposed_again(answer):
    story = told(rule="inactive")
    (proposal,) = story.tick(3)
    if answer == "reject":
        assert story.decide("reject", 5, proposal) == []
    assert story.tick(60) == []


# -- the closed loop ------------------------------------------------------------------------------


def test_an_action_without_an_answer_goes_out_again_and_then_counts_as_failed():
    story = told(policy=POLICY)
    (restriction,) = story.breach(4)
    story.tick(10)
    again = [action for action in story.actions if action.kind == "minimum_service"]
    assert [restriction] * ATTEMPTS == again
    assert (story.alerts.retried, story.alerts.unanswered) == (ATTEMPTS - 1, 1)


def test_that_an_action_came_is_no_answer():
    story = told(policy=POLICY)
    (restriction,) = story.breach(4)
    story.result(restriction, "accepted", 4.1)
    assert restriction in story.tick(5)


@pytest.mark.parametrize("status", ["applied", "delivered"])
def test_an_answered_action_does_not_go_out_again(status):
    story = told(policy=POLICY)
    (restriction,) = story.breach(4)
    story.result(restriction, status, 4.1)
    assert story.tick(10) == []


def test_a_restriction_that_failed_goes_out_again_at_its_time():
    story, restriction = restricted(policy=POLICY)
    assert story.result(restriction, "failed", 5) == []
    assert story.tick(5.5) == [restriction]


def test_a_restriction_that_comes_back_after_its_release_is_lifted_each_time():
    """By a release that enforcement has not carried out yet; counted, and not without end."""
    story, restriction = restricted()
    (release,) = story.tick(11)
    story.result(release, "applied", 11.1)
    assert story.result(restriction, "applied", 11.05) == [], "that was before"
    lifted = [release.action_id]
    for day in range(12, 11 + ATTEMPTS):
        (again,) = story.result(restriction, "applied", day)
        assert (again.kind, again.supersedes) == ("release", restriction.action_id)
        assert again.action_id not in lifted
        lifted.append(again.action_id)
        assert story.result(again, "applied", day + 0.1) == []
    assert story.result(restriction, "applied", 12 + ATTEMPTS) == []
    assert story.alerts.drift == ATTEMPTS - 1
    assert story.tick(60) == [], "everything is answered"


def test_a_restriction_that_comes_back_is_lifted_beside_what_took_its_place():
    story = Story(assumed=True)
    (_, throttle) = story.breach(0, rule="portscan")
    (_, suspension) = story.breach(1, rule="ddos")
    (again,) = story.result(throttle, "applied", 2)
    assert (again.kind, again.supersedes) == ("release", throttle.action_id)
    assert again.service == suspension.service
    assert story.result(suspension, "applied", 2.1) == [], "it is in force all the while"


def test_answers_that_fit_nothing_are_counted():
    story = told()
    story.result("a-nothing", "applied", 1)
    story.decide("approve", 1)
    story.decide("snooze", 1, rule="gateway", until=9)
    assert story.alerts.unmatched == 2
    story.tick(1.99)
    assert story.alerts.unmatched == 2, "its action may still come"
    story.tick(2)
    assert story.alerts.unmatched == 3


# -- answers that come before their action --------------------------------------------------------


def ids(rule="sms_daily", days=0):
    """Ids of the actions that a breach leads to: notices first."""
    return [action.action_id for action in Story(assumed=True).breach(days, rule=rule)]


def test_an_answer_that_comes_before_its_action_is_taken_in_when_that_is_decided():
    """After a crash results may be read before the findings: nobody waits for another answer."""
    (notice_id,) = ids()
    story = Story(with_ladder(ack_timeout_hours=1))
    assert story.result(notice_id, "accepted", 0.1) == []
    assert story.ladder.state.cases == {}, "that it was accepted says nothing"
    assert story.result(notice_id, "delivered", 0.2) == []
    (notice,) = story.breach(0)
    assert (notice.action_id, notice.decided_ms) == (notice_id, at(0))
    story.tick(0.2)
    assert case_of(story).delivered_ms == at(0.2)
    assert (story.tick(3), story.alerts.unmatched) == ([], 0)


def test_an_early_answer_holds_for_what_comes_next_as_if_it_had_come_in_time():
    for order in ("in time", "early"):
        story = Story()
        if order == "early":
            story.result(ids()[0], "delivered", 0.5)
        (notice,) = story.breach(0)
        if order == "in time":
            story.result(notice, "delivered", 0.5)
        assert story.breach(3.4) == [], "the notice period goes from the delivery"
        (restriction,) = story.breach(3.5)
        assert restriction.notice.delivered_ms == at(0.5)


def test_an_early_failure_leads_to_the_next_channel_at_its_own_time():
    story = Story()
    story.result(ids()[0], "failed", 0.5)
    story.breach(0)
    (again,) = story.tick(1)
    assert (again.kind, again.decided_ms) == ("notify", at(0.5))


def test_a_restriction_whose_answer_came_early_is_not_sent_again():
    story = Story(with_ladder(ack_timeout_hours=1))
    for known_id, status in zip(ids("ddos"), ("delivered", "applied"), strict=True):
        story.result(known_id, status, 0.01)
    assert len(story.breach(0, rule="ddos")) == 2
    assert (story.tick(1), story.alerts.retried) == ([], 0)


def test_an_answer_that_was_read_before_the_approval_finds_its_action():
    story = Story(with_rule("ddos", with_ladder(ack_timeout_hours=1), human_review=True))
    (notice, asked) = story.breach(0, rule="ddos")
    story.result(notice, "delivered", 0)
    story.result(asked, "applied", 0.11)
    (again,) = story.decide("approve", 0.1, asked)
    assert again.action_id == asked.action_id
    assert (story.tick(1), story.alerts.retried, story.alerts.unmatched) == ([], 0, 0)


def test_an_early_answer_comes_before_what_waits_for_its_moment_to_be_over():
    """As one does that comes in time."""
    over = LADDER.clear_after_days
    told = []
    for order in ("in time", "early"):
        story = Story()
        if order == "early":
            story.result(ids("ddos")[0], "delivered", over + 2)
        notice, _ = story.breach(0, rule="ddos")
        story.find(finding(over + 1, rule="ddos", closed=over + 2))
        if order == "in time":
            story.result(notice, "delivered", over + 2)
        story.tick(over + 3)
        told.append(story.actions)
    assert told[0] == told[1]
    assert kinds(told[0])[-2:] == ["release", "suspend"], "the notice of before was delivered"


def test_early_answers_survive_a_checkpoint():
    (notice_id,) = ids()
    story = Story()
    story.result(notice_id, "delivered", 0.2)
    heir = moved(story.ladder)
    assert heir.state.cases == story.ladder.state.cases != {}
    story.ladder = heir
    story.breach(0)
    story.tick(1)
    assert case_of(story).delivered_ms == at(0.2)


def test_early_answers_are_few_and_the_oldest_is_given_up():
    story = Story()
    for number in range(EARLY_MAX + 2):
        story.result(f"a-{number}", "applied", 1)
        story.result(f"a-{number}", "applied", 1)
    assert story.alerts.unmatched == 2
    story.tick(2)
    assert story.alerts.unmatched == EARLY_MAX + 2
    assert story.ladder.state.cases == {}


def test_a_dossier_from_before_findings_waited_is_read():
    packed = told().ladder.state.cases["sms 7"]
    before = b"\x96" + packed[1:-1]
    assert unpack_dossier(before) == unpack_dossier(packed)


def test_no_customer_has_actions_without_number():
    story = Story()
    story.breach(*(n / 100 for n in range(ORDERS_MAX + 9)), rule="inbound_abuse")
    assert story.alerts.unanswered == 9


# -- people ---------------------------------------------------------------------------------------


def test_a_suspension_under_review_is_not_in_force_until_a_person_agrees():
    story = Story(with_rule("ddos", human_review=True), assumed=True)
    (_, throttle) = story.breach(0, rule="portscan")
    (_, asked) = story.breach(1, rule="ddos")
    assert asked.human_review
    (again,) = story.decide("approve", 2, asked)
    assert asked.action_id == again.action_id
    assert (False, at(2)) == (again.human_review, again.effective_ms)
    assert throttle.action_id == again.supersedes


def test_a_suspension_that_a_person_refused_leaves_the_notice():
    story = Story(with_rule("ddos", human_review=True), assumed=True)
    (_, asked) = story.breach(0, rule="ddos")
    assert story.decide("reject", 1, asked) == []
    assert story.find(finding(5, "regular", "ddos", window=0)) == [], "the same question"
    assert story.tick(40) == []
    assert kinds(story.breach(41, rule="ddos")) == ["suspend"], "a later window is a new one"


def test_a_review_whose_cause_is_gone_can_not_be_agreed_to_any_more():
    policy = with_rule("ddos", with_ladder(review_days=20), human_review=True)
    story = Story(policy, assumed=True)
    (_, asked) = story.breach(0, rule="ddos")
    story.tick(7)
    assert story.decide("approve", 8, asked) == []
    assert story.alerts.unmatched == 1


def test_an_exempt_customers_restrictions_are_released_and_nothing_follows():
    story, restriction = restricted()
    (release,) = story.decide("exempt", 5, until=100)
    assert ("release", restriction.action_id) == (release.kind, release.supersedes)
    assert release.evidence["decisions"][0]["kind"] == "exempt"
    story.result(release, "applied", 5)
    assert story.breach(6, 50, 99) == []
    assert kinds(story.breach(100)) == ["notify"]


def test_causes_that_end_together_are_lifted_once():
    """One event may break two rules: the weaker restriction does not come for no time at all."""
    story = Story(assumed=True)
    story.breach(0, rule="ddos")
    story.breach(0, rule="portscan")
    (release,) = story.tick(20)
    assert (release.kind, release.rule) == ("release", "ddos")


@pytest.mark.parametrize("rules", [("ddos", "portscan"), ("portscan", "ddos")])
def test_an_exempt_customers_next_restriction_does_not_take_over(rules):
    """What is in force of a service is lifted once for all the cases that called for it."""
    story = Story(assumed=True)
    for day, rule in enumerate(rules):
        story.breach(day, rule=rule)
    suspension = next(action for action in story.actions if action.kind == "suspend")
    (release,) = story.decide("exempt", 2, until=100)
    assert ("release", suspension.action_id) == (release.kind, release.supersedes)
    assert release.evidence["decisions"][0]["kind"] == "exempt"


def test_an_exemption_from_a_rule_leaves_the_others():
    story = Story(assumed=True)
    story.decide("exempt", 0, rule="sms_daily")
    assert story.breach(1, 400) == []
    assert kinds(story.breach(401, rule="portscan")) == ["notify", "throttle"]


def test_a_snoozed_case_does_not_climb():
    story = told()
    story.decide("snooze", 1, rule="sms_daily", until=10)
    assert story.breach(4, 9) == []
    assert kinds(story.breach(10)) == ["minimum_service"]


def test_a_snoozed_suspension_is_not_proposed_as_a_termination():
    story, _ = suspended()
    story.decide("snooze", 25, rule=STORED, until=35)
    (proposal,) = story.tick(36)
    assert ("propose_termination", at(35)) == (proposal.kind, proposal.decided_ms)


def test_an_exemption_can_be_ended_early():
    story = Story()
    story.decide("exempt", 0, until=100)
    story.decide("exempt", 5, until=5)
    assert kinds(story.breach(6)) == ["notify"]


def test_an_exemption_that_is_over_when_it_comes_lifts_nothing():
    story, _ = restricted()
    assert story.decide("exempt", 5, until=3) == []


def test_a_state_that_lasts_climbs_when_its_snooze_is_over():
    story = told(rule=STORED)
    story.decide("snooze", 1, until=10)
    (restriction,) = story.tick(20)
    assert at(10) == restriction.decided_ms


# -- what an action says --------------------------------------------------------------------------


def test_only_grave_actions_wait_for_a_person():
    policy = with_rule("sms_daily", human_review=True)
    story = Story(policy, assumed=True)
    story.breach(0, 4)
    story.tick(20)
    story.breach(30)
    reviewed = [(action.kind, action.human_review) for action in story.actions]
    assert reviewed == [
        ("notify", False),
        ("minimum_service", False),
        ("release", False),
        ("suspend", True),
    ]


def test_the_minimum_service_keeps_emergency_and_free_numbers():
    _, restriction = restricted()
    assert restriction.parameters == {"incoming": "national", "outgoing": ["emergency", "free"]}


@pytest.mark.parametrize(
    ("rule", "parameters"), [("gateway", {"outgoing": ["emergency", "free"]}), ("ddos", {})]
)
def test_a_suspension_of_calls_keeps_them_too(rule, parameters):
    suspension = next(action for action in Story().breach(0, rule=rule) if action.kind == "suspend")
    assert parameters == suspension.parameters


def test_an_action_names_its_clause_its_service_and_its_proof():
    found = finding(0)
    (notice,) = Story().find(found)
    rule = POLICY.rules["sms_daily"]
    assert (rule.clause, rule.service) == (notice.clause, notice.service)
    assert ([found.finding_id], REF) == (notice.finding_ids, notice.policy)
    assert notice.evidence["window"]["start_ms"] == found.window.start_ms
    assert notice.evidence["observed"] == 351
    sentence = "We saw 351 messages sent where 350 are allowed in one day: "
    assert notice.reason.startswith(sentence)


@pytest.mark.parametrize(
    ("unit", "limit", "over", "words"),
    [
        ("ms", 21_600_000, 1, "more than 6.0 hours of calls where 6.0 are allowed"),
        ("ms", 21_600_000, 3_600_000, "saw 7.0 hours of calls where 6.0 are allowed"),
        ("bytes", 10**9, 1, "more than 1.00 GB where the limit is 1.00 GB"),
        ("bytes", 10**9, -1, "saw 1.00 GB where the limit is 1.00 GB"),
        ("bytes", -1, 10**9 + 1, "saw 1.00 GB stored"),
        ("kilobytes", 16_875_000, 1, "more than 16,875 MB within minutes"),
    ],
)
def test_a_reason_never_says_that_the_limit_itself_was_too_much(unit, limit, over, words):
    found = msgspec.structs.replace(finding(0), unit=unit, limit=limit, observed=limit + over)
    assert words in reason("notify", found)


def test_an_actions_id_follows_from_what_opened_the_episode_and_the_step():
    story, restriction = restricted()
    root = finding(0).finding_id
    (release,) = story.tick(11)
    assert action_id("notify", root, 0) == story.actions[0].action_id
    assert action_id("minimum_service", root, 1) == restriction.action_id
    assert action_id("release", root, 2) == release.action_id
    assert [finding(4).finding_id, root] == restriction.finding_ids
    (suspension,) = story.breach(30)
    assert action_id("suspend", finding(30).finding_id, 0) == suspension.action_id


# -- bounds and time ------------------------------------------------------------------------------


def test_a_finding_seen_twice_is_answered_once():
    story = told()
    assert story.breach(0) == []
    story.breach(4)
    assert story.breach(4, 0) == []


def test_a_case_remembers_a_bounded_number_of_findings():
    story = told()
    story.breach(*range(SEEN_MAX + 9))
    assert len(case_of(story).seen) == SEEN_MAX


def test_who_looks_when_makes_no_difference():
    """A tick only makes things earlier on the wall clock."""
    often, seldom = told(rule=STORED), told(rule=STORED)
    for day in range(1, 40):
        often.tick(day)
    often.find(cleared(40))
    seldom.find(cleared(40))
    assert often.actions == seldom.actions
    assert often.ladder.state.cases == seldom.ladder.state.cases


def test_what_is_decided_about_a_service_never_goes_back_in_time():
    story = Story()
    story.breach(5)
    (late,) = story.breach(1, rule="sms_monthly")
    assert at(5) == late.decided_ms


def test_each_service_has_a_clock_of_its_own():
    """What is found about them comes from topics that are read side by side."""
    story = Story()
    story.breach(5)
    (other,) = story.breach(1, rule="voice_daily")
    assert at(1) == other.decided_ms


def test_what_came_late_is_taken_in_when_it_was_found():
    """So timers that fell due meanwhile come first, whether or not a tick saw to them."""
    stories = [Story(assumed=True), Story(assumed=True)]
    over = 3.5 + LADDER.clear_after_days
    for story in stories:
        story.breach(0, 3.5)
    stories[1].tick(over + 1)
    for story in stories:
        story.find(finding(over - 1, reached=over + 1))
    assert stories[0].actions == stories[1].actions
    assert kinds(stories[0].actions) == ["notify", "minimum_service", "release"]


def test_findings_of_closed_periods_are_taken_in_in_the_order_of_their_times():
    """Whichever is heard first: several kinds of usage closed them."""
    told = [finding(1, rule="gateway", closed=3), finding(1.5, rule="deviation", closed=4)]
    stories = [Story(assumed=True), Story(assumed=True)]
    stories[0].find(*told)
    stories[1].find(*reversed(told))
    for story in stories:
        story.tick(9)
    assert stories[0].actions == stories[1].actions
    assert [at(3), at(3), at(4)] == [action.decided_ms for action in stories[0].actions][:3]


def test_a_finding_that_waits_comes_before_a_later_event_of_its_service():
    story = Story(assumed=True)
    story.find(finding(1, rule="monitoring", closed=3))
    found = story.breach(5, rule="voice_daily")
    assert [("monitoring", at(3)), ("voice_daily", at(5))] == [
        (action.rule, action.decided_ms) for action in found
    ]


def test_no_more_findings_wait_than_are_allowed():
    """The earliest wait no longer."""
    story = Story(assumed=True)
    closed = [finding(day, rule="gateway", closed=day + 1) for day in range(WAITING_MAX + 1)]
    assert story.find(*closed[:-1]) == []
    assert {at(1)} == {action.decided_ms for action in story.find(closed[-1])}
    assert len(dossier_of(story.ladder, "mobile").waiting) == WAITING_MAX


def test_what_waits_at_the_end_of_the_input_is_taken_in_at_its_own_time():
    story = Story(assumed=True)
    story.find(finding(1, rule="gateway", closed=3))
    actions = story.ladder.end(at(2))
    assert {at(3)} == {action.decided_ms for action in actions}


def test_what_is_corrected_while_it_waits_leads_to_nothing():
    story = Story(assumed=True)
    for window in (1, 2):
        story.find(finding(window, rule="data_monthly_ratio", closed=5))
    story.find(cleared(3, "data_monthly_ratio", window=1, taken=True))
    (notice,) = story.tick(9)
    assert notice.evidence["window"]["start_ms"] == at(2)


def test_findings_that_wait_move_with_their_partition():
    story = Story()
    story.find(finding(1, rule="gateway", closed=3))
    assert kinds(moved(story.ladder).tick(at(3) + 1)) == ["notify", "suspend"]


def test_what_waits_is_taken_in_once_its_time_is_over():
    """So it makes no difference whether somebody looked before the last of that time had come."""
    told = [finding(1, rule=rule, closed=3) for rule in ("machine", "gateway")]
    stories = [Story(assumed=True), Story(assumed=True)]
    for story, looks in zip(stories, (True, False), strict=True):
        story.find(told[0])
        assert not looks or story.tick(3) == []
        story.find(told[1])
        story.tick(4)
    assert stories[0].actions == stories[1].actions
    assert {at(3)} == {action.decided_ms for action in stories[0].actions[:2]}


def test_a_state_that_ends_in_the_moment_it_was_known_ends_after_it():
    story = Story(assumed=True)
    story.find(finding(1, rule="inactive", closed=3), cleared(3, "inactive", window=1))
    (notice,) = story.tick(4)
    assert (notice.kind, notice.decided_ms) == ("notify", at(3))
    dossier = dossier_of(story.ladder, "mobile")
    assert (dossier.waiting, dossier.cases["inactive"].lasts) == ([], False)


def test_a_rule_that_the_policy_no_longer_has_leaves_nothing_in_force():
    story, restriction = restricted()
    rules = {name: rule for name, rule in POLICY.rules.items() if name != "sms_daily"}
    heir = moved(story.ladder, msgspec.structs.replace(PATIENT, rules=rules))
    (release,) = heir.tick(at(5))
    assert ("release", restriction.action_id) == (release.kind, release.supersedes)
    assert heir.fold([finding(6)], [9]) == []


# -- the cases of a partition ---------------------------------------------------------------------


def moved(ladder, policy=PATIENT):
    """Another worker's partition, from rows and memory of a checkpoint."""
    heir = Ladder(0, policy, ladder.enforcement)
    for keys, values in ladder.state.changes(everything=True):
        heir.state.restore(keys, values)
    heir.state.recall(ladder.state.remember())
    return heir


def test_what_is_behind_the_fence_is_passed_over():
    story, _ = restricted()
    ladder = story.ladder
    assert ladder.state.next_offset == {FINDINGS: 2, ENFORCEMENT_RESULTS: 2}
    before = dict(ladder.state.cases)
    assert ladder.fold([finding(9)], [1]) == []
    assert before == ladder.state.cases
    story.decide("exempt", 5)
    assert ladder.state.next_offset[DECISIONS] == 1


def test_a_checkpoint_holds_what_was_touched_since_the_last_one():
    """The rows of all checkpoints together are all cases; nothing new means no row."""
    story, stored = Story(), {}
    for customer in ("7", "8", "ünlimited/2"):
        story.breach(0, customer=customer)
        for keys, values in story.ladder.state.changes():
            assert keys == [b"case/sms " + customer.encode()]
            stored.update(zip(keys, values, strict=True))
        assert list(story.ladder.state.changes()) == []
    read = Ladder(0, POLICY)
    read.state.restore(list(stored), list(stored.values()))
    assert story.ladder.state.cases == read.state.cases


def test_a_customer_without_cases_is_stored_empty_and_forgotten():
    story = told()
    heir = moved(story.ladder)
    story.tick(LADDER.memory_days)
    for keys, values in story.ladder.state.changes():
        heir.state.restore(keys, values)
    assert heir.state.cases == story.ladder.state.cases == {}


def test_timers_go_on_after_a_move():
    story = told(rule=STORED)
    assert kinds(moved(story.ladder).tick(at(3))) == ["restrict_storage"]


def test_cases_survive_a_snapshot():
    story, _ = restricted()
    loaded = Ladder(0, PATIENT)
    loaded.state.take_arrays(story.ladder.state.arrays())
    loaded.state.recall(story.ladder.state.remember())
    assert story.ladder.state.cases == loaded.state.cases
    assert story.tick(30) == loaded.tick(at(30))


def test_cases_that_a_lost_writer_spoiled_are_stored_again():
    """Those that only the lost writer had are stored empty."""
    story = told()
    list(story.ladder.state.changes())
    story.ladder.state.rewrite([b"case/sms 7", b"case/sms 8"])
    ((keys, values),) = story.ladder.state.changes()
    assert keys == [b"case/sms 7", b"case/sms 8"]
    heir = Ladder(0, POLICY)
    heir.state.restore(keys, values)
    assert story.ladder.state.cases == heir.state.cases


def test_only_who_is_due_is_looked_at():
    """A tick does not scan all cases."""
    story = Story()
    for number in range(50):
        story.breach(number, customer=str(number))
    looked_at, turn = [], story.ladder._turn
    story.ladder._turn = lambda key: looked_at.append(key) or turn(key)
    story.tick(3.5)
    assert looked_at == ["sms 0"]
