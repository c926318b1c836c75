"""Means over all partitions and workers, by way of one compacted topic.

A partition that closes a period writes its partial sums. The worker that holds partition 0 writes
the mean when the sums of all partitions are there. Both follow from the input alone, so that
writing one twice changes nothing. Every worker reads the whole topic.
"""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import aiokafka
import msgspec
from mode import Service
from mode.utils.logging import get_logger

from detectors.fold.cohort_means import CohortMeans
from detectors.fold.findings import MEANS_MS
from detectors.fold.partition import Partition
from schemas.records import CohortAverage, CohortPartial, Finding
from schemas.topics import COHORT_AVERAGES
from schemas.units import DAY_MS
from streams.checkpoints.checkpoint import Checkpointer
from streams.checkpoints.tables import ColumnTable
from streams.errors import end_worker

logger = get_logger(__name__)

record_decoder = msgspec.json.Decoder(CohortPartial | CohortAverage)
encoder = msgspec.json.Encoder()

RECENT_MS = 40 * DAY_MS
"""Nobody waits for the mean of a period that closed longer ago."""

WAIT_SECONDS = 1_800.0
"""How long a partition waits for a mean; by then the clock has closed silent partitions."""


class CohortFeed(Service):
    """Reads `cohort-averages` and hands each mean to the partitions that this worker writes.

    Parameters
    ----------
    broker
        Kafka bootstrap addresses, host:port, comma-separated.
    table
        The detector partitions.
    checkpointer
        Its lock is held while means are handed over.
    report
        Called with the number of a partition and the findings that a mean led to.
    """

    def __init__(
        self,
        broker: str,
        table: ColumnTable,
        checkpointer: Checkpointer,
        report: Callable[[int, list[Finding]], None],
    ) -> None:
        self.broker = broker
        self.table = table
        self.checkpointer = checkpointer
        self.report = report
        self.partitions = 0
        """How many partitions there are over all workers."""
        self.averages = CohortMeans()
        self._missing: dict[tuple[str, int], float] = {}
        """Monotonic time, s, since when a rule's period waits for its means."""
        super().__init__()

    @Service.task
    async def _follow(self) -> None:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.broker, auto_offset_reset="earliest", enable_auto_commit=False
        )
        try:
            await consumer.start()
            consumer.assign([aiokafka.TopicPartition(COHORT_AVERAGES, 0)])
            while not self.should_stop:
                fetched = await consumer.getmany(timeout_ms=200)
                records = [record for part in fetched.values() for record in part]
                if records:
                    async with self.checkpointer.busy:
                        self._take(records)
                        await self.checkpointer.outbox.send()
        except Exception as error:
            end_worker(error)
        finally:
            await consumer.stop()

    def _take(self, records: list[Any]) -> None:
        for record in records:
            try:
                read = record_decoder.decode(record.value or b"")
            except (ValueError, UnicodeError):
                logger.warning("%s@%d is no average; it is ignored", COHORT_AVERAGES, record.offset)
                continue
            if isinstance(read, CohortAverage):
                if self.averages.freeze(read):
                    self._apply(read, list(self.table.active()))
            else:
                self.averages.add(read)
        if 0 in self.table.active():
            for average in self.averages.complete(self.partitions):
                key = f"{average.rule}|{average.cohort}|{average.period_start_ms}".encode()
                self.checkpointer.outbox.put(COHORT_AVERAGES, 0, key, encoder.encode(average))

    def known_to_ms(self, partition: Partition, reached_ms: int) -> int:
        """Limit the time of a partition to the first means that count and are missing.

        Parameters
        ----------
        partition
            The partition.
        reached_ms
            Event time that it has reached.

        Returns
        -------
        The event time from which those means count, or `reached_ms` if that is earlier, or none
        is missing, or `WAIT_SECONDS` have passed.
        """
        now = monotonic()
        self._missing = {k: since for k, since in self._missing.items() if not self._is_in(*k)}
        waits = [
            closes_ms + MEANS_MS
            for rule, start_ms, closes_ms in self._counting(partition, reached_ms - MEANS_MS)
            if not self._is_in(rule, start_ms)
            and now - self._missing.setdefault((rule, start_ms), now) < WAIT_SECONDS
        ]
        return min(waits, default=reached_ms)

    def _counting(self, partition: Partition, until_ms: int) -> Iterator[tuple[str, int, int]]:
        """Rule, start and closing time of each recent period that a partition has closed."""
        return partition.cohort_periods(until_ms - RECENT_MS, until_ms)

    def _is_in(self, rule: str, start_ms: int) -> bool:
        return self.averages.is_complete(rule, start_ms, self.partitions)

    def hand_over(self, partitions: list[int], partition_count: int) -> None:
        """Hand all known means to partitions that this worker begins to write.

        Parameters
        ----------
        partitions
            Their numbers.
        partition_count
            How many partitions there are over all workers.
        """
        self.partitions = partition_count
        for average in self.averages.frozen:
            self._apply(average, partitions)

    def _apply(self, average: CohortAverage, partitions: list[int]) -> None:
        for number in partitions:
            shard = self.table.shards[number]
            self.report(number, shard.processor.take_mean(average))
            shard.touched = True
