"""What the rules about gauges share: the newest snapshot of a quantity is compared with a limit."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.kernels.running import group_starts, running_maxima, stable_order
from detectors.rules.contract import Batch, Customers, Declaration, Hit, Standing
from detectors.state.columns import Field
from detectors.state.customers import NONE
from schemas.events import AMOUNT_MAX
from schemas.fields import ABSENT
from schemas.policy import LIVE, Policy, RuleParameters
from schemas.records import Window
from schemas.units import Ints, Mask


class GaugeParameters(RuleParameters, kw_only=True, frozen=True):
    """`limit` is the highest amount that is still allowed."""

    limit: Annotated[int, Meta(ge=0, le=AMOUNT_MAX), LIVE]


class Readings(NamedTuple):
    """Storage snapshots that are the newest when they come, sorted by customer; shape (n,) each.

    `row` is the snapshot's row in the batch; `limit` is `NONE` where there is no limit. `first`,
    of shape (customers,), is the place of each customer's first snapshot.
    """

    row: Ints
    slot: Ints
    time_ms: Ints
    amount: Ints
    limit: Ints
    first: Ints

    def before(self, values: NDArray, kept: NDArray) -> NDArray:
        """The value of the same customer's snapshot before each, shape (n,).

        `values` are those of these snapshots; `kept`, of shape (customers,), are the values that
        were stored before the first ones.
        """
        earlier = np.r_[values[:1], values[:-1]]
        earlier[self.first] = kept
        return earlier


class Gauge:
    """Report the snapshot above the limit, and the one that is back at or below it.

    A rule names its `quantity`, a field of `storage` events. The newest amount is stored as dtype
    `stored`, at most its largest number: only `standing` shows it. The limit is the policy's,
    unless the rule gives another for each snapshot in `limits`.
    """

    name: ClassVar[str]
    declaration: ClassVar[Declaration]
    reads: ClassVar[tuple[str, ...]] = ("storage",)
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = GaugeParameters
    quantity: ClassVar[str]
    stored: ClassVar[str] = "<i8"

    def __init__(self, parameters: Any, policy: Policy) -> None:
        self.parameters = parameters
        self.newest = f"{self.name}_newest_ms"
        self.amount = f"{self.name}_amount"
        self.since = f"{self.name}_since_ms"
        self.fields: tuple[Field, ...] = (
            Field(self.newest, "<i8"),
            Field(self.amount, self.stored),
            Field(self.since, "<i8"),
        )

    def limits(self, batch: Batch, row: Ints, customers: Customers) -> Ints:
        """The limit that holds for each of these rows, `NONE` for no limit, shape (n,)."""
        return np.full(len(row), self.parameters.limit)

    def above(self, columns: Mapping[str, NDArray], readings: Readings) -> Mask:
        """Whether each snapshot is in breach, shape (n,)."""
        return exceeds(readings)

    def evidence(
        self, columns: Mapping[str, NDArray], readings: Readings, at: int
    ) -> dict[str, Any]:
        """What a finding says beyond what was observed and allowed."""
        return {}

    def rests_on_ms(
        self, columns: Mapping[str, NDArray], readings: Readings, at: int, rose: bool
    ) -> int | None:
        """Time of an earlier snapshot that also decided, if there is one."""
        return None

    def store(self, columns: Mapping[str, NDArray], readings: Readings) -> None:
        """Store each customer's newest snapshot."""
        columns[self.newest][readings.slot, 0] = readings.time_ms
        largest = np.iinfo(self.stored).max
        columns[self.amount][readings.slot, 0] = np.minimum(readings.amount, largest)

    def known_limit(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> int | None:
        """The limit that held for a customer's newest snapshot."""
        return self.parameters.limit

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """All of them: a snapshot older than the newest one is no error, it is only ignored."""
        return np.ones(len(time_ms), bool)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Report the snapshots that cross the limit, in either direction."""
        readings = self.newest_readings(columns, batch, customers)
        above = self.above(columns, readings)
        was_above = columns[self.since][readings.slot[readings.first], 0] > 0
        crossing = np.flatnonzero(above != readings.before(above, was_above))
        crossing = crossing[np.argsort(readings.row[crossing])]
        hits = self._hits(columns, batch, readings, above, crossing)
        self.store(columns, readings)
        return hits

    def newest_readings(
        self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers
    ) -> Readings:
        """The snapshots of a batch that are the newest when they come."""
        row = np.flatnonzero(batch.fields[self.quantity] != ABSENT)
        slot = batch.slot[row]
        newest = columns[self.newest][slot, 0]
        row = row[batch.time_ms[row] >= running_maxima(slot, batch.time_ms[row], newest)]
        # Sorted by customer: the snapshot before each one stands in the row above it.
        row = row[stable_order(batch.slot[row])]
        slot = batch.slot[row]
        return Readings(
            row=row,
            slot=slot,
            time_ms=batch.time_ms[row],
            amount=batch.fields[self.quantity][row],
            limit=self.limits(batch, row, customers),
            first=group_starts(slot),
        )

    def _hits(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        readings: Readings,
        above: Mask,
        crossing: Ints,
    ) -> list[Hit]:
        """The hits of the snapshots that cross the limit; it updates `since`.

        Above the limit `since` is the start of the breach, else the start of the last breach,
        negated. A finding's id depends on the start of its breach: a second breach that begins
        within the same millisecond is given the next one.
        """
        since = columns[self.since][:, 0]
        hits = []
        for at in crossing.tolist():
            slot, time_ms = int(readings.slot[at]), int(readings.time_ms[at])
            rose = bool(above[at])
            start_ms = max(time_ms, 1 - int(since[slot])) if rose else int(since[slot])
            since[slot] = start_ms if rose else -start_ms
            end_ms = None if rose else max(time_ms, start_ms)
            hits.append(
                Hit(
                    slot=slot,
                    event_time_ms=time_ms,
                    level="breach" if rose else "cleared",
                    window=Window(kind="state", start_ms=start_ms, end_ms=end_ms),
                    observed=int(readings.amount[at]),
                    limit=int(readings.limit[at]),
                    unit=self.declaration.units[0].name,
                    offset=int(batch.offset[readings.row[at]]),
                    evidence=self.evidence(columns, readings, at),
                    rests_on_ms=self.rests_on_ms(columns, readings, at, rose),
                )
            )
        return hits

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Nothing to do: a gauge does not age."""

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest snapshot, and the limit that held for it."""
        newest_ms = int(columns[self.newest][slot, 0])
        if not newest_ms:
            return []
        since = max(0, int(columns[self.since][slot, 0]))
        return [
            Standing(
                window=Window(kind="state", start_ms=since or newest_ms, end_ms=None),
                observed=int(columns[self.amount][slot, 0]),
                limit=self.known_limit(columns, slot, customers),
                unit=self.declaration.units[0].name,
            )
        ]

    def remember(self) -> Any:
        """Nothing: all state is in the columns."""
        return None

    def recall(self, memory: Any) -> None:
        """Nothing to take back."""


class CapacityGauge(Gauge):
    """Compare the bytes stored with the capacity that the snapshot states, or else the plan's."""

    Parameters: ClassVar[type[RuleParameters]] = RuleParameters
    quantity: ClassVar[str] = "used_bytes"

    def __init__(self, parameters: RuleParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.capacity = f"{self.name}_capacity_bytes"
        self.fields = (*self.fields, Field(self.capacity, "<i8"))

    def limits(self, batch: Batch, row: Ints, customers: Customers) -> Ints:
        """The capacity that holds for each snapshot."""
        stated = batch.fields["capacity_bytes"][row]
        of_plan = customers.number("storage_capacity_bytes", batch.slot[row])
        return np.where(stated == ABSENT, of_plan, stated)

    def store(self, columns: Mapping[str, NDArray], readings: Readings) -> None:
        """Store the newest snapshots, and the capacity that held for each."""
        super().store(columns, readings)
        columns[self.capacity][readings.slot, 0] = readings.limit

    def known_limit(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> int | None:
        """The capacity that held for the newest snapshot."""
        capacity = int(columns[self.capacity][slot, 0])
        return None if capacity == NONE else capacity


def exceeds(readings: Readings) -> Mask:
    """Whether each snapshot shows more than its limit, shape (n,)."""
    return (readings.limit != NONE) & (readings.amount > readings.limit)
