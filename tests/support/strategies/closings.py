"""Histories of the rules that close periods, and the orders in which their events may come."""

from detectors.fold.partition import Partition
from schemas.records import CohortAverage
from tests.support.harness.runs import IDS_MAX, kind_of
from tests.support.reference.twins import inactive
from tests.support.reference.twins.data_monthly_ratio import MONTHS_OF_DATA
from tests.support.strategies.drawing import only
from tests.support.strategies.histories import CASES, LOW, mixed

CLOSING = set(Partition(0, LOW, IDS_MAX).state.main.closing)

CLOSING_CASES = {
    **{case: told for case, told in CASES.items() if set(told[0].rules) <= CLOSING},
    "data_monthly_ratio": (only(LOW, "data_monthly_ratio"), MONTHS_OF_DATA),
    "all": (only(LOW, *CLOSING), mixed()),
    # Every rule has the use of every kind to close its periods by.
    "all_uses": (only(LOW, *CLOSING), inactive.uses()),
}


def split(history):
    """The events, and the means that come in between."""
    events = [record for record in history if not isinstance(record, CohortAverage)]
    return events, [record for record in history if isinstance(record, CohortAverage)]


def interleaved(events, turns):
    """The same events of each kind in the same order, the kinds anyhow through one another."""
    kinds = [kind_of(event) for event in events]
    left = {kind: iter([e for e in events if kind_of(e) == kind]) for kind in kinds}
    turns.shuffle(kinds)
    return [next(left[kind]) for kind in kinds]
