"""What the rules about floods share: traffic between a customer and an address, by minutes.

There is no memory for every pair of customer and address. So each customer has one small number for
each minute, the load. Only for customers with a high load are the amounts kept by address, in a
bounded number of cells. A minute of a pair is hot when one of its amounts is above its limit.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from detectors.kernels.rolling import Episodes
from detectors.periods.ring import PeriodRing
from detectors.rules.contract import Batch
from detectors.state.cells import Cells
from detectors.state.columns import Field
from schemas.amounts import Unit
from schemas.fields import ABSENT, ACK, SYN, TCP
from schemas.hashing import Hashes
from schemas.policy import LIVE, Positive, RuleParameters
from schemas.records import Window
from schemas.units import MINUTE_MS, Ints, Mask

MINUTES = 2
"""Consecutive hot minutes that make a flood."""

AMOUNT_MAX = 2**40
"""The most that one flow counts, so that no sum of a minute overflows."""

PACKETS_A_LOAD = 20
"""Packets that add as much to the load as one flow."""

LOAD = np.dtype("<u2")
MEASURES = ("packets", "flows", "syn_flows")

RATES = (
    Unit(
        "packets_per_minute",
        "{observed} packets to one address in a minute, two minutes running",
    ),
    Unit(
        "flows_per_minute",
        "{observed} connections to one address in a minute, two minutes running",
    ),
    Unit(
        "syn_flows_per_minute",
        "{observed} connection attempts to one address that nobody answered in a minute, two "
        "minutes running",
    ),
)
"""Units of the measures, each a minute."""


class FloodParameters(RuleParameters, kw_only=True, frozen=True):
    """Limits of a minute of traffic between a customer and an address; the value is still allowed.

    `syn_per_second` applies where unacknowledged SYNs are more than `syn_share_per_mille` of all
    flows. Packets of answered transfers count only if they are smaller on average than
    `transfer_bytes_per_packet`, those of answered TCP connections never. Amounts are kept by
    address for customers with a load of `watch_per_second` flows or more (20 packets weigh as much
    as a flow), in `cells_max` cells at most. `retention_minutes` is how late a flow may be.
    """

    packets_per_second: Annotated[Positive, LIVE]
    flows_per_second: Annotated[Positive, LIVE]
    syn_per_second: Annotated[Positive, LIVE]
    syn_share_per_mille: Annotated[int, Meta(ge=0, lt=1000), LIVE]
    transfer_bytes_per_packet: Annotated[int, Meta(ge=1, le=65_535), LIVE]
    watch_per_second: Annotated[int, Meta(ge=0, le=1000), LIVE]
    retention_minutes: Annotated[int, Meta(ge=1, le=60)]
    cells_max: Annotated[int, Meta(ge=2)]


class Rows(NamedTuple):
    """Flows that were added to cells: `amount` is what was added, `total` what the cell then held.

    `row` is the row in the batch; a cell belongs to a group and a minute. Minutes before `floor`
    were forgotten when the row was added. `amount` and `total` have shape (k, amounts), the other
    columns have shape (k,).
    """

    row: Ints
    group: Hashes
    minute: Ints
    amount: Ints
    total: Ints
    floor: Ints


class FloodMemory(Struct, frozen=True):
    """The newest minute, what the cells know besides their pages, and the floods that go on."""

    newest: int
    cells: Any
    stretches: dict[int, list[list[int]]]


class MinuteCells:
    """Amounts by group and minute, and which minutes of a group are hot.

    `is_hot` maps amounts of shape (k, amounts) to a mask of shape (k,).
    """

    def __init__(self, cells: Cells, is_hot: Callable[[Ints], Mask]) -> None:
        self.cells = cells
        self.is_hot = is_hot

    def add(self, row: Ints, group: Hashes, minute: Ints, amount: Ints, needed: Ints) -> Rows:
        """Add flows to their cells; returns those for which there was room."""
        added = self.cells.add(group, minute, amount, needed)
        kept = added.held
        return Rows(
            row[kept],
            group[kept],
            minute[kept],
            amount[kept],
            added.total[kept],
            added.floor[kept],
        )

    def at(self, rows: Rows, group: np.uint64, minute: int, position: int) -> Ints:
        """What a cell held just after the row at this position, shape (amounts,)."""
        if minute < rows.floor[position]:
            return np.zeros(rows.total.shape[1], np.int64)
        own = np.flatnonzero((rows.group == group) & (rows.minute == minute))
        past = own[own <= position]
        if len(past):
            return rows.total[past[-1]]
        if len(own):
            return rows.total[own[0]] - rows.amount[own[0]]
        return self.cells.get(np.array([group]), np.array([minute]))[0]

    def turning_hot(self, rows: Rows) -> Iterator[tuple[int, list[int]]]:
        """Positions of the rows that make a minute hot, each with the ends of hot windows."""
        before = self.is_hot(rows.total - rows.amount)
        for position in np.flatnonzero(self.is_hot(rows.total) & ~before).tolist():
            yield position, self.hot_ends(rows, position)

    def hot_since(self, rows: Rows, group: np.uint64, minute: int) -> int:
        """Position of the row with which a cell becomes hot, if a cell stays hot as it grows.

        It is -1 for a cell that was hot before, and the number of rows for one that never is.
        """
        own = np.flatnonzero((rows.group == group) & (rows.minute == minute))
        if len(own) == 0:
            held = self.cells.get(np.array([group]), np.array([minute]))
            return -1 if self.is_hot(held)[0] else len(rows.row)
        if self.is_hot((rows.total - rows.amount)[own[:1]])[0]:
            return -1
        hot = own[self.is_hot(rows.total[own])]
        return int(hot[0]) if len(hot) else len(rows.row)

    def hot_ends(self, rows: Rows, position: int) -> list[int]:
        """Last minutes of the hot windows that contain a row's minute, which is hot itself."""
        group, minute = rows.group[position], int(rows.minute[position])
        neighbours = ((minute, minute - 1), (minute + 1, minute + 1))
        return [
            end
            for end, other in neighbours
            if self.is_hot(self.at(rows, group, other, position)[None])[0]
        ]


