"""Methods of the rules about who uses a card: estimates, bins, cohorts over partitions."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.fold.cohort_means import CohortMeans
from detectors.kernels import sameness
from detectors.kernels.bit_maps import ELEMENTS_MAX, distinct, words_of
from detectors.kernels.log_bins import LogBins
from detectors.kernels.spread import deviation, median
from detectors.policies.editions import load_policy
from detectors.rules.families.cohort_spread import FEATURES, spread_of, sum_of
from schemas.events import Data, Sms, Voice
from schemas.hashing import hash_strings
from schemas.records import CohortAverage, Customer
from tests.support.harness.runs import Run, found
from tests.support.reference.twins.deviation import middle_one
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, only, with_parameters
from tests.support.strategies.histories import numbered

MONDAY_MS = 1_777_845_600_000
"""2026-05-04, 00:00 in Brussels."""


# -- kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 10, 50, 100, ELEMENTS_MAX])
def test_distinct_counts_have_a_standard_error_below_a_tenth(count):
    """Measured over 400 sets of numbers; a repeated number changes nothing."""
    errors = []
    for case in range(400):
        numbers = [f"{case}/{n}" for n in range(count)] * 2
        low, high = words_of(hash_strings(numbers))
        words = (np.bitwise_or.reduce(word)[None] for word in (low, high))
        errors.append((int(distinct(*words)[0]) - count) / count)
    assert np.sqrt(np.mean(np.square(errors))) < 0.1
    assert abs(np.mean(errors)) < 0.05


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from("abc")), max_size=9)
)
def test_sameness_tells_none_from_one_and_from_several(rows):
    """Order and batches make no difference."""
    expected = {}
    for slot, place, element in rows:
        expected.setdefault((slot, place), set()).add(element)
    cells = np.zeros((3, 2), np.uint16)
    for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        slot, place = (np.array([row[n] for row in part], np.int64) for n in (0, 1))
        marks = sameness.marks(hash_strings([row[2] for row in part]))
        sameness.note(cells, slot, place, marks)
    sizes = {cell: min(2, int(cells[cell])) for cell in np.ndindex(3, 2)}
    wanted = {0: sameness.NOTHING, 1: 2, 2: sameness.SEVERAL, 3: sameness.SEVERAL}
    assert sizes == {cell: wanted[len(expected.get(cell, ()))] for cell in np.ndindex(3, 2)}


@given(st.integers(0, 2**54), st.sampled_from((4, 8)))
def test_a_log_bin_is_the_rounded_down_logarithm(value, parts):
    """It is exact, in integers; the bin's middle lies in it, at most half a bin away."""
    bins = LogBins(parts)
    (number,) = bins.of(np.array([value])).tolist()
    assert ((value + 1) ** parts).bit_length() - 1 == number
    middle = bins.middle(number)
    assert [number] == bins.of(np.array([middle])).tolist()
    assert abs(middle - value) <= (2 ** (1 / parts) - 1) / 2 * (value + 1) + 1


@given(st.lists(st.integers(-5, 9), min_size=1, max_size=12))
def test_median_and_deviation_are_those_of_the_sorted_values(values):
    """Of two values in the middle the lower one counts."""
    counts = {value: values.count(value) for value in values}
    middle = middle_one(values)
    assert (middle, middle_one([abs(value - middle) for value in values])) == (
        median(counts),
        deviation(counts, middle),
    )


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.sampled_from(FEATURES))
def test_a_cohorts_median_is_right_within_half_a_bin(values, feature):
    """Half a per cent of shares; of events and seconds just their eighth of a doubling."""
    if feature.endswith("share"):
        values = [value % 1001 for value in values]
    average = averaged([sum_of("mobile", feature, np.array(values))])
    middle = middle_one(values)
    if feature.endswith("share"):
        assert abs(spread_of(feature, average).median - middle) <= 5
    else:
        assert ((middle + 1) ** 8).bit_length() - 1 == spread_of(feature, average).median
    assert (len(values), sum(values)) == (average.customers, average.total)


def averaged(sums):
    """The mean made of one partition's sum."""
    return CohortAverage(
        rule="deviation",
        cohort=sums[0].cohort,
        period_start_ms=MONDAY_MS,
        period_end_ms=MONDAY_MS + 7 * DAY_MS,
        total=sums[0].total,
        customers=sums[0].customers,
        histogram=sums[0].histogram,
    )


# -- deviation ------------------------------------------------------------------------------------


