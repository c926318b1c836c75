"""Every rule is compared with its slow twin, and keeps the promises made for all rules.

A failing example is printed with its blob: `@reproduce_failure(...)` on the test plays it again.
"""

from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.fold.cohort_means import CohortMeans
from detectors.fold.partition import Partition
from detectors.rules.registry import RULES
from schemas.records import CohortAverage
from tests.support.harness.runs import (
    IDS_MAX,
    ORIGIN,
    Run,
    by_rule,
    checkpoint,
    columns_of,
    found,
    kind_of,
    moved,
    run_of,
    state_of,
    stretches,
)
from tests.support.reference import naive
from tests.support.reference.twins.data_monthly_ratio import MONTHS_OF_DATA, PeriodSums
from tests.support.strategies.drawing import ANNOUNCED, EVENTS_MAX, only
from tests.support.strategies.histories import CASES, EDGES, LOW
from tests.support.strategies.properties import HABIT, PROPERTY, TWIN, cuts, every_case


def at_once(findings):
    """Ids of the findings that came with events, by kind of event, in the ladder's order."""
    ordered = defaultdict(list)
    for finding in findings:
        if not finding.closed_period and len(RULES[finding.rule].reads) == 1:
            ordered[RULES[finding.rule].reads[0]].append(finding.finding_id)
    return ordered


def rule_of(partial):
    """The rule of a partial sum."""
    return partial.rule


# -- twins ----------------------------------------------------------------------------------------


@every_case
@TWIN
@given(data=st.data())
def test_the_fold_finds_what_its_twin_finds(case, data):
    """No more, no less, and each at the event that crossed the limit."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    twin = naive.Twin(policy, ANNOUNCED)
    twin.take(history)
    twin.end()

    run = Run(policy).take(history).end()

    assert Counter(twin.found) == Counter(map(found, run.findings))
    assert (twin.too_late, twin.duplicates) == (sorted(run.too_late), run.duplicates)


@PROPERTY
@given(
    histories=st.lists(MONTHS_OF_DATA, min_size=2, max_size=3),
    turns=st.randoms(use_true_random=False),
)
def test_every_partition_uses_the_mean_over_all_partitions(histories, turns):
    """Each closes its months by its own watermark; the mean is there when the last one has."""
    policy = only(LOW, "data_monthly_ratio")
    runs = [Run(policy) for _ in histories]
    for number, run in enumerate(runs):
        run.partition.number = number
    twins = [naive.Twin(policy, ANNOUNCED) for _ in histories]
    averages = CohortMeans()
    queue = [(n, row) for n, history in enumerate(histories) for row in range(len(history))]
    turns.shuffle(queue)
    queue.sort(key=lambda turn: turn[1])

    def catch_up(partials):
        for partial in partials:
            averages.add(partial)
        for average in averages.complete(len(runs)):
            averages.freeze(average)
            shares = [s for t in twins for s in t.rules["data"][0].shares]
            month = [s for s in shares if s.start_ms == average.period_start_ms]
            expected = (sum(s.total for s in month), sum(s.customers for s in month))
            assert expected == (average.total, average.customers)
            for run, twin in zip(runs, twins, strict=True):
                twin.found += twin.rules["data"][0].take_mean(average)
                run.findings += run.partition.take_mean(average)

    for number, row in queue:
        twins[number].feed(row, histories[number][row])
        before = len(runs[number].partials)
        runs[number].take(histories[number], row, row + 1)
        catch_up(runs[number].partials[before:])
    last_ms = max(run.partition.newest_ms for run in runs)
    for run, twin in zip(runs, twins, strict=True) if queue else ():
        (ratio,) = twin.rules["data"]
        ratio.close(ratio.months.of(last_ms) - 1)
        run.partials += (partials := run.partition.end(last_ms).partials)
        catch_up(partials)

    for run, twin in zip(runs, twins, strict=True):
        shares = [
            PeriodSums(partial.period_start_ms, each.total, each.customers)
            for partial in run.partials
            for each in partial.sums
        ]
        assert twin.rules["data"][0].shares == shares
        assert Counter(twin.found) == Counter(map(found, run.findings))


@pytest.mark.parametrize("edge", EDGES)
def test_edge_cases_keep_every_promise(edge):
    """Random examples hit them too seldom: each once led, or could lead, to a wrong answer."""
    policy, history = EDGES[edge]
    twin = naive.Twin(policy, ANNOUNCED)
    twin.take(history)
    whole = Run(policy).take(history)
    assert Counter(twin.found) == Counter(map(found, whole.findings))
    assert (twin.too_late, twin.duplicates) == (sorted(whole.too_late), whole.duplicates)
    assert twin.found, "an edge that nothing is found at shows nothing"

    every = range(len(history))
    few = every if len(history) < 20 else (len(history) // 2, len(history) - 1)
    pairs = combinations(every, 2) if len(history) < 8 else ()
    for places in ([], *([cut] for cut in few), *pairs, few):
        for run in (Run(policy).in_parts(history, places), moved(policy, history, places)):
            assert by_rule(whole.findings) == by_rule(run.findings)
            assert state_of(whole.partition) == state_of(run.partition)


# -- promises -------------------------------------------------------------------------------------


@every_case
@PROPERTY
@given(data=st.data(), cuts=cuts)
def test_where_batches_end_changes_neither_findings_nor_state(case, data, cuts):
    """One batch or many: the same findings in the same order, byte by byte, and the same rows."""
    policy, histories = CASES[case]
    history = data.draw(histories)

    whole, parts = Run(policy).take(history), Run(policy).in_parts(history, cuts)
    single = Run(policy).in_parts(history, range(len(history)))

    for other in (parts, single):
        assert by_rule(whole.findings) == by_rule(other.findings)
        assert at_once(whole.findings) == at_once(other.findings)
        # Kinds come in any order: partial sums are compared rule by rule.
        assert sorted(whole.partials, key=rule_of) == sorted(other.partials, key=rule_of)
        assert (sorted(whole.too_late), whole.duplicates) == (
            sorted(other.too_late),
            other.duplicates,
        )
        assert state_of(whole.partition) == state_of(other.partition)


@every_case
@PROPERTY
@given(data=st.data(), cuts=cuts)
def test_state_is_the_same_after_it_was_stored_and_restored(case, data, cuts):
    """A partition that moves at every checkpoint finds what one that stays finds."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    run = moved(policy, history, cuts)
    whole = Run(policy).take(history)

    assert by_rule(whole.findings) == by_rule(run.findings)
    assert state_of(whole.partition) == state_of(run.partition)


