"""The ladder's timers: notices, answers, reviews and releases fall due without any event."""

from typing import Any

from mode import Service

from streams.agents import Judge
from streams.crash import end_worker
from streams.idle import IdleCloser
from streams.tables import ColumnTable

TICK_SECONDS = 1.0


class Ticker(Service):
    """Tells each partition's ladder how far time has come: as far as all of its usage was read.

    While a worker catches up its ladder lives in the time of the events, so nothing is lifted
    whose next breach is still to be read.
    """

    def __init__(
        self,
        app: Any,
        detect: ColumnTable,
        verdict: ColumnTable,
        judge: Judge,
        idle: IdleCloser,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.detect = detect
        self.verdict = verdict
        self.judge = judge
        self.idle = idle
        super().__init__(**kwargs)

    @Service.task
    async def _beat(self) -> None:
        checkpointer = self.judge.checkpointer
        while not self.should_stop:
            await self.sleep(TICK_SECONDS)
            async with checkpointer.busy:
                if not self.app.rebalancing and not checkpointer.closed:
                    try:
                        self._tick()
                        await self.judge.outbox.send()
                    except Exception as error:
                        end_worker(error)

    def _tick(self) -> None:
        usage = self.detect.active()
        for number, shard in self.verdict.active().items():
            if number in usage:
                shard.state.brake.customers = usage[number].state.directory.size
                reached_ms = self.idle.reached_ms(number, usage[number])
                self.judge.tick(shard, number, reached_ms)
