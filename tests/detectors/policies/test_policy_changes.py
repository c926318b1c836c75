"""A policy that changes while events flow: what it may change, from when on, and for whom.

The promises that hold for every rule (tests/detectors/rules/test_rules.py) hold over a change too.
"""

from collections import defaultdict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.fold.partition import Partition
from detectors.rules.registry import RULES
from schemas.hashing import hash_strings
from schemas.policy import live_parameters
from schemas.records import CohortAverage
from tests.support.harness.runs import (
    IDS_MAX,
    Run,
    by_rule,
    checkpoint,
    kind_of,
    state_of,
    stretches,
    told,
)
from tests.support.strategies.closings import CLOSING, CLOSING_CASES, interleaved, split
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, MIDNIGHTS_MS
from tests.support.strategies.editions import (
    BROUGHT_ABOUT,
    alternatives,
    edition_of,
    later_policies,
)
from tests.support.strategies.histories import CASES, LOW
from tests.support.strategies.properties import PROPERTY, cuts, every_case


def times_of(history):
    """Times at which a policy may take effect: events' own, and just after."""
    times = [r.event_time_ms for r in history if not isinstance(r, CohortAverage)]
    around = [time_ms + shift for time_ms in times for shift in (0, 1, HOUR_MS, 2 * DAY_MS)]
    return st.sampled_from(around or MIDNIGHTS_MS)


@st.composite
def changes(draw, policy, history):
    """One or two policies that take effect one after the other."""
    times = draw(st.lists(times_of(history), min_size=1, max_size=2))
    return [
        edition_of(draw(later_policies(policy)), policy, time_ms, version=f"v{number}")
        for number, time_ms in enumerate(times)
    ]


def run_with(policy, editions):
    run = Run(policy)
    for edition in editions:
        run.partition.announce_policy(edition)
    return run


def moved_with(policy, editions, history, cuts):
    """A run that another partition goes on with after each part; it is told of no policy."""
    run, log = run_with(policy, editions), {}
    for start, stop in stretches(history, cuts):
        run.take(history, start, stop)
        checkpoint(run.partition, log)
        memory = run.partition.state.remember()
        run.partition = Partition(0, policy, IDS_MAX)
        run.partition.state.restore(list(log), list(log.values()))
        run.partition.state.recall(memory)
    return run


# -- promises -------------------------------------------------------------------------------------


@every_case
@PROPERTY
@given(data=st.data(), cuts=cuts)
def test_neither_batches_nor_moves_change_what_is_found_over_a_change(case, data, cuts):
    """One batch or many, one partition or one that moves on: the same to the last byte."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    editions = data.draw(changes(policy, history))

    whole = run_with(policy, editions).take(history)

    for other in (
        run_with(policy, editions).in_parts(history, cuts),
        run_with(policy, editions).in_parts(history, range(len(history))),
        moved_with(policy, editions, history, cuts),
    ):
        assert by_rule(whole.findings) == by_rule(other.findings)
        assert state_of(whole.partition) == state_of(other.partition)


@pytest.mark.parametrize("case", CLOSING_CASES)
@PROPERTY
@given(data=st.data(), turns=st.randoms(use_true_random=False))
def test_the_order_of_kinds_changes_nothing_over_a_change(case, data, turns):
    """One by one in two orders, and kind after kind."""
    policy, histories = CLOSING_CASES[case]
    events, means = split(data.draw(histories))
    editions = data.draw(changes(policy, events))

    expected = told(run_with(policy, editions).in_parts(events, range(len(events))), means)

    mixed_up = interleaved(events, turns)
    again = run_with(policy, editions).in_parts(mixed_up, range(len(events)))
    assert expected == told(again, means)
    assert expected == told(run_with(policy, editions).take(events), means)


@every_case
@PROPERTY
@given(data=st.data())
def test_a_saved_partition_goes_on_under_the_policy_it_had(case, data):
    """What a snapshot holds is enough, whatever the topic has lost since."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    editions = data.draw(changes(policy, history))
    where = data.draw(st.integers(0, len(history)))
    run = run_with(policy, editions).take(history, 0, where)
    checkpoint(run.partition, {})
    back = Partition(0, policy, IDS_MAX)
    back.state.take_arrays({name: a.copy() for name, a in run.partition.state.arrays().items()})
    back.state.recall(run.partition.state.remember())
    run.partition = back
    run.take(history, where)

    whole = run_with(policy, editions).take(history)

    assert by_rule(whole.findings) == by_rule(run.findings)
    assert state_of(whole.partition) == state_of(run.partition)


