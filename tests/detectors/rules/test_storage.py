"""Storage rules while plans change, and the mean of a day."""

from itertools import count

import pytest

from detectors.fold.partition import Partition
from detectors.fold.provenance import Origin
from detectors.ladder.assumed_enforcement import AssumedEnforcement
from detectors.ladder.ladder import Ladder
from detectors.policies.editions import load_policy
from schemas.events import Storage
from schemas.records import CohortAverage, CohortSum, Customer
from tests.support.harness.runs import columns_of
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, MIDNIGHTS_MS, only, with_parameters

NOON_MS = MIDNIGHTS_MS[1] + 12 * HOUR_MS
ORIGIN = Origin("usage.storage", 0)


class Told:
    """A partition with one rule that takes customers and storage snapshots in turn."""

    def __init__(self, rule, **parameters):
        self.policy = only(with_parameters(load_policy(), **{rule: parameters}), rule)
        self.partition = Partition(0, self.policy, 1 << 10)
        self.events = 0
        self.partials = []

    def customer(self, customer_id, **more):
        record = Customer(customer_id=customer_id, **({"plan": "cloud"} | more))
        self.partition.announce([record])

    def snapshots(self, *seen):
        """Findings of snapshots by customer, days after a noon, and quantities."""
        events = [
            Storage(
                event_id=f"e-{self.events + number}",
                customer_id=customer_id,
                event_time_ms=NOON_MS + round(days * DAY_MS),
                **quantities,
            )
            for number, (customer_id, days, quantities) in enumerate(seen)
        ]
        numbers = range(self.events, self.events + len(events))
        self.events += len(events)
        (columns,) = columns_of(events, numbers)
        outcome = self.partition.fold(columns, ORIGIN)
        self.partials += outcome.partials
        return outcome.findings

    def used(self, customer_id, days, amount):
        """Level and window start of what one snapshot of used bytes leads to."""
        findings = self.snapshots((customer_id, days, {"used_bytes": amount}))
        return [(found.level, found.window.start_ms) for found in findings]


# -- storage_downgrade ----------------------------------------------------------------------------


def test_a_change_to_a_smaller_plan_shows_with_the_next_snapshot_and_ends_with_a_larger_one():
    told = Told("storage_downgrade")
    told.customer("ida", storage_capacity_bytes=64)
    assert told.used("ida", 0, 50) == []
    told.customer("ida", storage_capacity_bytes=32)
    assert told.used("ida", 1, 50) == [("breach", NOON_MS + DAY_MS)]
    told.customer("ida", storage_capacity_bytes=40)
    assert told.used("ida", 2, 50) == [], "it still does not fit"
    told.customer("ida", storage_capacity_bytes=50)
    assert told.used("ida", 3, 50) == [("cleared", NOON_MS + DAY_MS)]


def test_a_change_from_an_unlimited_plan_is_a_downgrade_and_says_so():
    told = Told("storage_downgrade")
    told.customer("ida")
    told.used("ida", 0, 50)
    told.customer("ida", storage_capacity_bytes=32)
    (found,) = told.snapshots(("ida", 1, {"used_bytes": 50}))
    assert found.evidence["capacity_before_bytes"] is None
    assert (found.observed, found.limit) == (50, 32)


# -- storage_ended --------------------------------------------------------------------------------


def test_a_contracts_end_that_comes_late_is_reported_once_with_the_next_closed_day():
    told = Told("storage_ended")
    told.customer("eva")
    assert told.used("eva", 0, 9) == []
    end_ms = NOON_MS - 100 * DAY_MS
    for _ in range(2):
        told.customer("eva", contract_state="ended", valid_from_ms=end_ms)
    assert told.used("ben", 0.1, 1) == [], "the day is not over"
    assert told.used("ben", 1, 1) == [("breach", end_ms)]
    told.customer("eva", contract_state="ended", valid_from_ms=end_ms)
    assert told.used("ben", 2, 1) == []


def test_a_contract_that_goes_on_is_not_reported_until_its_next_end():
    told = Told("storage_ended")
    first_ms, second_ms = NOON_MS - 31 * DAY_MS, NOON_MS - 20 * DAY_MS
    told.customer("eva", contract_state="ended", valid_from_ms=first_ms)
    told.used("eva", 0, 9)
    told.customer("eva", valid_from_ms=first_ms)
    assert told.used("ben", 1, 1) == []
    told.customer("eva", contract_state="ended", valid_from_ms=second_ms)
    assert told.used("ben", 2, 1) == []
    assert told.used("ben", 11, 1) == [("breach", second_ms)]


def test_what_is_stored_after_a_contracts_end_is_deleted_only_if_a_person_agrees():
    """Asked when the notice period is over; a second end clears the first, and is asked about.

    All by the end of the day on which the time to fetch it was over.
    """
    told, offset = Told("storage_ended"), count()
    ladder, actions = Ladder(0, told.policy, AssumedEnforcement()), []
    told.used("eva", -40, 9)
    for days in (-31, 5):
        end_ms = NOON_MS + days * DAY_MS
        told.customer("eva", contract_state="ended", valid_from_ms=end_ms)
        for found in told.snapshots(("ben", days + 31, {"used_bytes": 1})):
            actions += ladder.fold([found], [next(offset)])
    actions += ladder.tick(NOON_MS + 36 * DAY_MS)
    assert [(action.kind, action.human_review, action.decided_ms) for action in actions] == [
        ("notify", False, NOON_MS - 12 * HOUR_MS),
        ("delete_storage", True, NOON_MS + 2 * DAY_MS + 12 * HOUR_MS),
        ("delete_storage", True, NOON_MS + 35 * DAY_MS + 12 * HOUR_MS),
    ]