def crowd(first, last):
    """Customers with one text for each, two, three and so on, in the first week."""
    texts = [
        (Sms, MONDAY_MS + k * HOUR_MS, {"customer_id": f"k{n}", "recipient": "r"})
        for n in range(first, last)
        for k in range(n % 7 + 1)
    ]
    return sorted(texts, key=lambda text: text[1])


def runs_of_two_partitions(policy):
    """A crowd in two partitions, and in the second one somebody with 200 texts."""
    heavy = [
        (Sms, MONDAY_MS + k * HOUR_MS // 2, {"customer_id": "heavy", "recipient": "r"})
        for k in range(200)
    ]
    ends = [(kind, MONDAY_MS + 20 * DAY_MS, more) for kind, more in ENDS]
    histories = [crowd(0, 14), crowd(14, 28) + heavy]
    runs = [Run(policy).take(numbered([*history, *ends])) for history in histories]
    for number, run in enumerate(runs):
        run.partition.number = number
    return runs


ENDS = (
    (Sms, {"recipient": "r"}),
    (Data, {"bytes_uplink": 0, "bytes_downlink": 0}),
    (Voice, {"other_party": "o", "duration_ms": 0}),
)
LOW_COHORT = with_parameters(
    only(load_policy(), "deviation"), deviation={"cohort_min": 20, "eighths_deviation_min": 1}
)


def frozen(runs):
    averages = CohortMeans()
    for number, run in enumerate(runs):
        for partial in run.partials:
            averages.add(type(partial)(**{**as_dict(partial), "partition": number}))
    return averages.complete(len(runs))


def as_dict(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def test_the_median_is_that_of_all_partitions_and_the_order_of_features_is_nothing():
    """One finding, the same for every order in which the five come, and none before the last."""
    expected = None
    first_week = [a for a in frozen(runs_of_two_partitions(LOW_COHORT)) if a.customers]
    assert len(first_week) == len(FEATURES)
    assert [29] * len(FEATURES) == [average.customers for average in first_week]
    for order in permutations(first_week):
        second = runs_of_two_partitions(LOW_COHORT)[1]
        for average in order[:-1]:
            assert second.partition.take_mean(average) == []
        (finding,) = second.partition.take_mean(order[-1])
        assert second.partition.take_mean(order[-1]) == []
        frequency = finding.evidence["features"]["frequency"]
        # 201 is in eighth 61 of doublings; the others' 2 to 8 are in 8, 12, 16, 18, 20, 22, 24.
        assert (frequency["value"], frequency["median"], frequency["deviation"]) == (200, 18, 4)
        assert finding.observed == (61 - 18) * 10**7 // (14_826 * 4)
        assert expected in (None, found(finding))
        expected = found(finding)


# -- candidates -----------------------------------------------------------------------------------


def test_with_too_many_candidates_the_oldest_day_is_scored_without_the_other_kinds():
    """Calls wait for texts to close the day, unless there are more than `candidates_max`."""
    low = {"calls_min": 1, "score_min": 500, "candidates_max": 3, "lateness_hours": 0}
    policy = with_parameters(only(load_policy(), "gateway"), gateway=low)
    calls = [
        (
            Voice,
            MONDAY_MS + day * DAY_MS + n,
            {"other_party": f"o{n}", "duration_ms": 0},
        )
        for day in range(6)
        for n in range(3)
    ]
    run = Run(policy).take(numbered(calls))
    days = [(finding.window.start_ms - MONDAY_MS) // DAY_MS for finding in run.findings]
    assert days == [0, 1]
    assert [
        (finding.window.start_ms - MONDAY_MS) // DAY_MS for finding in run.end().findings[2:]
    ] == [2, 3, 4]


def test_professional_contracts_are_not_scored_unless_the_policy_says_all():
    """A call centre with a professional contract is no gateway."""
    low = {"calls_min": 1, "score_min": 500}
    calls = [
        (Voice, MONDAY_MS + day * DAY_MS, {"other_party": "o", "duration_ms": 0})
        for day in range(2)
    ]
    for applies_to, count in (("consumer", 0), ("all", 1)):
        policy = only(load_policy(), "gateway")
        policy = with_parameters(policy, gateway=low | {"applies_to": applies_to})
        run = Run(policy)
        run.partition.announce([Customer(customer_id="c0", plan="b", segment="professional")])
        assert count == len(run.take(numbered(calls)).end().findings)
