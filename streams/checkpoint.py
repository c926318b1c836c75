"""Checkpoints: what was sent is delivered, touched rows and markers are delivered, offsets committed.

Any failure on the way ends the worker; it restarts from its last checkpoint.
"""

import asyncio
from collections.abc import Iterable
from time import monotonic, perf_counter
from typing import Any

from faust.types import TP
from mode import Service
from mode.utils.logging import get_logger

from streams.changelog import MARKER_KEY
from streams.clock import wall_clock
from streams.crash import end_worker
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.settings import Settings
from streams.snapshots import Snapshots
from streams.tables import ColumnTable, Shard

logger = get_logger(__name__)

MARKER_SECONDS_MAX = 600
"""A marker is written at least so often, long before compaction could touch an older one."""


class WorkerPausedError(Exception):
    """This process stood still for longer than its session."""


class Checkpointer(Service):
    """Makes all active shards of all tables durable, together.

    `busy` is held while an agent folds a batch or a checkpoint is written, never both at once.
    """

    def __init__(
        self,
        app: Any,
        outbox: Outbox,
        settings: Settings,
        metrics: Metrics,
        snapshots: Snapshots,
        **kwargs: Any,
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
        self.last = self._last_marker = monotonic()
        self._awake: float | None = None
        super().__init__(**kwargs)

    def add_table(self, table: ColumnTable, topic_of_kind: dict[str, str]) -> None:
        """Cover a table; `topic_of_kind` names the topic each of its inputs comes from."""
        self.tables[table.name] = (table, topic_of_kind)

    def folded(self, event: Any, records: int) -> None:
        """Note a batch that was folded; it is let go of by the next checkpoint."""
        self._events.append(event)
        self._counted += records

    @property
    def _column_tables(self) -> dict[str, ColumnTable]:
        return {name: table for name, (table, _) in self.tables.items()}

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return (
            self._counted >= self.settings.checkpoint_events_max
            or monotonic() - self.last >= self.settings.checkpoint_seconds
        )

    @Service.task
    async def _beat(self) -> None:
        """Checkpoint when no batch comes to do it, and notice when this process stood still."""
        while not self.should_stop:
            await self.sleep(min(1.0, self.settings.checkpoint_seconds / 2))
            try:
                self._refuse_after_pause()
                self._awake = monotonic()
                async with self.busy:
                    if self.due and not self.closed and not self.app.rebalancing:
                        await self.write()
            except Exception as error:  # noqa: BLE001
                end_worker(error)

    def _refuse_after_pause(self) -> None:
        if self._awake is None:
            return
        paused_seconds = monotonic() - self._awake
        if paused_seconds > self.settings.session_timeout_seconds:
            raise WorkerPausedError(
                f"this process stood still for {paused_seconds:.0f} s, longer than its session: "
                "another worker may hold its partitions; restart it"
            )

    async def drain(self) -> None:
        """A last checkpoint before partitions are given up or the worker stops."""
        async with self.busy:
            if not self.closed:
                try:
                    await self.write()
                except Exception as error:  # noqa: BLE001
                    end_worker(error)

    async def close(self) -> None:
        """Make durable what was taken in, and take in nothing more."""
        await self.drain()
        self.closed = True
        self.snapshots.save_all(self._column_tables)

    async def write(self, everything: bool = False) -> None:
        """Write one checkpoint; the caller holds `busy`."""
        self._refuse_after_pause()
        started = perf_counter()
        await self.outbox.send()
        await self.outbox.delivered()
        beat = monotonic() - self._last_marker > MARKER_SECONDS_MAX
        covered: dict[TP, int] = {}
        writes = []
        for table, topics in self.tables.values():
            for number, shard in table.active().items():
                if shard.dirty or beat or everything or shard.changelog.foreign:
                    writes.append(self._write_shard(table, number, shard))
                    covered |= {
                        TP(topics[kind], number): offset
                        for kind, offset in shard.state.next_offset.items()
                    }
        await asyncio.gather(*writes)
        events, self._events = self._events, []
        for event in events:
            event.ack()
        self.app.consumer.cover(covered)
        if covered:
            await self.app.consumer.commit()
        self._counted = 0
        self.last = monotonic()
        if beat or everything:
            self._last_marker = self.last
        self.snapshots.save_due(self._column_tables)
        self.metrics.checkpoint.observe(perf_counter() - started)

    async def _write_shard(self, table: ColumnTable, number: int, shard: Shard) -> None:
        """Rows first, delivered; then the marker that makes them count, delivered."""
        changelog, topic = shard.changelog, table.changelog_topic_name
        next_offset = dict(shard.state.next_offset)
        everything, changelog.foreign = changelog.foreign, False
        header, now_ms = changelog.header(), wall_clock()
        sent = []
        for keys, values in shard.state.changes(everything):
            rows = ((k, header + v, now_ms) for k, v in zip(keys, values, strict=True))
            sent += await self.outbox.send_batches(topic, number, rows)
            self.metrics.rows_written.labels(table.name).inc(len(keys))
        places = await _places(sent)
        memory = shard.state.remember()
        marker = [(MARKER_KEY, changelog.next_marker(memory), now_ms)]
        places += await _places(await self.outbox.send_batches(topic, number, marker))
        changelog.wrote(places, memory)
        if changelog.foreign:
            logger.warning("%s-%d was written by a lost worker; writing it anew", topic, number)
        shard.covered = next_offset


async def _places(sent: Iterable[tuple[Any, int]]) -> list[tuple[int, int]]:
    """First offset and number of records of each delivered batch."""
    return [((await future).offset, records) for future, records in sent]
