"""The ladder, step by step and over any sequence of findings; and the cases that survive a move."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from detectors.identity import action_id, finding_id
from detectors.ladder import SEEN_MAX, Case, decide
from detectors.policies import load_policy
from detectors.verdicts import FINDINGS, Verdicts
from schemas.records import Finding, PolicyRef, Window

POLICY = load_policy()
REF = PolicyRef(name=POLICY.name, version=POLICY.version)
DAY_MS = 86_400_000
NOTICE_MS = POLICY.ladder.notice_days * DAY_MS
MEMORY_MS = POLICY.ladder.memory_days * DAY_MS
START_MS = 1_800_000_000_000
HARD = {"throttle", "minimum_service", "restrict_storage", "suspend"}
UNITS = {"voice_daily": "ms", "data_monthly_ratio": "bytes", "storage_capacity": "bytes"}


def at(days):
    """An instant so many days into the story."""
    return START_MS + round(days * DAY_MS)


def finding(days, level="breach", rule="sms_daily", *, window=None, customer_id="7", shadow=False):
    """A finding of the event at `days`; its window starts at `window` days, or with the event."""
    start_ms = at(days if window is None else window)
    kind = "state" if rule == "storage_capacity" else "day"
    span = Window(kind=kind, start_ms=start_ms, end_ms=start_ms + DAY_MS)
    return Finding(
        finding_id=finding_id(rule, customer_id, span, level, REF),
        rule=rule,
        customer_id=customer_id,
        event_time_ms=at(days),
        level=level,
        window=span,
        observed=351,
        limit=350,
        unit=UNITS.get(rule, "messages"),
        policy=REF,
        shadow=shadow,
        evidence={"observed": 351} | ({"corrects": "e-1"} if kind == "day" else {}),
    )


def answers(*findings, policy=POLICY):
    """What one case's findings lead to, action by action."""
    case, actions = Case(), []
    for each in findings:
        case, decided = decide(case, each, policy)
        actions += decided
    return actions


def kinds(*findings, **more):
    return [action.kind for action in answers(*findings, **more)]


def with_ladder(**changed):
    ladder = msgspec.structs.replace(POLICY.ladder, **changed)
    return msgspec.structs.replace(POLICY, ladder=ladder)


# -- step by step ---------------------------------------------------------------------------------


def test_a_first_breach_leads_to_a_notice():
    (notice,) = answers(finding(0))
    assert ("notify", at(0), at(0)) == (notice.kind, notice.decided_ms, notice.effective_ms)
    assert not notice.notice.required
    assert notice.supersedes is None


def test_a_breach_in_a_later_window_restricts_when_the_notice_period_is_over():
    notice, restriction = answers(finding(0), finding(1))
    assert restriction.kind == "minimum_service"
    assert notice.decided_ms + NOTICE_MS == restriction.effective_ms
    assert restriction.notice.required
    assert restriction.notice.waived_because is None


def test_a_breach_after_the_notice_period_restricts_at_the_breach():
    _, restriction = answers(finding(0), finding(5))
    assert at(5) == restriction.effective_ms


def test_regular_use_restricts_in_the_very_window_of_the_notice():
    first, regular = finding(0, rule="voice_daily"), finding(0, "regular", "voice_daily")
    _, restriction = answers(first, regular)
    assert ("minimum_service", at(0) + NOTICE_MS) == (restriction.kind, restriction.effective_ms)


def test_regular_use_without_a_breach_before_it_is_announced_first():
    assert kinds(finding(0, "regular", "voice_daily")) == ["notify"]


def test_the_window_of_the_notice_leads_to_nothing_more():
    assert kinds(finding(0), finding(0.5, window=0, rule="sms_daily")) == ["notify"]


def test_a_breach_that_comes_late_about_an_earlier_window_leads_to_nothing_more():
    assert kinds(finding(3), finding(2)) == ["notify"]


def test_a_breach_once_the_restriction_is_in_effect_suspends():
    _, restriction, suspension = answers(finding(0), finding(1), finding(4))
    assert ("suspend", at(4)) == (suspension.kind, suspension.effective_ms)
    assert restriction.action_id == suspension.supersedes


def test_a_breach_before_the_restriction_is_in_effect_does_not_suspend():
    assert kinds(finding(0), finding(1), finding(2)) == ["notify", "minimum_service"]


def test_regular_use_in_the_window_that_restricted_does_not_suspend():
    """A day's breach and its "regular" are one thing that happened, not two."""
    days = [finding(day, rule="voice_daily") for day in (0, 4)]
    regular = finding(4, "regular", "voice_daily")
    assert kinds(*days, regular) == ["notify", "minimum_service"]


