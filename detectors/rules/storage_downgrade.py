"""More stored than the plan's capacity, after a change to a smaller plan."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.rules.contract import Declaration
from detectors.rules.families.gauge import CapacityGauge, Readings, exceeds
from detectors.state.columns import Field
from detectors.state.customers import NONE
from schemas.amounts import BYTES
from schemas.policy import Policy, RuleParameters
from schemas.units import Ints, Mask

ENDLESS = np.iinfo(np.int64).max
BEFORE = "storage_downgrade_before_ms"
"""Column: when the last snapshot before the latest breach was taken."""


class StorageDowngrade(CapacityGauge):
    """Report the snapshot above a capacity that became smaller, and the one that fits again.

    A capacity became smaller if a larger one, or none, held for the customer's snapshot before. The
    breach lasts until what is stored fits the capacity: because the customer deleted something, or
    because the capacity rose again.

    What it catches: every change to a smaller plan with more stored than that plan's capacity.
    What it misses: a change before the first snapshot, or back and forth between two snapshots;
    what first fits and later grows past the capacity, which `storage_capacity` reports.
    Delay: a change of plan shows with the next snapshot.
    False alarms: a snapshot that states a smaller capacity by mistake is believed. Of 9,000
    generated customers (62 days, seeds 1 to 3) nobody was wrongly found; no real data was at hand.

    References
    ----------
    Clause proximus-cloud 14.
    """

    name: ClassVar[str] = "storage_downgrade"
    declaration: ClassVar[Declaration] = Declaration(
        section="Storage",
        services=("storage",),
        units=(BYTES,),
        what="bytes stored after a change to a smaller plan, newest snapshot",
        limit="the new capacity",
        misses="a change before the first snapshot, or back and forth between two",
    )

    def __init__(self, parameters: RuleParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.fields = (*self.fields, Field(BEFORE, "<i8"))

    def above(self, columns: Mapping[str, NDArray], readings: Readings) -> Mask:
        """Whether each snapshot is above a capacity that became smaller, shape (n,)."""
        over = exceeds(readings)
        shrank = over & (_size(readings.limit) < _size(self._capacity_before(columns, readings)))
        was_above = columns[self.since][readings.slot[readings.first], 0] > 0
        above = shrank.copy()
        above[readings.first] |= over[readings.first] & was_above
        # A snapshot that exceeds a capacity which did not shrink is what the one before it was.
        is_decided = ~over | shrank
        is_decided[readings.first] = True
        decider = np.maximum.accumulate(np.where(is_decided, np.arange(len(over)), 0))
        return above[decider]

    def evidence(
        self, columns: Mapping[str, NDArray], readings: Readings, at: int
    ) -> dict[str, Any]:
        """The capacity that held for the snapshot before."""
        before = int(self._capacity_before(columns, readings)[at])
        return {"capacity_before_bytes": None if before == NONE else before}

    def rests_on_ms(
        self, columns: Mapping[str, NDArray], readings: Readings, at: int, rose: bool
    ) -> int:
        """Time of the last snapshot before the capacity became smaller."""
        before_ms, slot = columns[BEFORE][:, 0], int(readings.slot[at])
        if rose:
            kept = columns[self.newest][readings.slot[readings.first], 0]
            before_ms[slot] = readings.before(readings.time_ms, kept)[at]
        return int(before_ms[slot])

    def _capacity_before(self, columns: Mapping[str, NDArray], readings: Readings) -> Ints:
        """The capacity that held for the snapshot before each; a first one's own, shape (n,)."""
        slot = readings.slot[readings.first]
        is_known = columns[self.newest][slot, 0] > 0
        kept = np.where(is_known, columns[self.capacity][slot, 0], readings.limit[readings.first])
        return readings.before(readings.limit, kept)


def _size(capacity: Ints) -> Ints:
    """Capacities as numbers to compare: no capacity is above every other, shape (n,)."""
    return np.where(capacity == NONE, ENDLESS, capacity)
