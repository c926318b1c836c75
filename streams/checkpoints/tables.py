"""Column tables: the state of partitions behind Faust's `Table` and `Store`, so that Faust assigns
the partitions, recovers their state and keeps standbys.
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
"""Changelog batches that Faust collects before it applies them; 1 has another meaning in Faust."""


class ShardState(Held, Protocol):
    """State of one partition that checkpoints and snapshots store."""

    next_offset: dict[str, int]
    """Next offset to read of each input."""

    def passed(self, kind: str, offset: int) -> None:
        """Note that an input was read, usable or not.

        Parameters
        ----------
        kind
            The input.
        offset
            Last offset that was read.
        """
        ...

    def changes(self, everything: bool = False) -> Iterable[tuple[list[bytes], list[bytes]]]:
        """Pack the rows that were touched since the last call.

        Parameters
        ----------
        everything
            Whether to pack all rows.

        Returns
        -------
        Keys and values, in parts.
        """
        ...

    def remember(self) -> bytes:
        """Pack what belongs to the partition as a whole.

        Returns
        -------
        What `recall` takes.
        """
        ...

    def arrays(self) -> dict[str, NDArray]:
        """Name the columns of all rows, for a snapshot.

        Returns
        -------
        The columns, by name.
        """
        ...

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Put the columns of a snapshot back.

        Parameters
        ----------
        arrays
            What `arrays` gave.
        """
        ...

    def set_aside(self) -> None:
        """Prepare to restore rows that another writer writes from now on."""
        ...


@dataclass(slots=True)
class Shard:
    """One partition of a table."""

    processor: Any
    """The detector partition or the ladder whose state this is."""
    changelog: Changelog
    active: bool = False
    """Whether this worker writes it; else it is a standby."""
    covered: dict[str, int] | None = None
    """Next offset of each input at the last checkpoint."""
    touched: bool = False
    """Whether the state changed since the last checkpoint without input, as by a mean."""

    @property
    def state(self) -> ShardState:
        """The state of the processor."""
        return self.processor.state

    def next_offset(self, kind: str) -> int:
        """Tell where to go on reading an input.

        Parameters
        ----------
        kind
            The input.

        Returns
        -------
        Its next offset, 0 if nothing was read.
        """
        return self.state.next_offset.get(kind, 0)

    def set_aside(self) -> None:
        """Become a standby, which follows what another worker writes."""
        self.active = False
        self.changelog.release()
        self.state.set_aside()

    @property
    def dirty(self) -> bool:
        """Whether the state changed since the last checkpoint."""
        return self.touched or self.covered != self.state.next_offset


class ColumnStore(Store):
    """Faust's view of a column table: which changelog records it holds, and which it needs.

    Parameters
    ----------
    url, app, kwargs
        The parameters of the base class.
    table
        The column table.
    """

    table: Any

    def __init__(self, url: Any, app: Any, table: "ColumnTable", **kwargs: Any) -> None:
        super().__init__(url, app, table, **kwargs)
        self.data = {}

    def persisted_offset(self, tp: TP) -> int | None:
        """Last changelog offset that was applied; None if there is none."""
        shard = self.table.shards.get(tp.partition)
        return None if shard is None or shard.changelog.position < 0 else shard.changelog.position

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Do nothing: the changelog keeps its own position."""

    async def backup_partition(self, tp: Any, *args: Any, **options: Any) -> None:
        """Not used: snapshots and the changelog do this work."""
        raise NotImplementedError("column tables are backed up by their changelog")

    def restore_backup(self, tp: Any, *args: Any, **options: Any) -> None:
        """Not used: snapshots and the changelog do this work."""
        raise NotImplementedError("column tables are restored from their changelog")

    def reset_state(self) -> None:
        """Forget every partition."""
        self.table.shards.clear()

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        """Apply changelog batches; an error ends the worker, as Faust would only log it."""
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
        """Drop partitions that other workers hold, and become standby of those they write."""
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
        """Begin to write the active partitions; standbys stay as they are."""
        try:
            await self.table.take_over([tp.partition for tp in active_tps])
        except Exception as error:
            end_worker(error)


class ColumnTable(Table):
    """A Faust table whose partitions are shards of columns.

    Parameters
    ----------
    app
        The Faust app.
    new_processor
        Makes the detector partition or ladder of a number, with an empty state.
    writer
        A number this process drew at its start.
    on_take_over
        Called with the partitions that this worker begins to write, before their input is read.
    load_snapshot
        Loads the shard of a partition from its local snapshot; None if there is none.
    kwargs
        Other parameters of the base class.
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
        """Get the shard of a partition; a new one begins at the local snapshot, or empty.

        Parameters
        ----------
        partition
            Its number.

        Returns
        -------
        The shard.
        """
        shard = self.shards.get(partition)
        if shard is None:
            shard = self.load_snapshot(self, partition) or self.new_shard(partition)
            self.shards[partition] = shard
        return shard

    def new_shard(self, partition: int) -> Shard:
        """Make an empty shard.

        Parameters
        ----------
        partition
            Number of its partition.

        Returns
        -------
        The shard; the table does not hold it.
        """
        processor = self.new_processor(partition)
        return Shard(processor, Changelog(processor.state, self.writer))

    def active(self) -> dict[int, Shard]:
        """Select the shards that this worker writes.

        Returns
        -------
        The shards, by the number of their partition.
        """
        return {number: shard for number, shard in self.shards.items() if shard.active}

    def partition_count(self) -> int:
        """Count the partitions of the table over all workers.

        Returns
        -------
        The count, as far as the group's assignment tells; at least 1.
        """
        name = self.changelog_topic_name
        held = self.app.assignor.tables_metadata().values()
        return 1 + max((n for topics in held for n in topics.get(name, ())), default=0)

    async def take_over(self, partitions: list[int]) -> None:
        """Begin to write partitions.

        Parameters
        ----------
        partitions
            Their numbers.
        """
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