@every_case
@PROPERTY
@given(data=st.data())
def test_a_version_that_changes_nothing_is_named_from_its_time_on(case, data):
    """The same findings, each under the version that holds at the watermark, or at the closing."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    time_ms = data.draw(times_of(history))
    plain = Run(policy).take(history)
    run = run_with(policy, [edition_of(policy, policy, time_ms)]).take(history)

    assert by_rule(map(without_policy, plain.findings)) == by_rule(
        map(without_policy, run.findings)
    )
    assert sorted(map(repr, plain.partials)) == sorted(map(repr, run.partials))
    for finding in run.findings:
        if finding.rule not in CLOSING:
            crossed = finding.evidence["inputs"][0]["last_offset"]
            is_later = watermark_at(history, crossed) >= time_ms
            assert finding.policy.version == ("next" if is_later else policy.version)


def without_policy(finding):
    return msgspec.structs.replace(finding, policy=None, finding_id="")


def watermark_at(history, offset):
    """Highest event time of an event's kind up to it."""
    kind = kind_of(history[offset])
    past = [r for r in history[: offset + 1] if not isinstance(r, CohortAverage)]
    return max(event.event_time_ms for event in past if kind_of(event) == kind)


# -- trials ---------------------------------------------------------------------------------------


@every_case
@PROPERTY
@given(data=st.data(), cuts=cuts)
def test_a_shadow_policy_finds_what_it_would_find_for_everybody_and_disturbs_nothing(
    case, data, cuts
):
    """The others' findings and all that is kept are as without it; its own are all shadows."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    time_ms = data.draw(times_of(history))
    later = data.draw(later_policies(policy))
    trial = edition_of(later, policy, time_ms, share_percent=0)
    plain = Run(policy).take(history)
    changed = run_with(policy, [edition_of(later, policy, time_ms)]).take(history)

    for run in (
        run_with(policy, [trial]).take(history),
        run_with(policy, [trial]).in_parts(history, cuts),
        run_with(policy, [trial]).in_parts(history, range(len(history))),
    ):
        main, shadows = [], []
        for finding in run.findings:
            (shadows if finding.policy.version == "next" else main).append(finding)
        assert by_rule(plain.findings) == by_rule(main)
        expected = [f for f in changed.findings if f.policy.version == "next"]
        assert by_rule(expected) == by_rule(map(acted_on, shadows))
        assert all(finding.shadow for finding in shadows)
        assert sorted(map(repr, plain.partials)) == sorted(map(repr, run.partials))
        assert state_of(plain.partition) == state_of(run.partition)


def acted_on(finding):
    """A finding, were it no shadow."""
    return msgspec.structs.replace(finding, shadow=False)


@every_case
@PROPERTY
@given(data=st.data(), share=st.integers(1, 99))
def test_of_two_policies_one_is_acted_on_for_each_customer(case, data, share):
    """The trial's for its share of customers, the others' for the rest; before its time, theirs."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    time_ms = data.draw(times_of(history))
    trial = edition_of(policy, policy, time_ms, share_percent=share)
    run = run_with(policy, [trial]).take(history)
    whole = run_with(policy, [edition_of(policy, policy, time_ms)]).take(history)

    acting, shadows = split_by(run.findings, lambda finding: finding.shadow)
    for finding in run.findings:
        is_tried = int(hash_strings([finding.customer_id])[0]) % 100 < share
        if finding.policy.version == "next":
            assert finding.shadow != is_tried
    assert sorted(map(repr, map(without_policy, whole.findings))) == sorted(
        map(repr, map(without_policy, acting))
    )
    after = [f for f in whole.findings if f.policy.version == "next"]
    assert len(shadows) == len(after)


def split_by(findings, predicate):
    parts = defaultdict(list)
    for finding in findings:
        parts[predicate(finding)].append(finding)
    return parts[False], parts[True]


# -- what may change ------------------------------------------------------------------------------


def test_what_may_change_live_shapes_nothing():
    """No allowed value gives another layout of the state."""
    live = {name for rule in RULES.values() for name in live_parameters(rule.Parameters)}
    tried = alternatives(LOW)
    for (rule, field), values in tried.items():
        fields = RULES[rule](LOW.rules[rule], LOW).fields
        for value in values:
            table = msgspec.to_builtins(LOW.rules[rule]) | {field: value}
            parameters = msgspec.convert(table, RULES[rule].Parameters)
            assert RULES[rule](parameters, LOW).fields == fields
    assert {field for _, field in tried} >= live - BROUGHT_ABOUT
