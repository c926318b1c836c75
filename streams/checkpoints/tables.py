"""Column tables: partitions of state behind Faust's Table and Store, so that Faust assigns,
recovers and keeps standbys of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import faust
from faust.stores.base import Store
from faust.tables.table import Table
from faust.types import TP
from numpy.typing import NDArray

from streams.broker.lane import raw_schema
from streams.checkpoints.changelog import Changelog, ChangelogError, Held
from streams.errors import end_worker

BATCHES_BUFFERED = 2
"""Changelog batches Faust gathers before it applies them; 1 has another meaning in Faust."""


class ShardState(Held, Protocol):
    """State of one partition that can be checkpointed."""

    next_offset: dict[str, int]

    def passed(self, kind: str, offset: int) -> None:
        """Everything of a kind up to this offset was seen."""
        ...

    def changes(self, everything: bool = False) -> Iterable[tuple[list[bytes], list[bytes]]]:
        """Keys and values of every row touched since the last call."""
        ...

    def remember(self) -> bytes:
        """What belongs to the partition as a whole."""
        ...

    def arrays(self) -> dict[str, NDArray]:
        """Everything that rows hold, for a snapshot."""
        ...

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        ...

    def set_aside(self) -> None:
        """Stand as at the last checkpoint, ready for rows that another writer wrote after it."""
        ...


@dataclass(slots=True)
class Shard:
    """One partition of a table: its state, its changelog, and what its last checkpoint covered.

    `processor` is the partition or the ladder whose state it is. `touched` tells that the state
    changed without input, as by a cohort's mean.
    """

    processor: Any
    changelog: Changelog
    active: bool = False
    covered: dict[str, int] | None = None
    touched: bool = False

    @property
    def state(self) -> ShardState:
        """What the processor keeps."""
        return self.processor.state

    def set_aside(self) -> None:
        """Go on as a copy of what another worker writes from now on."""
        self.active = False
        self.changelog.release()
        self.state.set_aside()

    @property
    def dirty(self) -> bool:
        """Whether anything was taken in since the last checkpoint."""
        return self.touched or self.covered != self.state.next_offset


class ColumnStore(Store):
    """The partitions that Faust gave this worker, as actives or standbys."""

    def __init__(self, url: Any, app: Any, table: Any, **kwargs: Any) -> None:
        super().__init__(url, app, table, **kwargs)
        self.data: Mapping[Any, Any] = {}

    def persisted_offset(self, tp: TP) -> int | None:
        """Last changelog offset that is already here."""
        shard = self.table.shards.get(tp.partition)
        return None if shard is None or shard.changelog.position < 0 else shard.changelog.position

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Nothing to do: the changelog keeps its own position."""

    async def backup_partition(self, tp: Any, **options: Any) -> None:
        """Not used: snapshots and the changelog do this work."""
        raise NotImplementedError("column tables are backed up by their changelog")

    def restore_backup(self, tp: Any, **options: Any) -> None:
        """Not used: snapshots and the changelog do this work."""
        raise NotImplementedError("column tables are restored from their changelog")

    def reset_state(self) -> None:
        """Forget every partition."""
        self.table.shards.clear()

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        """Take in changelog batches; a fault ends the worker, for Faust would only log it."""
        try:
            for event in batch:
                shard = self.table.hold(event.message.tp.partition)
                shard.changelog.read((r.offset, r.key, r.value) for r in event.value)
        except Exception as error:
            end_worker(error)

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Forget the partitions that went elsewhere, and only follow those others write now."""
        name = self.table.changelog_topic_name
        kept = {tp.partition for tp in assigned if tp.topic == name}
        actives = {tp.partition for tp in self.app.assignor.assigned_actives() if tp.topic == name}
        for partition in set(self.table.shards) - kept:
            del self.table.shards[partition]
        for partition in kept:
            shard = self.table.hold(partition)
            if shard.active and partition not in actives:
                try:
                    shard.set_aside()
                except ChangelogError as error:
                    end_worker(error)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Begin to write where this worker is the holder; keep standbys as they are."""
        try:
            await self.table.take_over([tp.partition for tp in active_tps])
        except Exception as error:
            end_worker(error)


class ColumnTable(Table):
    """A table whose partitions are shards of columns.

    Parameters
    ----------
    app
        The Faust app.
    new_processor
        Makes the partition or ladder of a number, with an empty state.
    writer
        A number this process drew at its start.
    on_take_over
        Called with the partitions that this worker begins to hold, before their input flows.
    """

    def __init__(
        self,
        app: faust.App,
        *,
        new_processor: Callable[[int], Any],
        writer: int,
        on_take_over: Callable[["ColumnTable", list[int]], Any],
        load_snapshot: Callable[["ColumnTable", int], Shard | None],
        **kwargs: Any,
    ) -> None:
        self.new_processor = new_processor
        self.writer = writer
        self.on_take_over = on_take_over
        self.load_snapshot = load_snapshot
        self.shards: dict[int, Shard] = {}
        super().__init__(
            app,
            key_type=bytes,
            value_type=bytes,
            recovery_buffer_size=BATCHES_BUFFERED,
            schema=raw_schema(),
            **kwargs,
        )

    def hold(self, partition: int) -> Shard:
        """The shard of a partition; begun from the local snapshot, or empty."""
        shard = self.shards.get(partition)
        if shard is None:
            shard = self.load_snapshot(self, partition) or self.new_shard(partition)
            self.shards[partition] = shard
        return shard

    def new_shard(self, partition: int) -> Shard:
        """An empty shard."""
        processor = self.new_processor(partition)
        return Shard(processor, Changelog(processor.state, self.writer))

    def active(self) -> dict[int, Shard]:
        """The shards that this worker writes."""
        return {number: shard for number, shard in self.shards.items() if shard.active}

    def partition_count(self) -> int:
        """How many partitions the table has over all workers."""
        name = self.changelog_topic_name
        held = self.app.assignor.tables_metadata().values()
        return 1 + max((n for topics in held for n in topics.get(name, ())), default=0)

    async def take_over(self, partitions: list[int]) -> None:
        """Begin to write these partitions, and say so in their changelogs."""
        for partition in partitions:
            shard = self.hold(partition)
            shard.changelog.take_over()
            shard.active = True
        await self.on_take_over(self, partitions)

    def on_key_set(self, key: Any, value: Any) -> None:
        """Refuse single writes: rows are written by checkpoints."""
        raise TypeError("a column table is written by checkpoints, not by key")

    def on_key_del(self, key: Any) -> None:
        """Refuse single deletes."""
        raise TypeError("a column table is written by checkpoints, not by key")