@every_case
@PROPERTY
@given(data=st.data(), cuts=cuts, where=st.integers(0, EVENTS_MAX))
def test_a_standby_that_followed_every_checkpoint_takes_over(case, data, cuts, where):
    """Later rows replace earlier ones; the last checkpoint's memory completes the state."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    where = min(where, len(history))
    run, standby = Run(policy), Partition(0, policy, IDS_MAX)
    for start, stop in stretches(history[:where], cuts):
        run.take(history, start, stop)
        log = {}
        checkpoint(run.partition, log)
        standby.state.restore(list(log), list(log.values()))
    if where:
        standby.state.recall(run.partition.state.remember())
        run.partition = standby
    run.take(history, where)

    whole = Run(policy).take(history)

    assert by_rule(whole.findings) == by_rule(run.findings)
    assert state_of(whole.partition) == state_of(run.partition)


@every_case
@PROPERTY
@given(data=st.data(), places=st.tuples(*[st.integers(0, EVENTS_MAX)] * 2), saved=st.booleans())
def test_a_partition_that_comes_back_takes_over_what_another_worker_wrote(
    case, data, places, saved
):
    """Kept in memory or in a snapshot, it has its old state; later rows replace its own."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    first, second = sorted(min(place, len(history)) for place in places)
    run, log = Run(policy).take(history, 0, first), {}
    checkpoint(run.partition, log)
    memory, back = run.partition.state.remember(), run.partition
    if saved:
        back = Partition(0, policy, IDS_MAX)
        back.state.take_arrays({name: a.copy() for name, a in run.partition.state.arrays().items()})
        back.state.recall(memory)
    back.state.set_aside()
    other, later = run_of(policy, log, memory).take(history, first, second), {}
    checkpoint(other.partition, later)
    back.state.restore(list(later), list(later.values()))
    back.state.recall(other.partition.state.remember())
    last = Run(policy)
    last.partition = back
    last.take(history, second)

    whole = Run(policy).take(history)

    assert by_rule(whole.findings) == by_rule(run.findings + other.findings + last.findings)
    assert state_of(whole.partition) == state_of(last.partition)


