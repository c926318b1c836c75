"""What the rules about gauges share: the newest snapshot of a quantity against what is allowed."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.kernels.running import group_starts, running_maxima, stable_order
from detectors.rules.contract import Batch, Customers, Hit, Standing
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


class Shown(NamedTuple):
    """Snapshots that are the newest when they come, sorted by customer; columns of shape (n,).

    `limit` is `NONE` where there is no limit; `first` are the rows each customer begins with.
    """

    row: Ints
    slot: Ints
    time_ms: Ints
    amount: Ints
    limit: Ints
    first: Ints

    def before(self, of_row: NDArray, kept: NDArray) -> NDArray:
        """What stood before each row: that of the row above, or what `first` customers kept."""
        earlier = np.r_[of_row[:1], of_row[:-1]]
        earlier[self.first] = kept
        return earlier


class Gauge:
    """Report the snapshot that shows more than is allowed, and the one that shows less again.

    A rule names its `quantity`, a field of `storage` events, and the smallest dtype of its
    `stored` amount, which is only told to who asks and is full at that dtype's end. Its limit is
    the policy's, unless it says another for each snapshot in `limits`.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ("storage",)
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = GaugeParameters
    quantity: ClassVar[str]
    unit: ClassVar[str]
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
        """What each of these rows is held against, `NONE` for no limit, shape (n,)."""
        return np.full(len(row), self.parameters.limit)

    def above(self, columns: Mapping[str, NDArray], shown: Shown) -> Mask:
        """Whether each snapshot is in breach, shape (n,)."""
        return exceeds(shown)

    def evidence(self, columns: Mapping[str, NDArray], shown: Shown, at: int) -> dict[str, Any]:
        """What a finding says beyond what was observed and allowed."""
        return {}

    def rests_on_ms(
        self, columns: Mapping[str, NDArray], shown: Shown, at: int, rose: bool
    ) -> int | None:
        """Which snapshot before the stretch decides, too, if there is any."""
        return None

    def note(self, columns: Mapping[str, NDArray], shown: Shown) -> None:
        """Keep the newest snapshots."""
        columns[self.newest][shown.slot, 0] = shown.time_ms
        full = np.iinfo(self.stored).max
        columns[self.amount][shown.slot, 0] = np.minimum(shown.amount, full)

    def known_limit(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> int | None:
        """What a customer's newest snapshot was held against."""
        return self.parameters.limit

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Always: an old snapshot is no mistake, it is only not the newest."""
        return np.ones(len(time_ms), bool)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Follow each customer's gauge through the batch and report where it changes sides."""
        shown = self.shown(columns, batch, customers)
        above = self.above(columns, shown)
        was_above = columns[self.since][shown.slot[shown.first], 0] > 0
        turned = np.flatnonzero(above != shown.before(above, was_above))
        hits = self._turns(columns, batch, shown, above, turned)
        self.note(columns, shown)
        return sorted(hits, key=lambda hit: hit.offset)

    def shown(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> Shown:
        """The snapshots of a batch that are the newest when they come."""
        row = np.flatnonzero(batch.fields[self.quantity] != ABSENT)
        slot = batch.slot[row]
        newest = columns[self.newest][slot, 0]
        row = row[batch.time_ms[row] >= running_maxima(slot, batch.time_ms[row], newest)]
        # Sorted by customer, each row's neighbour above is the same customer's snapshot before it.
        row = row[stable_order(batch.slot[row])]
        slot = batch.slot[row]
        return Shown(
            row=row,
            slot=slot,
            time_ms=batch.time_ms[row],
            amount=batch.fields[self.quantity][row],
            limit=self.limits(batch, row, customers),
            first=group_starts(slot),
        )

    def _turns(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        shown: Shown,
        above: Mask,
        turned: Ints,
    ) -> list[Hit]:
        """Walk the rows that change sides, in each customer's order, and keep `since` up to date.

        Below the limit `since` holds the last stretch's start, negated: a finding is known by
        where its stretch starts, so a second one within the same millisecond starts after it.
        """
        since = columns[self.since][:, 0]
        hits = []
        for at in turned.tolist():
            slot, time_ms = int(shown.slot[at]), int(shown.time_ms[at])
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
                    observed=int(shown.amount[at]),
                    limit=int(shown.limit[at]),
                    unit=self.unit,
                    offset=int(batch.offset[shown.row[at]]),
                    evidence=self.evidence(columns, shown, at),
                    rests_on_ms=self.rests_on_ms(columns, shown, at, rose),
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
        """The newest snapshot against what it was held against."""
        newest_ms = int(columns[self.newest][slot, 0])
        if not newest_ms:
            return []
        since = max(0, int(columns[self.since][slot, 0]))
        return [
            Standing(
                window=Window(kind="state", start_ms=since or newest_ms, end_ms=None),
                observed=int(columns[self.amount][slot, 0]),
                limit=self.known_limit(columns, slot, customers),
                unit=self.unit,
            )
        ]

    def remember(self) -> Any:
        """Nothing belongs to the partition as a whole."""
        return None

    def recall(self, memory: Any) -> None:
        """Nothing to take back."""


class CapacityGauge(Gauge):
    """Bytes stored against the capacity that holds: the snapshot's own, or else the plan's."""

    Parameters: ClassVar[type[RuleParameters]] = RuleParameters
    quantity: ClassVar[str] = "used_bytes"
    unit: ClassVar[str] = "bytes"

    def __init__(self, parameters: RuleParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.capacity = f"{self.name}_capacity_bytes"
        self.fields = (*self.fields, Field(self.capacity, "<i8"))

    def limits(self, batch: Batch, row: Ints, customers: Customers) -> Ints:
        """The capacity that holds for each snapshot."""
        stated = batch.fields["capacity_bytes"][row]
        of_plan = customers.number("storage_capacity_bytes", batch.slot[row])
        return np.where(stated == ABSENT, of_plan, stated)

    def note(self, columns: Mapping[str, NDArray], shown: Shown) -> None:
        """Keep the capacity that held, too."""
        super().note(columns, shown)
        columns[self.capacity][shown.slot, 0] = shown.limit

    def known_limit(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> int | None:
        """The capacity that held for the newest snapshot."""
        capacity = int(columns[self.capacity][slot, 0])
        return None if capacity == NONE else capacity


def exceeds(shown: Shown) -> Mask:
    """Whether each snapshot shows more than its limit, shape (n,)."""
    return (shown.limit != NONE) & (shown.amount > shown.limit)
