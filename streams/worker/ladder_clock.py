"""The ladder clock: it lets the ladder's timers fire, which no event does.

Notices, answers, reviews and releases become due at a time.
"""

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
    """An event time that a partition's usage has reached, and the findings made until then."""

    reached_ms: int
    findings: int
    """How many findings this worker has put on the topic."""
    end: int | None = None
    """The offset after all of them; None until they are delivered."""


class LadderClock(Service):
    """Advances the ladder of each partition to the event time that all of its usage has reached.

    While a worker catches up, its ladder lives in event time, so that nothing is lifted whose next
    breach is still to be read. A ladder advances to a time only after it has read all findings
    made until then; they may wait on their topic while days of usage are read.

    Parameters
    ----------
    app
        The Faust app, which knows the end of each input.
    detect, ladder
        The detector partitions and the ladders.
    agent
        Hands the time to the ladders.
    idle
        Tells which time a partition has reached.
    cohorts
        Tells how far a partition may advance before means are known.
    """

    def __init__(
        self,
        app: Any,
        detect: ColumnTable,
        ladder: ColumnTable,
        agent: LadderAgent,
        idle: IdleClock,
        cohorts: CohortFeed,
    ) -> None:
        self.app = app
        self.detect = detect
        self.ladder = ladder
        self.agent = agent
        self.idle = idle
        self.cohorts = cohorts
        self._moments: dict[int, Moment] = {}
        super().__init__()

    @Service.task
    async def _beat(self) -> None:
        checkpointer = self.agent.checkpointer
        while not self.should_stop:
            await self.sleep(TICK_SECONDS)
            async with checkpointer.busy:
                if not self.app.rebalancing and not checkpointer.closed:
                    try:
                        self.tick()
                        await self.agent.outbox.send()
                    except Exception as error:
                        end_worker(error)

    def tick(self) -> None:
        """Advance each ladder as far as it can."""
        usage, ladders = self.detect.active(), self.ladder.active()
        both = usage.keys() & ladders.keys()
        self._moments = {n: moment for n, moment in self._moments.items() if n in both}
        for number in sorted(both):
            shard = ladders[number]
            shard.processor.set_customer_count(usage[number].processor.customer_count)
            reached_ms = self.idle.reached_ms(number, usage[number])
            reached_ms = self.cohorts.known_to_ms(usage[number].processor, reached_ms)
            moment = self._moments.pop(number, None)
            if moment is None:
                moment = Moment(reached_ms, self.agent.outbox.taken(FINDINGS, number))
            if self._has_read_all(number, moment, shard):
                # A partition that was lost meanwhile may have gone back to a checkpoint.
                self.agent.tick(shard, number, min(moment.reached_ms, reached_ms))
            else:
                self._moments[number] = moment

    def _has_read_all(self, number: int, moment: Moment, ladder: Shard) -> bool:
        """Whether the ladder has read all findings made until a moment."""
        if moment.end is None:
            end = self.agent.outbox.end_of(FINDINGS, number, moment.findings)
            if end is None:
                return False
            # There may be findings of another worker, which held the partition before.
            read_to = self.app.consumer.highwater(TP(FINDINGS, number)) or 0
            moment.end = max(end, read_to)
        return ladder.next_offset(FINDINGS) >= moment.end
