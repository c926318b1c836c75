"""More stored than the plan holds."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.running import group_starts, running_maxima
from detectors.rule import Batch, Customers, Hit, Ints, Mask, Standing
from detectors.state import Field
from schemas.policy import Policy, RuleParameters
from schemas.records import Window

UNLIMITED = -1
ABSENT = -1


class StorageCapacity:
    """Report the snapshot that shows more than the plan's capacity, and the one that shows less.

    What it catches: every stretch above the capacity, from the first snapshot in it.
    What it misses: what came and went between two snapshots; a change of plan shows with the next
    snapshot. A snapshot older than the newest one says nothing about now and is passed over.
    False alarms: none, a gauge is compared with a number.

    References
    ----------
    Clauses base-cloud 3.10 and 3.13.
    """

    name: ClassVar[str] = "storage_capacity"
    reads: ClassVar[tuple[str, ...]] = ("storage",)
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = RuleParameters

    def __init__(self, parameters: RuleParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.fields = (
            Field("storage_newest_ms", "<i8"),
            Field("storage_used_bytes", "<i8"),
            Field("storage_above_since_ms", "<i8"),
            Field("storage_known_capacity_bytes", "<i8"),
        )

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Always: an old snapshot is no mistake, it is only not the newest."""
        return np.ones(len(time_ms), bool)

    def step(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Follow each customer's gauge through the batch and report where it changes sides."""
        row = np.flatnonzero(batch.fields["used_bytes"] != ABSENT)
        newest = columns["storage_newest_ms"][:, 0]
        slot = batch.slot[row]
        shown_before = running_maxima(slot, batch.time_ms[row], newest[slot])
        row = row[batch.time_ms[row] >= shown_before]
        # Sorted by customer, each row's neighbour above is the same customer's snapshot before it.
        row = row[np.argsort(batch.slot[row], kind="stable")]
        slot, time_ms = batch.slot[row], batch.time_ms[row]
        used = batch.fields["used_bytes"][row]
        stated = batch.fields["capacity_bytes"][row]
        capacity = np.where(
            stated == ABSENT, customers.number("storage_capacity_bytes", slot), stated
        )
        above = (capacity != UNLIMITED) & (used > capacity)
        first = group_starts(slot)
        since = columns["storage_above_since_ms"][:, 0]
        was_above = np.r_[False, above[:-1]]
        was_above[first] = since[slot[first]] > 0
        turned = np.flatnonzero(above != was_above)
        hits = self._turns(batch, row, turned, above, used, capacity, since)
        newest[slot] = time_ms
        columns["storage_used_bytes"][slot, 0] = used
        columns["storage_known_capacity_bytes"][slot, 0] = capacity
        return sorted(hits, key=lambda hit: hit.offset)

    def _turns(
        self,
        batch: Batch,
        row: Ints,
        turned: Ints,
        above: Mask,
        used: Ints,
        capacity: Ints,
        since: Ints,
    ) -> list[Hit]:
        """Walk the rows that change sides, in each customer's order, and keep `since` up to date.

        Below the capacity `since` holds the last stretch's start, negated: a finding is known by
        where its stretch starts, so a second one within the same millisecond starts after it.
        """
        hits = []
        for at in turned.tolist():
            slot, time_ms = int(batch.slot[row[at]]), int(batch.time_ms[row[at]])
            rose = bool(above[at])
            start_ms = max(time_ms, 1 - int(since[slot])) if rose else int(since[slot])
            since[slot] = start_ms if rose else -start_ms
            hits.append(
                Hit(
                    slot=slot,
                    event_time_ms=time_ms,
                    level="breach" if rose else "cleared",
                    window=Window(
                        kind="state",
                        start_ms=start_ms,
                        end_ms=None if rose else max(time_ms, start_ms),
                    ),
                    observed=int(used[at]),
                    limit=int(capacity[at]),
                    unit="bytes",
                    offset=int(batch.offset[row[at]]),
                    evidence={},
                )
            )
        return hits

    def settle(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Nothing to do: a gauge does not age."""

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest snapshot against the capacity that held for it."""
        newest_ms = int(columns["storage_newest_ms"][slot, 0])
        if not newest_ms:
            return []
        since = max(0, int(columns["storage_above_since_ms"][slot, 0]))
        capacity = int(columns["storage_known_capacity_bytes"][slot, 0])
        return [
            Standing(
                window=Window(kind="state", start_ms=since or newest_ms, end_ms=None),
                observed=int(columns["storage_used_bytes"][slot, 0]),
                limit=None if capacity == UNLIMITED else capacity,
                unit="bytes",
            )
        ]

    def remember(self) -> Any:
        """Nothing belongs to the partition as a whole."""
        return None

    def recall(self, memory: Any) -> None:
        """Nothing to take back."""
