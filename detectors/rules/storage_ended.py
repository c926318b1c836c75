"""Something is still stored although the days to fetch it after the contract's end are over."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.periods.calendar import calendar
from detectors.periods.closing import PeriodCloser
from detectors.rules.contract import Batch, Customers, Declaration, Hit, RuleOutput
from detectors.rules.families.closing import ClosingRuleBase
from detectors.rules.families.gauge import Gauge
from schemas.amounts import BYTES
from schemas.policy import LIVE, Policy, RuleParameters
from schemas.records import Window
from schemas.units import Ints


class EndedParameters(RuleParameters, kw_only=True, frozen=True):
    """What is stored can be read for `readable_days` whole local days after the contract's end."""

    readable_days: Annotated[int, Meta(ge=1, le=3_660), LIVE]


class StorageEnded(ClosingRuleBase, Gauge):
    """Report once for each contract's end who still stores something `readable_days` after it.

    The breach is cleared with the day at whose end nothing is stored, or when the contract goes on.

    The rule is a timer: all customers' events advance the partition's watermark, and with each
    local day that it closes the rule looks at every customer. The event time of a breach is the
    midnight at which the days ran out.

    What it catches: every ended contract whose newest snapshot shows bytes stored, as soon as a day
    closes by which both are known; the end, or the snapshot, may come late.
    What it misses: customers without any snapshot with `used_bytes`, for nothing is known to be
    stored; an end without a time (`valid_from_ms`); whatever is stored again after the report.
    Delay: to the end of the local day, and until an event of the partition is past it.
    False alarms: bytes that were deleted without a snapshot that says so; a contract that was ended
    by mistake, or that goes on without a record on `customers`. A person decides. Of 9,000
    generated customers (62 days, seeds 1 to 3) nobody was wrongly found; no real data was at hand.

    References
    ----------
    Clauses proximus-cloud 15 and base-cloud 5.5.
    """

    name: ClassVar[str] = "storage_ended"
    declaration: ClassVar[Declaration] = Declaration(
        section="Storage",
        services=("storage",),
        units=(BYTES,),
        what="bytes still stored after the contract's end, newest snapshot",
        limit="nothing, {readable_days} days after the end",
        misses="who never sent a snapshot of the bytes stored; an end without a time",
    )
    Parameters: ClassVar[type[RuleParameters]] = EndedParameters
    quantity: ClassVar[str] = "used_bytes"

    def __init__(self, parameters: EndedParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.days = calendar(policy.timezone, "day")
        self.closing = PeriodCloser(self.days, 0, 1)

    def limits(self, batch: Batch, row: Ints, customers: Customers) -> Ints:
        """Zero: after the contract's end nothing may be stored."""
        return np.zeros(len(row), np.int64)

    def known_limit(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> int | None:
        """Zero bytes once the contract has ended; before that there is no limit."""
        return 0 if customers.has_ended(np.array([slot]))[0] else None

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Store the newest snapshots; only the closing of a day leads to hits."""
        self.store(columns, self.newest_readings(columns, batch, customers))
        return []

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """Report whose days have run out by the end of the last of these days, and who is cleared.

        `since` is the contract's end that was reported, negated once that is cleared.
        """
        until_ms = self.days.bounds(periods[-1])[1]
        slot = np.arange(customers.directory.size)
        ended_ms, has_ended = customers.valid_from_ms(slot), customers.has_ended(slot)
        amount, reported = columns[self.amount][slot, 0], columns[self.since][slot, 0]
        is_gone = (amount == 0) | ~has_ended | (reported != ended_ms)
        cleared = slot[(reported > 0) & is_gone]
        hits = [self._cleared(columns, s, int(ended_ms[s])) for s in cleared.tolist()]
        columns[self.since][cleared, 0] *= -1
        is_due = has_ended & (self._over_ms(ended_ms) <= until_ms) & (amount > 0)
        due = slot[is_due & (np.abs(reported) != ended_ms)]
        columns[self.since][due, 0] = ended_ms[due]
        hits += [self._hit(columns, s) for s in due.tolist()]
        hits = [self._known_from(self.days.bounds(periods[0])[1], hit) for hit in hits]
        return RuleOutput(
            hits=tuple(sorted(hits, key=lambda hit: customers.directory.name(hit.slot)))
        )

    def _over_ms(self, ended_ms: Ints) -> Ints:
        """When the days after each contract's end are over, shape (n,)."""
        return self.days.whole_periods_after(ended_ms, self.parameters.readable_days)

    def _known_from(self, first_ms: int, hit: Hit) -> Hit:
        """The hit, known no sooner than when the first of the days that close now was over."""
        known_ms = max(first_ms, self.known_ms(hit.event_time_ms))
        return replace(hit, known_ms=known_ms)

    def _hit(self, columns: Mapping[str, NDArray], slot: int) -> Hit:
        ended_ms = int(columns[self.since][slot, 0])
        return Hit(
            slot=slot,
            event_time_ms=int(self._over_ms(np.array([ended_ms]))[0]),
            level="breach",
            window=Window(kind="state", start_ms=ended_ms, end_ms=None),
            observed=int(columns[self.amount][slot, 0]),
            limit=0,
            unit=BYTES.name,
            offset=None,
            evidence={
                "snapshot_ms": int(columns[self.newest][slot, 0]),
                "readable_days": self.parameters.readable_days,
            },
            rests_on_ms=int(columns[self.newest][slot, 0]),
        )

    def _cleared(self, columns: Mapping[str, NDArray], slot: int, valid_from_ms: int) -> Hit:
        """Cleared on the day of a snapshot with nothing stored, else when the contract goes on."""
        breach = self._hit(columns, slot)
        time_ms = valid_from_ms
        if breach.observed == 0:
            day = self.days.period_of(columns[self.newest][slot])
            time_ms = self.days.bounds(int(day[0]))[1]
        time_ms = max(time_ms, breach.event_time_ms)
        window = Window(kind="state", start_ms=breach.window.start_ms, end_ms=time_ms)
        return replace(breach, event_time_ms=time_ms, level="cleared", window=window)

    def remember(self) -> Any:
        """The days that are closed."""
        return self.closing.remember()

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        self.closing.recall(memory)
