"""The ladder's timers: notices, answers, reviews and releases fall due without any event."""

from dataclasses import dataclass
from typing import Any

from faust.types import TP
from mode import Service

from schemas.topics import FINDINGS
from streams.checkpoints.tables import ColumnTable, Shard
from streams.errors import end_worker
from streams.worker.agents import LadderAgent
from streams.worker.cohort_feed import CohortFeed
from streams.worker.idle_clock import IdleClock

TICK_SECONDS = 1.0


@dataclass(slots=True)
class Moment:
    """How far a partition's usage was read, and how many findings it had led to here by then.

    `end` is the offset after those findings, and after all that stood before them; None until it is
    known.
    """

    reached_ms: int
    findings: int
    end: int | None = None


class LadderClock(Service):
    """Tells each partition's ladder how far time has come: as far as all of its usage was read.

    While a worker catches up its ladder lives in the time of the events, so nothing is lifted
    whose next breach is still to be read. What was found by a moment is heard before that moment
    comes: findings may wait on their topic for as long as days of usage take to be read.
    """

    def __init__(
        self,
        app: Any,
        detect: ColumnTable,
        verdict: ColumnTable,
        judge: LadderAgent,
        idle: IdleClock,
        cohorts: CohortFeed,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.detect = detect
        self.verdict = verdict
        self.judge = judge
        self.idle = idle
        self.cohorts = cohorts
        self._moments: dict[int, Moment] = {}
        super().__init__(**kwargs)

    @Service.task
    async def _beat(self) -> None:
        checkpointer = self.judge.checkpointer
        while not self.should_stop:
            await self.sleep(TICK_SECONDS)
            async with checkpointer.busy:
                if not self.app.rebalancing and not checkpointer.closed:
                    try:
                        self.tick()
                        await self.judge.outbox.send()
                    except Exception as error:
                        end_worker(error)

    def tick(self) -> None:
        """Let time go on in each partition as far as it can."""
        usage, verdicts = self.detect.active(), self.verdict.active()
        both = usage.keys() & verdicts.keys()
        self._moments = {n: moment for n, moment in self._moments.items() if n in both}
        for number in sorted(both):
            shard = verdicts[number]
            shard.processor.set_customer_count(usage[number].processor.customer_count)
            reached_ms = self.idle.reached_ms(number, usage[number])
            reached_ms = self.cohorts.known_to_ms(usage[number].processor, reached_ms)
            moment = self._moments.pop(number, None)
            if moment is None:
                moment = Moment(reached_ms, self.judge.outbox.taken(FINDINGS, number))
            if self._is_heard(number, moment, shard):
                # A partition that was away meanwhile may have gone back to a checkpoint.
                self.judge.tick(shard, number, min(moment.reached_ms, reached_ms))
            else:
                self._moments[number] = moment

    def _is_heard(self, number: int, moment: Moment, verdicts: Shard) -> bool:
        """Whether the ladder has heard of all that was found by a moment."""
        if moment.end is None:
            end = self.judge.outbox.end_of(FINDINGS, number, moment.findings)
            if end is None:
                return False
            # Another worker may have left some.
            read_to = self.app.consumer.highwater(TP(FINDINGS, number)) or 0
            moment.end = max(end, read_to)
        return verdicts.state.next_offset.get(FINDINGS, 0) >= moment.end
