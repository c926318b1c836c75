"""Periods of silent partitions are closed by the clock: nobody waits for an event that never
comes."""

from time import monotonic
from typing import Any

from faust.types import TP
from mode import Service

from streams.agents import Detect, encode_partial
from streams.checkpoint import Checkpointer
from streams.clock import wall_clock
from streams.settings import Settings
from streams.tables import ColumnTable
from streams.topics import COHORT_AVERAGES, USAGE_PREFIX

KIND = "data"
"""The kind whose rules compare closed periods."""

CHECK_SECONDS = 20.0


class IdleCloser(Service):
    """Watches for partitions that are read to their end and have been silent for long."""

    def __init__(
        self,
        app: Any,
        table: ColumnTable,
        detect: Detect,
        checkpointer: Checkpointer,
        settings: Settings,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.table = table
        self.detect = detect
        self.checkpointer = checkpointer
        self.silence_seconds = settings.idle_close_minutes * 60
        self._seen: dict[int, tuple[int, float]] = {}
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
            offset = shard.state.next_offset.get(KIND, 0)
            since = self._seen.get(number)
            if since is None or since[0] != offset:
                self._seen[number] = (offset, monotonic())
                continue
            end = self.app.consumer.highwater(TP(USAGE_PREFIX + KIND, number))
            if monotonic() - since[1] < self.silence_seconds or (end or 0) > offset:
                continue
            partials = shard.state.close_idle(KIND, wall_clock())
            for partial in partials:
                self.checkpointer.outbox.put(COHORT_AVERAGES, 0, *encode_partial(partial))
            if partials:
                shard.touched = True
