"""Means over all partitions: when those of a period are all there, and who waits for them."""

import pytest

import streams.worker.cohort_feed
from detectors.fold.cohort_means import CohortMeans
from detectors.fold.findings import MEANS_MS
from detectors.fold.partition import Partition
from detectors.policies.editions import load_policy
from schemas.events import Data
from schemas.records import CohortPartial, CohortSum
from streams.worker.cohort_feed import WAIT_SECONDS, CohortFeed
from tests.support.harness.runs import IDS_MAX, Run
from tests.support.strategies.drawing import only
from tests.support.strategies.editions import edition_of
from tests.support.strategies.histories import EDGES

RULE = "data_monthly_ratio"
POLICY = only(load_policy(), RULE)
APRIL_MS, MAY_MS, JUNE_MS = 1_774_994_400_000, 1_777_586_400_000, 1_780_264_800_000
LATENESS_MS = POLICY.rules[RULE].lateness_hours * 3_600_000


def partial(partition, *cohorts, start_ms=APRIL_MS, end_ms=MAY_MS):
    """What a partition with one customer in each of these cohorts hands out for a month."""
    return CohortPartial(
        rule=RULE,
        period_start_ms=start_ms,
        period_end_ms=end_ms,
        partition=partition,
        sums=[CohortSum(cohort=cohort, total=1, customers=1) for cohort in cohorts],
    )


def is_complete(averages):
    return averages.is_complete(RULE, APRIL_MS, 2)


def test_a_period_is_settled_with_the_mean_of_its_last_cohort():
    averages = CohortMeans()
    averages.add(partial(0, "gold"))
    assert not is_complete(averages)
    averages.add(partial(1, "gold", "silver"))
    gold, silver = averages.complete(2)
    averages.freeze(silver)
    assert not is_complete(averages)
    averages.freeze(gold)
    assert is_complete(averages)
    assert averages.complete(2) == []


def test_a_mean_that_was_lost_on_its_way_is_handed_out_again():
    averages = CohortMeans()
    for number in range(2):
        averages.add(partial(number, "gold", "silver"))
    gold, silver = averages.complete(2)
    averages.freeze(gold)
    averages.add(partial(1, "gold", "silver"))
    assert averages.complete(2) == [silver]


def test_the_means_of_older_periods_are_handed_out_first():
    """What makes a breach regular lists the breaches before it."""
    averages = CohortMeans()
    for number in range(2):
        averages.add(partial(number, "gold", start_ms=MAY_MS, end_ms=JUNE_MS))
        averages.add(partial(number, "gold", "silver"))
    starts_ms = [average.period_start_ms for average in averages.complete(2)]
    assert starts_ms == [APRIL_MS, APRIL_MS, MAY_MS]


def test_a_period_in_which_nobody_has_a_plan_is_settled_when_all_said_so():
    averages = CohortMeans()
    averages.add(partial(0))
    assert not is_complete(averages)
    averages.add(partial(1))
    assert is_complete(averages)


def test_what_compaction_left_of_a_period_is_enough():
    averages, heir = CohortMeans(), CohortMeans()
    for number in range(2):
        averages.add(partial(number, "gold"))
    heir.freeze(*averages.complete(2))
    heir.add(partial(1, "gold"))
    assert is_complete(heir)


def test_an_early_warning_is_known_when_the_month_of_the_mean_is_closed_whatever_runs_beside():
    """Not when its own month is; findings come in the same order, alone and beside a trial."""
    edge = "a mean before its month is closed, then late bytes of that month"
    policy, history = EDGES[f"{RULE}: {edge}"]
    trial = edition_of(policy, policy, history[1].event_time_ms, share_percent=0)
    runs = [Run(policy) for _ in range(4)]
    for run in runs[2:]:
        run.partition.announce_policy(trial)
    for number, run in enumerate(runs):
        run.in_parts(history, range(len(history)) if number % 2 else [])
        early, breach = [finding for finding in run.findings if not finding.shadow]
        assert (early.level, early.window.start_ms) == ("early", MAY_MS)
        assert early.event_time_ms == MAY_MS + LATENESS_MS
        assert early.known_ms == MAY_MS + LATENESS_MS + MEANS_MS
        assert (breach.level, breach.window.start_ms) == ("breach", APRIL_MS)
        assert breach.known_ms == history[3].event_time_ms


@pytest.fixture
def cohorts():
    """Of a worker in a cluster of two partitions."""
    made = CohortFeed("", None, None, None)
    made.partitions = 2
    return made


def at(time_ms):
    """A partition whose data began once March was closed, and has come so far."""
    run = Run(POLICY)
    for number, used_ms in enumerate((APRIL_MS + LATENESS_MS, time_ms)):
        head = {"event_id": f"e-{number}", "customer_id": "c", "event_time_ms": used_ms}
        run.fold([Data(**head, bytes_uplink=0, bytes_downlink=0)], [number])
    return run.partition


COUNTS_MS = MAY_MS + LATENESS_MS + MEANS_MS
"""When the means of April count."""


def test_time_waits_where_the_means_of_a_closed_period_count(cohorts):
    for reached_ms in (COUNTS_MS, COUNTS_MS + 7 * MEANS_MS):
        assert cohorts.known_to_ms(at(reached_ms), reached_ms) == COUNTS_MS
    for number in range(2):
        cohorts.averages.add(partial(number, "gold"))
    cohorts.averages.freeze(*cohorts.averages.complete(2))
    assert cohorts.known_to_ms(at(reached_ms), reached_ms) == reached_ms


def test_time_does_not_wait_for_ever(cohorts, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(streams.worker.cohort_feed, "monotonic", lambda: now[0])
    assert cohorts.known_to_ms(at(COUNTS_MS + 1), COUNTS_MS + 1) == COUNTS_MS
    now[0] += WAIT_SECONDS - 1
    assert cohorts.known_to_ms(at(COUNTS_MS + 2), COUNTS_MS + 2) == COUNTS_MS
    now[0] += 1
    assert cohorts.known_to_ms(at(COUNTS_MS + 3), COUNTS_MS + 3) == COUNTS_MS + 3


def test_time_waits_for_no_mean_before_it_counts_or_anything_came(cohorts):
    reached_ms = COUNTS_MS - 1
    assert cohorts.known_to_ms(at(reached_ms), reached_ms) == reached_ms
    assert cohorts.known_to_ms(Partition(0, POLICY, IDS_MAX), 0) == 0


def test_time_waits_for_no_mean_of_a_time_before_the_input_began(cohorts):
    run = Run(POLICY)
    head = {"event_id": "e", "customer_id": "c", "event_time_ms": COUNTS_MS}
    run.fold([Data(**head, bytes_uplink=0, bytes_downlink=0)], [0])
    assert cohorts.known_to_ms(run.partition, COUNTS_MS + 1) == COUNTS_MS + 1