class FloodWatch:
    """Watches the traffic between customers and addresses, for the customers with a high load."""

    def __init__(self, name: str, parameters: FloodParameters) -> None:
        self.parameters = parameters
        self.retained = parameters.retention_minutes
        self.ring = PeriodRing(self.retained)
        self.field = Field(f"{name}_load", LOAD.str, self.ring.width)
        self.limits = [
            60 * each
            for each in (
                parameters.packets_per_second,
                parameters.flows_per_second,
                parameters.syn_per_second,
            )
        ]
        self.pairs = MinuteCells(Cells(parameters.cells_max, 4), self._is_hot)
        self.episodes = Episodes(MINUTES)

    def _is_hot(self, amounts: Ints) -> Mask:
        return np.any(self.above(amounts), axis=1)

    def above(self, amounts: Ints) -> Mask:
        """Whether each amount is above its limit, shape (k, measures)."""
        most_are_syn = amounts[:, 2] * 1000 > amounts[:, 1] * self.parameters.syn_share_per_mille
        above = amounts[:, :3] > self.limits
        above[:, 2] &= most_are_syn
        return above

    def add(
        self,
        loads: NDArray,
        batch: Batch,
        row: Ints,
        group_of: Callable[[Ints], Hashes],
    ) -> Rows:
        """Add the given rows of a batch; `group_of` returns the pairs of the rows to watch."""
        amount = amounts_of(batch, row, self.parameters.transfer_bytes_per_packet)
        slot, minute = batch.slot[row], batch.time_ms[row] // MINUTE_MS
        newest = batch.watermark_ms // MINUTE_MS
        load = amount[:, 1] + amount[:, 0] // PACKETS_A_LOAD
        total = self.ring.totals(loads, slot, minute, load)
        self.ring.write(loads, slot, minute, total, int(newest[-1]))
        watched = total >= 60 * self.parameters.watch_per_second
        row, minute, amount = row[watched], minute[watched], amount[watched]
        needed = newest[row] - self.retained - 1
        return self.pairs.add(row, group_of(row), minute, amount, needed)

    def starts(self, rows: Rows) -> Iterator[tuple[int, int]]:
        """Positions of the rows that begin a flood, and the last minute of its first window."""
        for position, ends in self.pairs.turning_hot(rows):
            end = self.episodes.note(int(rows.group[position]), ends)
            if end is not None:
                yield position, end

    def in_time(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether each flow's minute still takes late flows, shape (n,)."""
        return time_ms // MINUTE_MS >= watermark_ms // MINUTE_MS - self.retained

    def forget(self, newest: int) -> None:
        """Drop the state of minutes that no flow in time can reach any more."""
        self.pairs.cells.forget(newest - self.retained - 1)
        self.episodes.forget(newest - self.retained)

    def observed(self, rows: Rows, position: int) -> tuple[int, int, Unit]:
        """Amount, limit and unit of the first measure that is above its limit in a hot minute."""
        at = int(self.above(rows.total[position][None])[0].argmax())
        return int(rows.total[position, at]), self.limits[at], RATES[at]

    def minutes(self, rows: Rows, position: int, end: int) -> list[dict[str, int]]:
        """The amounts of each minute of a window, for the evidence."""
        group = rows.group[position]
        span = range(end - MINUTES + 1, end + 1)
        held = [self.pairs.at(rows, group, minute, position).tolist() for minute in span]
        return [
            {"start_ms": minute * MINUTE_MS, **dict(zip(MEASURES, amounts, strict=False))}
            for minute, amounts in zip(span, held, strict=True)
        ]

    def catch_up(self, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints) -> None:
        """Zero the cells that were reused for later minutes after a row was written."""
        self.ring.catch_up(columns[self.field.name], slots, written_ms // MINUTE_MS)

    def remember(self) -> FloodMemory:
        """What is neither in the columns nor in the cells' log."""
        return FloodMemory(self.ring.newest, self.pairs.cells.remember(), self.episodes.stretches)

    def recall(self, memory: FloodMemory) -> None:
        """Take back what `remember` gave."""
        self.ring.newest, self.episodes.stretches = memory.newest, memory.stretches
        self.pairs.cells.recall(memory.cells)


def window_of(end: int) -> Window:
    """The window that ends with a minute."""
    start_ms, end_ms = (end - MINUTES + 1) * MINUTE_MS, (end + 1) * MINUTE_MS
    return Window(kind="rolling", start_ms=start_ms, end_ms=end_ms)


def amounts_of(batch: Batch, row: Ints, transfer_bytes: int) -> Ints:
    """Packets that count, flows, unacknowledged SYNs and failed flows, shape (k, 4)."""
    fields = batch.fields.take(row)
    sampling, failed = fields["sampling"].astype(float), fields["is_failed"]
    packets, is_tcp = fields["packets"], fields["protocol"] == TCP
    packets = np.where(packets == ABSENT, 1, packets)
    # Large transfers are no floods. Of answered flows only small packets count, and none of TCP:
    # a download's acknowledgements are small, too.
    small = fields["bytes"] < packets * float(transfer_bytes)
    flags = fields["tcp_flags"]
    syn = np.where(flags == ABSENT, failed, ((flags & SYN) != 0) & ((flags & ACK) == 0))
    seen = np.stack(
        [
            np.where(failed | (~is_tcp & small), packets, 0),
            np.ones(len(row), np.int64),
            is_tcp & syn,
            failed,
        ],
        axis=1,
    )
    return np.minimum(seen * sampling[:, None], AMOUNT_MAX).astype(np.int64)