@pytest.mark.parametrize("change", ["emptied", "taken up again"])
def test_the_end_of_a_state_is_reported_once(change):
    """An empty snapshot clears with its day, a new contract with the instant it begins."""
    told = Told("storage_ended")
    told.customer("eva", contract_state="ended", valid_from_ms=NOON_MS - 31 * DAY_MS)
    told.used("eva", -40, 9)
    (breach,) = told.snapshots(("ben", 0, {"used_bytes": 1}))
    if change == "emptied":
        told.used("eva", 0, 0)
        cleared_ms = MIDNIGHTS_MS[1] + DAY_MS
    else:
        cleared_ms = NOON_MS + HOUR_MS
        told.customer("eva", valid_from_ms=cleared_ms)
    (cleared,) = told.snapshots(("ben", 1, {"used_bytes": 1}))
    assert (breach.level, cleared.level) == ("breach", "cleared")
    assert cleared.window.start_ms == breach.window.start_ms
    assert cleared.event_time_ms == cleared.window.end_ms == cleared_ms
    assert told.snapshots(("ben", 2, {"used_bytes": 1})) == []


# -- storage_flood --------------------------------------------------------------------------------


def flooded(told, day, cohort, total, customers):
    """Who flooded on a day, once its mean is known."""
    average = CohortAverage(
        rule="storage_flood",
        cohort=cohort,
        period_start_ms=MIDNIGHTS_MS[1] + day * DAY_MS,
        period_end_ms=MIDNIGHTS_MS[1] + (day + 1) * DAY_MS,
        total=total,
        customers=customers,
    )
    findings = told.partition.take_mean(average)
    return [(found.customer_id, found.observed, found.limit) for found in findings]


def test_a_mean_is_over_everybody_under_contract_and_of_strangers_over_those_who_wrote():
    told = Told("storage_flood")
    told.customer("writes")
    told.customer("idle", valid_from_ms=NOON_MS)
    told.customer("comes tomorrow", valid_from_ms=MIDNIGHTS_MS[1] + DAY_MS)
    told.customer("leaves today", contract_state="ended", valid_from_ms=NOON_MS)
    told.customer("left yesterday", contract_state="ended", valid_from_ms=MIDNIGHTS_MS[1])
    told.customer("of another cohort", cohort="office")
    told.snapshots(
        ("writes", 0, {"written_bytes": 5}),
        ("writes", 0.1, {"written_bytes": 6}),
        ("left yesterday", 0, {"written_bytes": 100}),
        ("of another cohort", 0, {"written_bytes": 7}),
        ("a stranger", 0, {"written_bytes": 8}),
        ("another stranger", 0, {"used_bytes": 8}),
        ("writes", 4, {"written_bytes": 1}),
    )
    (share,) = [each for each in told.partials if each.period_start_ms == MIDNIGHTS_MS[1]]
    expected = [
        CohortSum(cohort="cloud", total=11, customers=3),
        CohortSum(cohort="office", total=7, customers=1),
        CohortSum(cohort="unknown", total=8, customers=1),
    ]
    assert expected == share.sums


def test_a_flood_is_ten_times_the_mean_or_more_but_never_less_than_the_floor():
    told = Told("storage_flood", at_least_bytes=900)
    for customer_id in ("exactly", "below", "under the floor"):
        told.customer(customer_id)
    told.snapshots(
        ("exactly", 0, {"written_bytes": 1_000}),
        ("below", 0, {"written_bytes": 999}),
        ("under the floor", 1, {"written_bytes": 899}),
        ("exactly", 1, {"written_bytes": 900}),
        ("below", 9, {"written_bytes": 1}),
    )
    assert flooded(told, 0, "cloud", 10_000, 100) == [("exactly", 1_000, 1_000)]
    assert flooded(told, 0, "cloud", 10_000, 100) == [], "the same mean again"
    assert flooded(told, 1, "cloud", 100, 100) == [("exactly", 900, 900)]


def test_past_the_bound_those_who_wrote_least_are_forgotten():
    told = Told("storage_flood", at_least_bytes=1, candidates_max=2)
    for amount in (70, 90, 80):
        told.customer(str(amount))
        told.snapshots((str(amount), 0, {"written_bytes": amount}))
    told.snapshots(("90", 4, {"written_bytes": 1}))
    assert flooded(told, 0, "cloud", 100, 100) == [("90", 90, 10), ("80", 80, 10)]


def test_a_mean_over_too_few_judges_nobody():
    told = Told("storage_flood", at_least_bytes=1)
    told.customer("ida")
    told.snapshots(("ida", 0, {"written_bytes": 90}), ("ida", 4, {"written_bytes": 1}))
    assert flooded(told, 0, "cloud", 99, 99) == []
