"""Periods of silent partitions are closed by the clock: nobody waits for an event that never
comes."""

from time import monotonic
from typing import Any

from faust.types import TP
from mode import Service

from schemas.topics import USAGE_PREFIX
from streams.checkpoints.checkpoint import Checkpointer
from streams.checkpoints.tables import ColumnTable, Shard
from streams.clock import wall_clock
from streams.settings import WorkerSettings
from streams.worker.agents import DetectAgent

CHECK_SECONDS = 20.0


class IdleClock(Service):
    """Watches for partitions that are read to their end and have been silent for long."""

    def __init__(
        self,
        app: Any,
        table: ColumnTable,
        detect: DetectAgent,
        checkpointer: Checkpointer,
        settings: WorkerSettings,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.table = table
        self.detect = detect
        self.checkpointer = checkpointer
        self.silence_seconds = settings.idle_close_minutes * 60
        self._seen: dict[tuple[int, str], tuple[int, float]] = {}
        self._silent: dict[int, set[str]] = {}
        super().__init__(**kwargs)

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(CHECK_SECONDS)
            async with self.checkpointer.busy:
                if not self.app.rebalancing and not self.checkpointer.closed:
                    self._close_silent()
                    await self.checkpointer.outbox.send()

    def _close_silent(self) -> None:
        for number, shard in self.table.active().items():
            silent = {
                kind for kind in shard.processor.kinds if self._is_silent(number, kind, shard)
            }
            self._silent[number] = silent
            outcome = shard.processor.close_idle(silent, wall_clock())
            self.detect.publish(number, outcome)
            if outcome.partials or outcome.placed:
                shard.touched = True

    def reached_ms(self, number: int, shard: Shard) -> int:
        """The time that all of a partition's usage has reached; of silent kinds, the clock's."""
        return shard.processor.reached_ms(self._silent.get(number, set()), wall_clock())

    def _is_silent(self, number: int, kind: str, shard: Shard) -> bool:
        """Whether all of a kind is read, and nothing came for long."""
        offset = shard.state.next_offset.get(kind, 0)
        since = self._seen.get((number, kind))
        if since is None or since[0] != offset:
            self._seen[number, kind] = (offset, monotonic())
            return False
        end = self.app.consumer.highwater(TP(USAGE_PREFIX + kind, number))
        return monotonic() - since[1] >= self.silence_seconds and (end or 0) <= offset