def test_a_suspension_is_the_last_step():
    assert kinds(*map(finding, (0, 1, 4, 5, 6))) == ["notify", "minimum_service", "suspend"]


def test_a_portscan_is_announced_and_slowed_down_at_once():
    notice, throttle = answers(finding(0, rule="portscan"))
    assert (notice.kind, throttle.kind) == ("notify", "throttle")
    assert at(0) == throttle.effective_ms
    assert throttle.notice.waived_because == "urgency"
    assert throttle.parameters == {"rate_kbps": 256}


def test_a_scan_that_is_found_again_suspends_only_after_the_notice_period():
    scans = [finding(days, rule="portscan") for days in (0, 1, 2.9, 3)]
    *_, suspension = answers(*scans)
    assert ("suspend", at(3)) == (suspension.kind, suspension.effective_ms)
    assert len(answers(*scans)) == 3


def test_a_breach_that_a_correction_took_back_is_withdrawn():
    days = [finding(0), finding(1), finding(1.5, "cleared", window=1)]
    _, restriction, withdrawal = answers(*days)
    assert ("withdraw", at(1.5)) == (withdrawal.kind, withdrawal.effective_ms)
    assert restriction.action_id == withdrawal.supersedes
    assert not withdrawal.notice.required


def test_after_a_withdrawal_the_ladder_begins_anew():
    days = [finding(0), finding(0.5, "cleared", window=0), finding(1)]
    assert kinds(*days) == ["notify", "withdraw", "notify"]


def test_what_comes_from_another_network_is_reported_each_time_and_nothing_else():
    scans = [finding(days, rule="inbound_abuse") for days in (0, 5, 9)]
    assert kinds(*scans) == ["report_upstream"] * 3
    assert not any(action.notice.required for action in answers(*scans))


def test_storage_that_falls_back_is_released():
    rise, fall = finding(0, rule="storage_capacity"), finding(2, "cleared", "storage_capacity")
    _, release = answers(rise, fall)
    assert ("release", at(2)) == (release.kind, release.effective_ms)
    assert not release.notice.required
    assert kinds(rise, fall, finding(3, rule="storage_capacity")) == ["notify", "release", "notify"]


def test_a_release_undoes_what_is_in_force():
    urgent = msgspec.structs.replace(POLICY.rules["storage_capacity"], at_once=True)
    policy = msgspec.structs.replace(POLICY, rules={**POLICY.rules, "storage_capacity": urgent})
    rise, fall = finding(0, rule="storage_capacity"), finding(2, "cleared", "storage_capacity")
    _, restriction, release = answers(rise, fall, policy=policy)
    assert restriction.action_id == release.supersedes


def test_what_was_never_announced_is_not_released():
    assert kinds(finding(0, "cleared", "storage_capacity")) == []


def test_storage_that_falls_back_after_a_long_time_is_released_too():
    """A gauge stays above without a word: no finding comes in between, and nothing is forgotten."""
    rise = finding(0, rule="storage_capacity")
    fall = finding(POLICY.ladder.memory_days + 1, "cleared", "storage_capacity")
    assert kinds(rise, fall) == ["notify", "release"]


def test_an_early_warning_leads_to_nothing():
    early, breach = (finding(0, level, "data_monthly_ratio") for level in ("early", "breach"))
    assert kinds(early) == []
    assert kinds(early, breach) == ["notify"]


def test_a_shadow_policys_finding_leads_to_nothing():
    assert kinds(finding(0, shadow=True)) == []


def test_a_finding_seen_twice_is_answered_once():
    assert kinds(*map(finding, (0, 1, 0, 1))) == ["notify", "minimum_service"]


def test_a_case_remembers_a_bounded_number_of_findings():
    case = Case()
    for day in range(SEEN_MAX + 9):
        case, _ = decide(case, finding(day), POLICY)
    assert len(case.seen) == SEEN_MAX


def test_after_memory_days_the_ladder_begins_anew():
    """Counted from the last step, to the millisecond."""
    days = POLICY.ladder.memory_days
    assert kinds(finding(0), finding(days)) == ["notify", "minimum_service"]
    assert kinds(finding(0), finding(days + 1 / 86_400)) == ["notify", "notify"]


def test_memory_days_count_from_the_last_step_of_the_ladder():
    whole_ladder = ["notify", "minimum_service", "suspend"]
    assert kinds(*map(finding, (0, 1, 80, 169))) == whole_ladder
    assert kinds(*map(finding, (0, 1, 80, 171))) == [*whole_ladder, "notify"]


