"""`fairuse worker` with a stopwatch: says when it is ready and when all events are committed."""

import asyncio
import sys
from collections.abc import Iterable
from functools import wraps
from time import perf_counter
from typing import Any

import msgspec
from aiokafka.consumer.fetcher import Fetcher

from schemas.topics import USAGE_PREFIX
from streams.checkpoints.changelog import MARKER_KEY
from streams.checkpoints.checkpoint import Checkpointer
from streams.checkpoints.tables import ColumnStore, ColumnTable
from streams.cli.run import run_worker
from streams.settings import WorkerSettings
from tests.bench.children import say, told

TABLES = 2


class Stopwatch:
    """Follows one worker from its assignment over its recovery to the end of its input.

    Recovery lasts from the assignment until the last table is taken over. What follows begins with
    the first request for usage, and ends with the checkpoint after the last event. That one is made
    at once, as it would be on a stream that goes on, and not when the timer would have brought it.
    """

    def __init__(self, events: int) -> None:
        self.events = events
        self.draining: asyncio.Task[None] | None = None
        self.taken = self.checkpoints = self.rows = self.tables_ready = 0
        self.assigned = self.ready = self.asked = self.first = self.applying = 0.0

    def on_rebalance(self) -> None:
        """A table was assigned."""
        self.assigned = self.assigned or perf_counter()

    def applied(self, batch: Any, started: float) -> None:
        """Changelog batches were taken in."""
        self.applying += perf_counter() - started
        self.rows += sum(row.key != MARKER_KEY for event in batch for row in event.value)

    def taken_over(self) -> None:
        """A table is ready."""
        self.tables_ready += 1
        self.ready = perf_counter()
        if self.tables_ready == TABLES:
            say(
                said="ready",
                rows=self.rows,
                seconds=self.ready - self.assigned,
                seconds_applying=self.applying,
            )

    def fetching(self, topics: Iterable[str]) -> None:
        """Records are asked for."""
        if not self.asked and any(topic.startswith(USAGE_PREFIX) for topic in topics):
            self.asked = perf_counter()

    def folded(self, checkpointer: Checkpointer, topic: str, records: int) -> None:
        """A batch was folded."""
        if topic.startswith(USAGE_PREFIX):
            self.first = self.first or perf_counter()
            self.taken += records
            if self.taken == self.events:
                self.draining = asyncio.create_task(checkpointer.drain())

    def written(self, checkpointer: Checkpointer) -> None:
        """A checkpoint was written and committed."""
        self.checkpoints += 1
        detect, _ = checkpointer.tables["detect"]
        covered = not any(shard.dirty for shard in detect.active().values())
        if self.taken == self.events and covered:
            now = perf_counter()
            # Nothing that was asked for earlier is kept.
            started = max(self.asked, self.ready)
            say(
                said="done",
                seconds=now - started,
                seconds_from_ready=now - self.ready,
                seconds_from_first_batch=now - self.first,
                checkpoints=self.checkpoints,
            )
            self.events = -1

    def attach(self) -> None:
        """Hook it into the worker's classes."""
        on_rebalance, apply = ColumnStore.on_rebalance, ColumnStore.apply_changelog_batch
        take_over, folded = ColumnTable.take_over, Checkpointer.folded
        write, fetch = Checkpointer.write, Fetcher._proc_fetch_request

        @wraps(fetch)
        async def measured_fetch(fetcher: Any, assignment: Any, node: int, request: Any) -> Any:
            self.fetching(topic for topic, _ in request.topics)
            return await fetch(fetcher, assignment, node, request)

        @wraps(on_rebalance)
        async def measured_on_rebalance(store: Any, *args: Any, **kwargs: Any) -> None:
            self.on_rebalance()
            await on_rebalance(store, *args, **kwargs)

        @wraps(apply)
        def measured_apply(store: Any, batch: Any, *args: Any, **kwargs: Any) -> None:
            started, batch = perf_counter(), list(batch)
            apply(store, batch, *args, **kwargs)
            self.applied(batch, started)

        @wraps(take_over)
        async def measured_take_over(table: Any, partitions: list[int]) -> None:
            await take_over(table, partitions)
            self.taken_over()

        @wraps(folded)
        def measured_folded(checkpointer: Any, event: Any, records: int) -> None:
            folded(checkpointer, event, records)
            self.folded(checkpointer, event.message.topic, records)

        @wraps(write)
        async def measured_write(checkpointer: Any, *args: Any, **kwargs: Any) -> None:
            await write(checkpointer, *args, **kwargs)
            self.written(checkpointer)

        Fetcher._proc_fetch_request = measured_fetch
        ColumnStore.on_rebalance = measured_on_rebalance
        ColumnStore.apply_changelog_batch = measured_apply
        ColumnTable.take_over = measured_take_over
        Checkpointer.folded = measured_folded
        Checkpointer.write = measured_write


def main(settings: dict[str, Any], events: int) -> int:
    """Run the worker; `events` is how much its input holds, -1 when nobody asks for the end."""
    Stopwatch(events).attach()
    return run_worker(msgspec.convert(settings, WorkerSettings), "warning")


if __name__ == "__main__":
    sys.exit(main(**told()))
