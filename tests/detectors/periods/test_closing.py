"""Closed periods: the order in which kinds of event come, one relative to another, says nothing.

Each kind is a topic of its own, so a live worker and a replay see them in different orders.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.fold.findings import MEANS_MS
from detectors.fold.partition import Partition
from schemas.events import Sms
from tests.support.harness.runs import IDS_MAX, Run, checkpoint, told
from tests.support.reference.twins import inactive
from tests.support.strategies.closings import CLOSING, CLOSING_CASES, interleaved, split
from tests.support.strategies.drawing import DAY_MS, MIDNIGHTS_MS, only
from tests.support.strategies.histories import LOW
from tests.support.strategies.properties import PROPERTY

JUDGED_ONCE = [
    case
    for case, (policy, _) in CLOSING_CASES.items()
    if set(policy.rules) <= {"deviation", "usage_double", "storage_flood"}
]
"""Rules that look at a period only once its mean is there."""


def handed_out(means):
    """One mean of a cohort's period, oldest periods first: so `CohortMeans.complete` has them."""
    each = {(mean.cohort, mean.period_start_ms): mean for mean in means}
    return sorted(each.values(), key=lambda mean: mean.period_start_ms)


@pytest.mark.parametrize("rule", sorted(CLOSING))
def test_every_rule_that_closes_periods_has_a_case_of_its_own(rule):
    own = [case for case, (policy, _) in CLOSING_CASES.items() if {rule} == set(policy.rules)]
    assert own, f"add a case to tests/support/reference/twins/{rule}.py"


@pytest.mark.parametrize("case", CLOSING_CASES)
@PROPERTY
@given(data=st.data(), turns=st.randoms(use_true_random=False))
def test_the_order_of_kinds_changes_nothing_of_what_is_found(case, data, turns):
    """One by one in two orders, and kind after kind: the same ids, evidence and shares."""
    policy, histories = CLOSING_CASES[case]
    events, means = split(data.draw(histories))

    expected = told(Run(policy).in_parts(events, range(len(events))), means)

    mixed_up = interleaved(events, turns)
    assert expected == told(Run(policy).in_parts(mixed_up, range(len(events))), means)
    assert expected == told(Run(policy).take(events), means)


@pytest.mark.parametrize("case", CLOSING_CASES)
@PROPERTY
@given(data=st.data())
def test_a_finding_is_known_with_the_watermark_that_closed_its_period(case, data):
    """So time may go on to a watermark once everything up to it was folded."""
    policy, histories = CLOSING_CASES[case]
    events, means = split(data.draw(histories))
    run = Run(policy)
    partition = run.partition
    for mean in data.draw(st.sampled_from(([], handed_out(means)))):
        assert partition.take_mean(mean) == []
    for number, event in enumerate(events):
        before_ms = {name: reached(partition, name) for name in partition.state.rules}
        seen = len(run.findings)
        run.fold([event], [number])
        for finding in run.findings[seen:]:
            if finding.closed_period:
                wait_ms = MEANS_MS if finding.rule in partition.state.main.cohort else 0
                after_ms = reached(partition, finding.rule)
                assert before_ms[finding.rule] < finding.known_ms - wait_ms <= after_ms


def reached(partition, rule):
    """The watermark that all of a rule's kinds have passed."""
    return partition.state.progress.lowest_ms(partition.state.rules[rule].reads)


@pytest.mark.parametrize("case", JUDGED_ONCE)
@PROPERTY
@given(data=st.data())
def test_a_mean_that_is_known_before_its_period_is_closed_changes_nothing(case, data):
    """A partition that goes back to a checkpoint has heard of it; and it may move meanwhile."""
    policy, histories = CLOSING_CASES[case]
    events, means = split(data.draw(histories))
    means = handed_out(means)
    known, moves = (data.draw(st.integers(0, len(events))) for _ in range(2))

    run = Run(policy).in_parts(events[:known], range(known))
    for mean in means:
        run.findings += run.partition.take_mean(mean)
    log = {}
    for start, stop in pairwise(sorted({known, max(known, moves), len(events)})):
        checkpoint(run.partition, log)
        memory = run.partition.state.remember()
        run.partition = Partition(0, policy, IDS_MAX)
        run.partition.state.restore(list(log), list(log.values()))
        run.partition.state.recall(memory)
        run.take(events, start, stop)

    assert told(Run(policy).take(events), means) == told(run, means)


def test_kinds_that_never_come_hold_a_day_back_until_the_clock_closes_it():
    """Nobody knows whether they are late, until they have been silent for long."""
    run = Run(only(LOW, "inactive"))
    for number, days in enumerate((0, 60)):
        at_ms = MIDNIGHTS_MS[0] + days * DAY_MS
        event = Sms(
            event_id=f"e-{number}", customer_id="ab"[number], event_time_ms=at_ms, recipient="r"
        )
        run.fold([event], [number])
    assert run.findings == []

    now_ms = MIDNIGHTS_MS[0] + 61 * DAY_MS
    silent = set(inactive.Twin.reads)
    found = run.partition.close_idle(silent - {"sms"}, now_ms).findings

    # 29 March is used; the month from the 30th on ends with 29 April.
    starts = {finding.customer_id: finding.window.start_ms for finding in found}
    assert MIDNIGHTS_MS[1] == starts["a"]
    assert "b" not in starts
    assert run.partition.close_idle(silent - {"sms"}, now_ms).findings == []
    assert run.end().findings == []