def test_a_notice_period_of_no_days_restricts_at_the_second_breach():
    policy = with_ladder(notice_days=0)
    _, restriction = answers(finding(0), finding(1), policy=policy)
    assert at(1) == restriction.effective_ms


def test_only_grave_actions_wait_for_a_person():
    careful = msgspec.structs.replace(POLICY.rules["sms_daily"], human_review=True)
    policy = msgspec.structs.replace(POLICY, rules={**POLICY.rules, "sms_daily": careful})
    actions = answers(*map(finding, (0, 1, 4)), policy=policy)
    assert [action.human_review for action in actions] == [False, False, True]


def test_the_minimum_service_keeps_emergency_and_free_numbers():
    _, restriction = answers(finding(0), finding(1))
    assert restriction.parameters == {"incoming": "national", "outgoing": ["emergency", "free"]}


def test_an_action_names_its_clause_its_service_and_its_proof():
    found = finding(0)
    (notice,) = answers(found)
    rule = POLICY.rules["sms_daily"]
    assert (rule.clause, rule.service) == (notice.clause, notice.service)
    assert ([found.finding_id], REF) == (notice.finding_ids, notice.policy)
    assert notice.evidence["window"]["start_ms"] == found.window.start_ms
    assert notice.evidence["observed"] == 351
    sentence = "We saw 351 messages sent where 350 are allowed in one day: "
    assert notice.reason.startswith(sentence)


# -- whatever is found ----------------------------------------------------------------------------

LEVELS = ("breach", "breach", "breach", "regular", "early", "cleared")
DAYS = st.floats(0, 200, allow_nan=False).map(lambda days: round(days * 4) / 4)


@st.composite
def stories(draw, rules=tuple(POLICY.rules), customers=("7",)):
    """Findings in any order: mostly as time goes, some late, some about windows gone by."""
    days = draw(st.lists(DAYS, max_size=24))
    if draw(st.booleans()):
        days.sort()
    return [
        finding(
            day,
            draw(st.sampled_from(LEVELS)),
            draw(st.sampled_from(rules)),
            window=day - draw(st.sampled_from((0, 0, 0, 1, 2))),
            customer_id=draw(st.sampled_from(customers)),
        )
        for day in days
    ]


CLIMBED = tuple(
    name for name, rule in POLICY.rules.items() if rule.restriction != "report_upstream"
)
"""Rules about what the customer did; what was done to them is only reported."""


@st.composite
def story_of_one_rule(draw):
    rule = draw(st.sampled_from(CLIMBED))
    return draw(stories(rules=(rule,)))


@given(story_of_one_rule())
def test_nothing_hard_takes_effect_before_the_notice_period_is_over(story):
    """Except what is urgent, and that only once with each notice."""
    notice = urgent = None
    for action in answers(*story):
        rule = POLICY.rules[action.rule]
        if action.kind == "notify":
            notice, urgent = action, rule.at_once
        elif action.kind in HARD:
            assert notice is not None
            if urgent and action.kind == rule.restriction:
                assert action.notice.waived_because
                urgent = False
            else:
                assert action.effective_ms >= notice.decided_ms + NOTICE_MS
                assert action.notice.waived_because is None


UNDONE = ("release", "withdraw")


@given(story_of_one_rule())
def test_the_ladder_is_climbed_one_step_at_a_time(story):
    """Notice, restriction, suspension, in this order; a release or a new notice begins anew.

    Where the rule's restriction is to suspend, that is the last step.
    """
    suspends = any(POLICY.rules[finding.rule].restriction == "suspend" for finding in story)
    steps = {"notify": 0, "suspend": 1 if suspends else 2}
    climbed = [steps.get(kind, 1) for kind in kinds(*story) if kind not in UNDONE]
    assert all(after == before + 1 or after == 0 for before, after in pairwise(climbed))
    assert climbed[:1] in ([], [0])


@given(story_of_one_rule())
def test_the_same_findings_give_the_same_actions_and_ids(story):
    actions = answers(*story)
    assert actions == answers(*story)
    assert len(actions) == len({action.action_id for action in actions})
    for action in actions:
        (proof,) = action.finding_ids
        assert action_id(action.kind, proof) == action.action_id


@given(story_of_one_rule(), st.randoms(use_true_random=False))
def test_findings_that_come_again_change_nothing(story, chance):
    """At least once is enough: right after, or long after, in any place."""
    again = list(story)
    for each in story:
        again.insert(chance.randint(again.index(each) + 1, len(again)), each)
    assert answers(*story) == answers(*again)


