"""The customers of a partition and what their plans contain, in columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detectors.state.columns import ColumnGroup, Field
from detectors.state.directory import Directory
from schemas.hashing import hash_strings
from schemas.records import Customer
from schemas.units import Hashes, Ints, Mask

UNLIMITED_BITS = {"sms": 1, "voice": 2, "data": 4}
ANNOUNCED_BIT, PROFESSIONAL_BIT, FIXED_BIT, ENDED_BIT = 8, 16, 32, 64

NONE = -1
"""Stands for a number that a plan does not set; for storage: no limit."""

PLAN_NUMBERS = {
    "storage_capacity_bytes": "<i8",
    "data_bundle_bytes": "<i8",
    "roaming_bundle_bytes": "<i8",
    "spend_limit_microeur": "<i8",
    "roaming_spend_limit_microeur": "<i8",
    "stream_devices": "<i4",
    "stream_concurrent": "<i4",
}
CUSTOMER_FIELDS = (
    Field("flags", "<u1"),
    Field("valid_from_ms", "<i8"),
    Field("cohort", "<u8"),
    *(Field(name, dtype) for name, dtype in PLAN_NUMBERS.items()),
)
"""What the rules need of a customer's plan; `cohort` is a hash."""

COHORTS_MAX = 10_000
"""Upper bound of cohort names that a partition remembers; other cohorts are shown as hashes."""

ENDED = "ended"
"""The `contract_state` of a contract that has ended."""


@dataclass(frozen=True, slots=True)
class Customers:
    """The customers of a partition and their plans, by slot.

    `default_numbers`, `default_flags` and `default_cohort` are for customers never announced.
    """

    directory: Directory
    plans: ColumnGroup
    default_flags: int
    default_numbers: Mapping[str, int]
    default_cohort: str
    cohort_names: dict[int, str]

    def announce(self, slots: Ints, announced: Sequence[Customer]) -> None:
        """Take in records of customers; of one customer the last record counts."""
        columns = self.plans.columns
        columns["flags"][slots, 0] = [_flags(customer) for customer in announced]
        columns["valid_from_ms"][slots, 0] = [c.valid_from_ms for c in announced]
        for name, dtype in PLAN_NUMBERS.items():
            numbers = (getattr(customer, name) for customer in announced)
            most = np.iinfo(dtype).max
            columns[name][slots, 0] = [NONE if n is None else min(n, most) for n in numbers]
        cohorts = [customer.cohort or customer.plan for customer in announced]
        hashes = hash_strings(cohorts)
        columns["cohort"][slots, 0] = hashes
        for number, name in dict(zip(hashes.tolist(), cohorts, strict=True)).items():
            if len(self.cohort_names) < COHORTS_MAX:
                self.cohort_names.setdefault(number, name)
        self.plans.touch(slots)

    def has_unlimited(self, service: str, slot: Ints) -> Mask:
        """Whether each customer's plan is unlimited for a service, shape (n,)."""
        return self._has(UNLIMITED_BITS[service], slot)

    def is_professional(self, slot: Ints) -> Mask:
        """Whether each customer has a professional contract, shape (n,)."""
        return self._has(PROFESSIONAL_BIT, slot)

    def is_fixed(self, slot: Ints) -> Mask:
        """Whether each customer's access is a fixed line, shape (n,)."""
        return self._has(FIXED_BIT, slot)

    def has_ended(self, slot: Ints) -> Mask:
        """Whether each customer's contract has ended, at its `valid_from_ms`, shape (n,)."""
        return self._has(ENDED_BIT, slot)

    def is_announced(self, slot: Ints) -> Mask:
        """Whether a record of each customer came from the topic `customers`, shape (n,)."""
        return (self.plans.columns["flags"][slot, 0] & ANNOUNCED_BIT) != 0

    def valid_from_ms(self, slot: Ints) -> Ints:
        """Event time from which each customer's plan holds; 0 if never announced, shape (n,)."""
        return self.plans.columns["valid_from_ms"][slot, 0]

    def were_there(self, slot: Ints, before_ms: int, used: Mask) -> Mask:
        """Whether each customer's plan held before an instant, shape (n,).

        For a customer who was never announced `used` decides: whether they had use before.
        """
        return np.where(self.is_announced(slot), self.valid_from_ms(slot) < before_ms, used)

    def number(self, name: str, slot: Ints) -> Ints:
        """A number of each customer's plan, one of `PLAN_NUMBERS`; `NONE` if not set, (n,)."""
        of_plan = self.plans.columns[name][slot, 0].astype(np.int64)
        return np.where(self.is_announced(slot), of_plan, self.default_numbers[name])

    def cohort(self, slot: Ints) -> Hashes:
        """Hash of each customer's cohort, shape (n,); `cohort_names` has the names."""
        of_plan = self.plans.columns["cohort"][slot, 0]
        default = hash_strings([self.default_cohort])[0]
        return np.where(self.is_announced(slot), of_plan, default)

    def cohort_name(self, cohort: int) -> str:
        """Name of a cohort by its hash; the hash in digits where the name is not remembered."""
        default = {int(hash_strings([self.default_cohort])[0]): self.default_cohort}
        return (default | self.cohort_names).get(cohort, f"{cohort:016x}")

    def _has(self, bit: int, slot: Ints) -> Mask:
        flags = self.plans.columns["flags"][slot, 0]
        known = (flags & ANNOUNCED_BIT) != 0
        return (np.where(known, flags, self.default_flags) & bit) != 0


def _flags(customer: Customer) -> int:
    """The flags of a customer's plan and contract, as bits."""
    return (
        ANNOUNCED_BIT
        | sum(UNLIMITED_BITS[service] for service in set(customer.unlimited))
        | (customer.segment == "professional") * PROFESSIONAL_BIT
        | (customer.access == "fixed") * FIXED_BIT
        | (customer.contract_state == ENDED) * ENDED_BIT
    )
