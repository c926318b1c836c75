"""Checkpoints: wait for the delivery of all outputs, write rows and markers, commit offsets.

Any failure on the way ends the worker; it restarts from its last checkpoint.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

from faust.types import TP
from mode import Service
from mode.utils.logging import get_logger

from streams.broker.outbox import Outbox
from streams.checkpoints.changelog import MARKER_KEY
from streams.checkpoints.snapshots import Snapshots
from streams.checkpoints.tables import ColumnTable, Shard
from streams.clock import wall_clock
from streams.errors import FairuseError, end_worker
from streams.metrics import Metrics
from streams.settings import WorkerSettings

logger = get_logger(__name__)

MARKER_SECONDS_MAX = 600
"""A marker is written at least this often, long before compaction may remove the one before."""


class WorkerPausedError(FairuseError):
    """This process was paused for longer than its session lasts."""


@dataclass(frozen=True, slots=True)
class ShardCut:
    """What has to be written of one shard so that its state at the cut is stored."""

    table: ColumnTable
    number: int
    shard: Shard
    rows: list[tuple[list[bytes], list[bytes]]]
    header: bytes
    memory: bytes
    next_offset: dict[str, int]


@dataclass(frozen=True, slots=True)
class Cut:
    """The state of all shards at one moment, and what has to be delivered and written for it."""

    outputs: list[Any]
    """Deliveries in flight."""
    shards: list[ShardCut]
    events: list[Any]
    """Faust events whose batches the state holds."""
    covered: dict[TP, int]
    """Next offset of each input partition."""
    started: float
    """Performance counter, seconds."""


PAUSE_RATIO = 4
"""Time between two checkpoints, at least, as a multiple of the time that the first one took: a
worker that catches up touches every row, and needs time for other work than checkpoints."""

INTERVAL_RATIO_MAX = 10
"""Time between two checkpoints, at most, as a multiple of `checkpoint_seconds`."""


class Checkpointer(Service):
    """Stores the state of all active shards of all tables together.

    A checkpoint is cut at one moment, between two batches, and written while the agents go on; at
    most one is being written. Whoever folds something, or cuts, holds the lock `busy` meanwhile.

    Parameters
    ----------
    app
        The Faust app.
    outbox
        Sends outputs, rows and markers.
    settings
        How often to checkpoint.
    metrics
        Gets the time that each checkpoint takes.
    snapshots
        Saves shards between checkpoints.
    """

    def __init__(
        self,
        app: Any,
        outbox: Outbox,
        settings: WorkerSettings,
        metrics: Metrics,
        snapshots: Snapshots,
    ) -> None:
        self.app = app
        self.outbox = outbox
        self.settings = settings
        self.metrics = metrics
        self.snapshots = snapshots
        self.tables: dict[str, tuple[ColumnTable, dict[str, str]]] = {}
        self.busy = asyncio.Lock()
        self.closed = False
        self._events: list[Any] = []
        self._counted = 0
        self._flight: asyncio.Task[None] | None = None
        self.last = self.committed = self._last_marker = monotonic()
        self._awake: float | None = None
        self._interval_seconds = settings.checkpoint_seconds
        super().__init__()

    def add_table(self, table: ColumnTable, topic_of_kind: dict[str, str]) -> None:
        """Include a table in the checkpoints.

        Parameters
        ----------
        table
            The table.
        topic_of_kind
            Topic of each input, by the name under which the state keeps its next offset.
        """
        self.tables[table.name] = (table, topic_of_kind)

    def folded(self, event: Any, records: int) -> None:
        """Note that a batch was folded; the next checkpoint acknowledges it.

        Parameters
        ----------
        event
            Faust's event of the batch.
        records
            How many records it holds.
        """
        self._events.append(event)
        self._counted += records

    def positions(self) -> Iterator[tuple[TP, int]]:
        """Iterate over the inputs of all partitions that this worker writes.

        Yields
        ------
        Topic and partition of an input, and its next offset.
        """
        for table, topics in self.tables.values():
            for number, shard in table.active().items():
                for kind, topic in topics.items():
                    yield TP(topic, number), shard.next_offset(kind)

    @property
    def _column_tables(self) -> dict[str, ColumnTable]:
        return {name: table for name, (table, _) in self.tables.items()}

    @property
    def due(self) -> bool:
        """Whether a checkpoint has to begin now."""
        return (
            self._counted >= self.settings.checkpoint_events_max
            or monotonic() - self.last >= self._interval_seconds
        )

    @Service.task
    async def _beat(self) -> None:
        """Checkpoint when no agent does, and notice when this process was paused."""
        while not self.should_stop:
            await self.sleep(min(1.0, self.settings.checkpoint_seconds / 2))
            try:
                self._refuse_after_pause()
                self._awake = monotonic()
                async with self.busy:
                    if self.due and not self.closed and not self.app.rebalancing:
                        await self.begin()
            except Exception as error:
                end_worker(error)

    def _refuse_after_pause(self) -> None:
        if self._awake is None:
            return
        paused_seconds = monotonic() - self._awake
        if paused_seconds > self.settings.session_timeout_seconds:
            raise WorkerPausedError(
                f"this process was paused for {paused_seconds:.0f} s, longer than its session: "
                "another worker may hold its partitions; restart it"
            )

    async def begin(self) -> None:
        """Cut a checkpoint and start to write it; the caller holds `busy`.

        While one is being written, this does nothing; but if `checkpoint_events_max` events were
        folded since, it waits until that one is written.
        """
        if self._flight is not None and not self._flight.done():
            if self._counted < self.settings.checkpoint_events_max:
                return
            await self._flight
        snapshot_due = self.snapshots.due(self._column_tables)
        self._flight = asyncio.create_task(self._guarded(await self._cut()))
        if snapshot_due:
            await self._flight
            self.snapshots.save_due(self._column_tables)

    async def drain(self) -> None:
        """Write a last checkpoint, before partitions are given up or the worker stops."""
        async with self.busy:
            if self._flight is not None:
                await self._flight
            if not self.closed:
                await self._guarded(await self._cut())

    async def close(self) -> None:
        """Write a last checkpoint and snapshots; agents fold nothing more."""
        await self.drain()
        self.closed = True
        self.snapshots.save_all(self._column_tables)

    async def _guarded(self, cut: Cut) -> None:
        try:
            await self.write(cut)
        except Exception as error:
            end_worker(error)

    async def _cut(self) -> Cut:
        """Copy what has to be written of the state as it is now."""
        await self.outbox.send()
        beat = monotonic() - self._last_marker > MARKER_SECONDS_MAX
        shards, covered = [], {}
        for table, topics in self.tables.values():
            for number, shard in table.active().items():
                if shard.dirty or beat or shard.changelog.foreign:
                    shards.append(_cut_shard(table, number, shard))
                    for kind, topic in topics.items():
                        if kind in shard.state.next_offset:
                            covered[TP(topic, number)] = shard.state.next_offset[kind]
        events, self._events = self._events, []
        self._counted = 0
        self.last = monotonic()
        if beat:
            self._last_marker = self.last
        return Cut(self.outbox.take_in_flight(), shards, events, covered, perf_counter())

    async def write(self, cut: Cut) -> None:
        """Write a checkpoint, and commit the offsets that it covers.

        Parameters
        ----------
        cut
            What to write.
        """
        self._refuse_after_pause()
        await asyncio.gather(*cut.outputs)
        await asyncio.gather(*(self._write_shard(part) for part in cut.shards))
        for event in cut.events:
            event.ack()
        self.app.consumer.cover(cut.covered)
        if cut.covered:
            await self.app.consumer.commit()
        self.committed = monotonic()
        took_seconds = perf_counter() - cut.started
        shortest = self.settings.checkpoint_seconds
        self._interval_seconds = min(
            max(PAUSE_RATIO * took_seconds, shortest), INTERVAL_RATIO_MAX * shortest
        )
        self.metrics.checkpoint.observe(took_seconds)

    async def _write_shard(self, cut: ShardCut) -> None:
        """Write the rows; when they are delivered, the marker that makes them count."""
        changelog, topic, now_ms = cut.shard.changelog, cut.table.changelog_topic_name, wall_clock()
        sent = []
        for keys, values in cut.rows:
            rows = ((k, cut.header + v, now_ms) for k, v in zip(keys, values, strict=True))
            sent += await self.outbox.send_batches(topic, cut.number, rows)
            self.metrics.rows_written.labels(cut.table.name).inc(len(keys))
        places = await _places(sent)
        marker = [(MARKER_KEY, changelog.next_marker(cut.memory), now_ms)]
        places += await _places(await self.outbox.send_batches(topic, cut.number, marker))
        changelog.wrote(places, cut.memory)
        if changelog.foreign:
            logger.warning(
                "%s-%d has rows of a worker that lost it; all rows are written again",
                *(topic, cut.number),
            )
        cut.shard.covered = cut.next_offset


def _cut_shard(table: ColumnTable, number: int, shard: Shard) -> ShardCut:
    everything, shard.changelog.foreign = shard.changelog.foreign, False
    shard.touched = False
    return ShardCut(
        table,
        number,
        shard,
        list(shard.state.changes(everything)),
        shard.changelog.header(),
        shard.state.remember(),
        dict(shard.state.next_offset),
    )


async def _places(sent: Iterable[tuple[Any, int]]) -> list[tuple[int, int]]:
    """First offset and number of records of each delivered batch."""
    return [((await future).offset, records) for future, records in sent]
