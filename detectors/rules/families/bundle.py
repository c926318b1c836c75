"""What the rules about bundles share: more bytes in a calendar month than the plan includes."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from detectors.periods.calendar import PeriodUnit
from detectors.rules.contract import NEVER, Batch, Customers
from detectors.rules.families.counting import CountingParameters, CountingRule
from detectors.state.customers import NONE
from schemas.policy import RuleParameters
from schemas.units import Ints, Mask


class BundleParameters(CountingParameters, kw_only=True, frozen=True):
    """Parameters of a bundle rule; the bundle itself is a number of the customer's plan."""

    def __post_init__(self) -> None:
        """Refuse parameters that contradict each other."""
        super().__post_init__()
        if self.window != "calendar" or self.regular_periods is not None:
            raise ValueError("a bundle is for a calendar month: no `window`, no `regular_periods`")


class BundleRule(CountingRule):
    """Report the event that takes a customer's month past the bundle of the plan.

    A subclass names the field of the plan with the bundle's size (`plan_number`), and says which
    events use the bundle (`is_included`).
    """

    Parameters: ClassVar[type[RuleParameters]] = BundleParameters
    reads: ClassVar[tuple[str, ...]] = ("data",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {"data": ("bytes", "is_abroad")}
    calendar_unit: ClassVar[PeriodUnit] = "month"
    cell: ClassVar[str] = "<i8"
    plan_number: ClassVar[str]

    def limit_of(self, parameters: Any) -> int:
        """Zero: a plan's bundle may be empty."""
        return 0

    def limits(self, slot: Ints, customers: Customers) -> Ints:
        """Bytes that each customer's plan includes, `NEVER` if it has no bundle, shape (n,)."""
        bundle = customers.number(self.plan_number, slot)
        included = np.where(bundle == NONE, NEVER, bundle)
        return np.maximum(super().limits(slot, customers), included)

    def is_included(self, batch: Batch) -> Mask:
        """Whether each event uses the bundle, shape (n,)."""
        raise NotImplementedError

    def pieces(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """The bytes, up and down, of each event that uses the bundle."""
        row = np.flatnonzero(self.is_included(batch) & (batch.fields["bytes"] > 0))
        return row, self.periods.period_of(batch.time_ms[row]), batch.fields["bytes"][row]
