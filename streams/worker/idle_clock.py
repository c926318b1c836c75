"""The idle clock: it closes the periods of partitions to which no events come any more."""

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
    """Closes periods by the wall clock for kinds of event that are read to their end and silent.

    Parameters
    ----------
    app
        The Faust app, which knows the end of each input.
    table
        The detector partitions.
    detect
        Publishes what a closed period leads to.
    checkpointer
        Its lock is held meanwhile.
    settings
        For how long a kind has to be silent.
    """

    def __init__(
        self,
        app: Any,
        table: ColumnTable,
        detect: DetectAgent,
        checkpointer: Checkpointer,
        settings: WorkerSettings,
    ) -> None:
        self.app = app
        self.table = table
        self.detect = detect
        self.checkpointer = checkpointer
        self.silence_seconds = settings.idle_close_minutes * 60
        self._seen: dict[tuple[int, str], tuple[int, float]] = {}
        """Next offset of each partition and kind, and since when, monotonic s, it stays."""
        self._silent: dict[int, set[str]] = {}
        """Silent kinds of each partition."""
        super().__init__()

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
        """Tell which time all kinds of event of a partition have reached.

        Parameters
        ----------
        number
            Number of the partition.
        shard
            Its shard.

        Returns
        -------
        Event time, ms; for silent kinds the wall clock counts.
        """
        return shard.processor.reached_ms(self._silent.get(number, set()), wall_clock())

    def _is_silent(self, number: int, kind: str, shard: Shard) -> bool:
        """Whether a kind is read to its end and nothing came for `silence_seconds`."""
        offset = shard.next_offset(kind)
        since = self._seen.get((number, kind))
        if since is None or since[0] != offset:
            self._seen[number, kind] = (offset, monotonic())
            return False
        end = self.app.consumer.highwater(TP(USAGE_PREFIX + kind, number))
        return monotonic() - since[1] >= self.silence_seconds and (end or 0) <= offset