@given(story_of_one_rule())
def test_what_is_superseded_is_what_was_in_force(story):
    in_force = None
    for action in answers(*story):
        if action.kind == "notify":
            assert action.supersedes is None
        else:
            assert in_force == action.supersedes
            in_force = None if action.kind in UNDONE else action.action_id


@given(story_of_one_rule())
def test_every_action_has_a_sentence_to_read_out(story):
    for action in answers(*story):
        assert action.reason.startswith("We ")
        assert action.reason.endswith(".")
        assert "\n" not in action.reason


# -- the cases of a partition ---------------------------------------------------------------------


def fold(verdicts, story, first=0):
    return verdicts.fold(story, range(first, first + len(story)))


def cases_of(verdicts):
    """Every case; a customer without one is as good as unknown."""
    return {customer_id: cases for customer_id, cases in verdicts.cases.items() if cases}


@given(stories(customers=("7", "ünlimited/2")))
def test_each_customer_and_rule_has_a_case_of_its_own(story):
    actions = fold(Verdicts(0, POLICY), story)
    apart = {(each.customer_id, each.rule) for each in story}
    expected = [
        action
        for customer_id, rule in sorted(apart)
        for action in answers(*(f for f in story if (f.customer_id, f.rule) == (customer_id, rule)))
    ]
    assert expected == sorted(actions, key=lambda action: (action.customer_id, action.rule))


@given(stories(customers=("7", "ünlimited/2")), st.integers(0, 24), st.booleans())
def test_cases_survive_a_move_to_another_worker(story, cut, everything):
    """Rows and memory of a checkpoint are all that the next worker needs."""
    stays, leaves, heir = (Verdicts(0, POLICY) for _ in range(3))
    expected = fold(stays, story)
    actions = fold(leaves, story[:cut])
    for keys, values in leaves.changes(everything):
        heir.restore(keys, values)
    heir.recall(leaves.remember())
    actions += fold(heir, story[cut:], len(story[:cut]))
    assert expected == actions
    assert (cases_of(stays), stays.next_offset) == (cases_of(heir), heir.next_offset)


@given(stories(customers=("7", "8", "9")), st.integers(0, 24))
def test_a_checkpoint_holds_what_was_touched_since_the_last_one(story, cut):
    """The rows of both checkpoints together are all cases; nothing new means no row."""
    verdicts, stored = Verdicts(0, POLICY), {}
    for part, first in ((story[:cut], 0), (story[cut:], len(story[:cut]))):
        fold(verdicts, part, first)
        for keys, values in verdicts.changes():
            stored.update(zip(keys, values, strict=True))
        assert list(verdicts.changes()) == []
    read = Verdicts(0, POLICY)
    read.restore(list(stored), list(stored.values()))
    assert cases_of(verdicts) == cases_of(read)


@given(stories(), st.integers(0, 24))
def test_findings_behind_the_fence_are_passed_over(story, again):
    verdicts = Verdicts(0, POLICY)
    fold(verdicts, story)
    cases, offsets = dict(verdicts.cases), dict(verdicts.next_offset)
    assert fold(verdicts, story[:again]) == []
    assert (cases, offsets) == (verdicts.cases, verdicts.next_offset)


def test_a_rule_that_the_policy_no_longer_has_is_passed_over():
    rules = {name: rule for name, rule in POLICY.rules.items() if name != "sms_daily"}
    verdicts = Verdicts(0, msgspec.structs.replace(POLICY, rules=rules))
    assert fold(verdicts, [finding(0)]) == []
    assert verdicts.next_offset == {FINDINGS: 1}


@given(stories(customers=("7", "ünlimited/2")))
def test_cases_survive_a_snapshot(story):
    verdicts, loaded = Verdicts(0, POLICY), Verdicts(0, POLICY)
    fold(verdicts, story)
    loaded.take_arrays(verdicts.arrays())
    loaded.recall(verdicts.remember())
    assert (verdicts.cases, verdicts.next_offset) == (loaded.cases, loaded.next_offset)


def test_cases_that_a_lost_writer_spoiled_are_stored_again():
    """Those that only the lost writer had are stored empty."""
    verdicts = Verdicts(0, POLICY)
    fold(verdicts, [finding(0)])
    list(verdicts.changes())
    verdicts.rewrite([b"case/7", b"case/8"])
    ((keys, values),) = verdicts.changes()
    assert keys == [b"case/7", b"case/8"]
    assert msgspec.msgpack.decode(values[1]) == {}
