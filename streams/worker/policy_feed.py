"""Policies that take effect while a worker runs: read from their topic, handed to partitions."""

import asyncio
from collections import deque
from typing import Any

import aiokafka
from mode import Service
from mode.utils.logging import get_logger

from detectors.policies.editions import decode_edition
from detectors.policies.timeline import Timeline
from schemas.decode import Reject
from schemas.policy import Policy
from schemas.topics import POLICIES
from streams.checkpoints.checkpoint import Checkpointer
from streams.checkpoints.tables import ColumnTable
from streams.dead_letters import POLICY_REASON
from streams.errors import end_worker
from streams.worker.agents import DetectAgent

logger = get_logger(__name__)

TOPIC = aiokafka.TopicPartition(POLICIES, 0)

REFUSED_MAX = 64
"""Refused records that a worker keeps, in case it gets to hold partition 0 later."""


class PolicyFeed(Service):
    """Reads `policies` to its end before any usage is read, and goes on reading it.

    Every worker reads the whole topic and hands the policies to the partitions that it writes. The
    worker that holds partition 0 writes dead letters for refused records; that partition remembers
    up to which offset, so that each is written once.

    Parameters
    ----------
    broker
        Kafka bootstrap addresses, host:port, comma-separated.
    base
        The policy that the worker was started with.
    detect_table, ladder_table
        The detector partitions and the ladders.
    checkpointer
        Its lock is held while policies are handed over.
    detect
        Writes the dead letters.
    """

    def __init__(
        self,
        broker: str,
        base: Policy,
        detect_table: ColumnTable,
        ladder_table: ColumnTable,
        checkpointer: Checkpointer,
        detect: DetectAgent,
    ) -> None:
        self.broker = broker
        self.base = base
        self.detect_table = detect_table
        self.ladder_table = ladder_table
        self.checkpointer = checkpointer
        self.detect = detect
        self.timeline = Timeline(base)
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._reading = asyncio.Lock()
        self._last_offset = -1
        self._refused: deque[tuple[Any, str]] = deque(maxlen=REFUSED_MAX)
        super().__init__()

    async def catch_up(self) -> None:
        """Read the topic to its present end, on the first call; usage is not read before."""
        async with self._reading:
            if self._consumer is not None:
                return
            self._consumer = aiokafka.AIOKafkaConsumer(
                bootstrap_servers=self.broker,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
            )
            await self._consumer.start()
            self._consumer.assign([TOPIC])
            end = (await self._consumer.end_offsets([TOPIC]))[TOPIC]
            while await self._consumer.position(TOPIC) < end:
                self._take(await self._fetched())

    async def _fetched(self) -> list[Any]:
        assert self._consumer is not None
        return (await self._consumer.getmany(timeout_ms=200)).get(TOPIC, [])

    @Service.task
    async def _follow(self) -> None:
        try:
            await self.catch_up()
            while not self.should_stop:
                if records := await self._fetched():
                    async with self.checkpointer.busy:
                        self._take(records)
                        for table in (self.detect_table, self.ladder_table):
                            self.hand_over(table, list(table.active()))
                        await self.checkpointer.outbox.send()
        except Exception as error:
            end_worker(error)
        finally:
            if self._consumer is not None:
                await self._consumer.stop()

    def _take(self, records: list[Any]) -> None:
        for record in records:
            self._last_offset = record.offset
            try:
                edition = decode_edition(record.value, self.base, record.key)
            except ValueError as error:
                self._refused.append((record, str(error)))
                logger.warning("%s@%d is refused: %s", POLICIES, record.offset, error)
            else:
                self.timeline.announce(edition)
                logger.info(
                    "policy %s %s holds from %d ms on for %d %% of the customers",
                    *(edition.policy.name, edition.policy.version),
                    *(edition.effective_ms, edition.record.share_percent),
                )

    def hand_over(self, table: ColumnTable, partitions: list[int]) -> None:
        """Hand all known policies to partitions.

        Parameters
        ----------
        table
            One of the two tables.
        partitions
            Numbers of partitions that this worker writes.
        """
        for number in partitions:
            shard = table.shards[number]
            news = [shard.processor.announce_policy(edition) for edition in self.timeline.editions]
            shard.touched |= any(news)
        if table is self.detect_table and 0 in partitions:
            self._write_dead_letters()

    def _write_dead_letters(self) -> None:
        shard = self.detect_table.shards[0]
        expected = shard.next_offset(POLICIES)
        news = [(record, detail) for record, detail in self._refused if record.offset >= expected]
        rejects = [Reject(n, POLICY_REASON, detail) for n, (_, detail) in enumerate(news)]
        self.detect.refuse(POLICIES, 0, [record for record, _ in news], rejects)
        if self._last_offset >= expected:
            shard.state.passed(POLICIES, self._last_offset)
