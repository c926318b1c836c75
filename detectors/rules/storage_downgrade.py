"""More stored than a smaller plan holds, after a change to it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.rules.contract import Declaration
from detectors.rules.families.gauge import CapacityGauge, Shown, exceeds
from detectors.state.columns import Field
from detectors.state.customers import NONE
from schemas.amounts import BYTES
from schemas.policy import Policy, RuleParameters
from schemas.units import Ints, Mask

ENDLESS = np.iinfo(np.int64).max
BEFORE = "storage_downgrade_before_ms"
"""When the last snapshot before the latest breach was taken."""


class StorageDowngrade(CapacityGauge):
    """Report the snapshot that shows what a smaller capacity left over, and the one that fits it.

    A capacity is smaller if the snapshot before, of the same customer, was held against a larger
    one, or against none. The breach lasts until what is stored fits the capacity that holds:
    because it was taken back, or because the capacity rose again.

    What it catches: every change to a smaller plan with more stored than that holds.
    What it misses: a change before the first snapshot, or back and forth between two; what grows
    past the capacity after it did fit, which is `storage_capacity`'s.
    Delay: a change of plan shows with the next snapshot.
    False alarms: a snapshot that states a smaller capacity by mistake is taken at its word. Of
    9,000 generated customers (62 days, seeds 1 to 3) nobody was wrongly found; no real data was at
    hand.

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

    def above(self, columns: Mapping[str, NDArray], shown: Shown) -> Mask:
        """Whether each snapshot shows what a change to a smaller capacity left over, shape (n,)."""
        over = exceeds(shown)
        shrank = over & (_size(shown.limit) < _size(self._capacity_before(columns, shown)))
        was_above = columns[self.since][shown.slot[shown.first], 0] > 0
        above = shrank.copy()
        above[shown.first] |= over[shown.first] & was_above
        # Too much stored under the same capacity, or a larger one, is what it was a row before.
        is_decided = ~over | shrank
        is_decided[shown.first] = True
        decider = np.maximum.accumulate(np.where(is_decided, np.arange(len(over)), 0))
        return above[decider]

    def evidence(self, columns: Mapping[str, NDArray], shown: Shown, at: int) -> dict[str, Any]:
        """The capacity that held for the snapshot before."""
        before = int(self._capacity_before(columns, shown)[at])
        return {"capacity_before_bytes": None if before == NONE else before}

    def rests_on_ms(self, columns: Mapping[str, NDArray], shown: Shown, at: int, rose: bool) -> int:
        """The last snapshot before the capacity shrank."""
        before_ms, slot = columns[BEFORE][:, 0], int(shown.slot[at])
        if rose:
            kept = columns[self.newest][shown.slot[shown.first], 0]
            before_ms[slot] = shown.before(shown.time_ms, kept)[at]
        return int(before_ms[slot])

    def _capacity_before(self, columns: Mapping[str, NDArray], shown: Shown) -> Ints:
        """What each snapshot's predecessor was held against; a first one's own, shape (n,)."""
        slot = shown.slot[shown.first]
        is_known = columns[self.newest][slot, 0] > 0
        kept = np.where(is_known, columns[self.capacity][slot, 0], shown.limit[shown.first])
        return shown.before(shown.limit, kept)


def _size(capacity: Ints) -> Ints:
    """Capacities that can be compared: none is more than any, shape (n,)."""
    return np.where(capacity == NONE, ENDLESS, capacity)
