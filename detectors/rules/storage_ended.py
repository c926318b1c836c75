"""Something still stored when the time to fetch it after the contract's end is over."""

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

    It is cleared with the day by whose end nothing is stored, or when the contract goes on.

    A timer: the other customers' events move the partition's watermark on, and with each local day
    that it closes everybody is looked at. The event time is the midnight at which the days ran out.

    What it catches: every ended contract whose newest snapshot shows bytes stored, at the first
    closing of a day at which that is known: also where the end is told late, or the bytes are.
    What it misses: who never sent a snapshot with `used_bytes`, for then nothing is known to be
    stored; an end without a time (`valid_from_ms`); whatever is stored again after the report.
    Delay: to the end of the local day, and until an event of the partition is past it.
    False alarms: bytes that were deleted without a snapshot that says so; a contract that was ended
    by mistake, or taken up again without a word on `customers`. A person decides. Of 9,000
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
    unit: ClassVar[str] = "bytes"

    def __init__(self, parameters: EndedParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.days = calendar(policy.timezone, "day")
        self.closing = PeriodCloser(self.days, 0, 1)

    def limits(self, batch: Batch, row: Ints, customers: Customers) -> Ints:
        """Nothing may be stored in the end."""
        return np.zeros(len(row), np.int64)

    def known_limit(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> int | None:
        """Nothing once the contract has ended; before that this rule has no limit."""
        return 0 if customers.has_ended(np.array([slot]))[0] else None

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Keep the newest snapshots; nobody is judged before a day is closed."""
        self.note(columns, self.shown(columns, batch, customers))
        return []

    def close_periods(
        self, columns: Mapping[str, NDArray], days: range, customers: Customers
    ) -> RuleOutput:
        """Report who ran out of days by the end of the last day closed now, and who is cleared.

        `since` holds the end that was reported; negated, once that is cleared.
        """
        until_ms = self.days.bounds(days[-1])[1]
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
        hits = [self._known_from(self.days.bounds(days[0])[1], hit) for hit in hits]
        return RuleOutput(
            hits=tuple(sorted(hits, key=lambda hit: customers.directory.name(hit.slot)))
        )

    def _over_ms(self, ended_ms: Ints) -> Ints:
        """When the days after each contract's end are over, shape (n,)."""
        return self.days.whole_periods_after(ended_ms, self.parameters.readable_days)

    def _known_from(self, first_ms: int, hit: Hit) -> Hit:
        """A hit that became known no sooner than with the first of the days that are closed now."""
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
            unit=self.unit,
            offset=None,
            evidence={
                "snapshot_ms": int(columns[self.newest][slot, 0]),
                "readable_days": self.parameters.readable_days,
            },
            rests_on_ms=int(columns[self.newest][slot, 0]),
        )

    def _cleared(self, columns: Mapping[str, NDArray], slot: int, valid_from_ms: int) -> Hit:
        """Cleared with the day of the snapshot that shows nothing, or with the contract told of."""
        breach = self._hit(columns, slot)
        time_ms = valid_from_ms
        if breach.observed == 0:
            day = self.days.period_of(columns[self.newest][slot])
            time_ms = self.days.bounds(int(day[0]))[1]
        time_ms = max(time_ms, breach.event_time_ms)
        window = Window(kind="state", start_ms=breach.window.start_ms, end_ms=time_ms)
        return replace(breach, event_time_ms=time_ms, level="cleared", window=window)

    def remember(self) -> Any:
        """The last closed day."""
        return self.closing.remember()

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        self.closing.recall(memory)