@every_case
@PROPERTY
@given(data=st.data(), places=st.tuples(*[st.integers(0, EVENTS_MAX)] * 3))
def test_rows_of_a_lost_writer_are_replaced(case, data, places):
    """A writer dies after it wrote rows without their marker; they leave no trace."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    first, second, lost = sorted(min(place, len(history)) for place in places)
    run, log = Run(policy).take(history, 0, first), {}
    checkpoint(run.partition, log)
    memory = run.partition.state.remember()
    stray = {}
    checkpoint(Run.take(run_of(policy, log, memory), history, first, lost).partition, stray)

    heir = run_of(policy, log, memory)
    heir.partition.state.rewrite(list(stray))
    heir.take(history, first, second)
    log |= stray
    checkpoint(heir.partition, log)
    last = run_of(policy, log, heir.partition.state.remember()).take(history, second)

    whole = Run(policy).take(history)
    findings = run.findings + heir.findings + last.findings
    assert by_rule(whole.findings) == by_rule(findings)


@every_case
@HABIT
@given(data=st.data())
def test_input_columns_are_untouched(case, data):
    """Several partitions or policies may be given the same columns."""
    policy, histories = CASES[case]
    history = [r for r in data.draw(histories) if not isinstance(r, CohortAverage)]
    run = Run(policy)
    for columns in columns_of(history, range(len(history))):
        arrays = [columns.record, columns.offset, columns.event_hash, columns.time_ms]
        arrays += columns.fields.values()
        for array in arrays:
            array.flags.writeable = False
        before = [array.copy() for array in arrays], [*columns.customer_id]

        run.partition.fold(columns, ORIGIN)

        after = arrays, [*columns.customer_id]
        assert before[1:] == after[1:]
        assert all((one == other).all() for one, other in zip(before[0], after[0], strict=True))


@every_case
@HABIT
@given(data=st.data())
def test_an_empty_batch_changes_nothing(case, data):
    """All records of a fetch may have been sorted out."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    run = Run(policy).take(history)
    before = state_of(run.partition)
    none = np.zeros(0, np.int64)
    events = [record for record in history if not isinstance(record, CohortAverage)]
    for columns in columns_of(events, range(len(events))):
        outcome = run.partition.fold(columns.take(none), ORIGIN)
        assert (
            outcome.counted,
            outcome.findings,
            outcome.partials,
            outcome.too_late,
        ) == (0, [], [], [])
    assert before == state_of(run.partition)


@every_case
@HABIT
@given(data=st.data(), again=st.integers(0, EVENTS_MAX))
def test_records_that_come_again_below_the_next_offset_add_nothing(case, data, again):
    """Records that come again after a crash are recognised by their offsets."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    history = [record for record in history if not isinstance(record, CohortAverage)]
    run = Run(policy).take(history)
    before, found_before = state_of(run.partition), len(run.findings)

    for columns in columns_of(history[:again], range(len(history[:again]))):
        outcome = run.partition.fold(columns, ORIGIN)
        assert len(columns) == outcome.redelivered
        assert (
            outcome.counted,
            outcome.duplicates,
            outcome.too_late,
            outcome.partials,
        ) == (0, 0, [], [])
    assert found_before == len(run.findings)
    assert before == state_of(run.partition)


@every_case
@PROPERTY
@given(data=st.data())
def test_findings_come_in_the_order_of_their_rows_and_once(case, data):
    """For each rule; each id comes once, and the evidence ends with the event that crossed."""
    policy, histories = CASES[case]
    history = data.draw(histories)
    history = [record for record in history if not isinstance(record, CohortAverage)]
    findings = Run(policy).take(history).findings

    assert by_rule(findings) == by_rule(Run(policy).take(history).findings)
    assert len(findings) == len({finding.finding_id for finding in findings})
    closing = set(Partition(0, policy, IDS_MAX).state.main.closing)
    for rule in set(policy.rules) - closing:
        own = [finding for finding in findings if finding.rule == rule]
        last = [finding.evidence["inputs"][0]["last_offset"] for finding in own]
        for finding, offset in zip(own, last, strict=True):
            assert finding.event_time_ms == history[offset].event_time_ms
            assert finding.customer_id == history[offset].customer_id
        for kind in RULES[rule].reads:
            of_kind = [offset for offset in last if kind_of(history[offset]) == kind]
            assert sorted(of_kind) == of_kind
