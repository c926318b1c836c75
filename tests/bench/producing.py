"""Puts made-up usage on the topics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from streams.broker.outbox import Outbox
from streams.clock import wall_clock
from tests.bench.traffic import Traffic

BATCH_BYTES_MAX = 524_288


class Feed:
    """Sends whole batches and keeps their deliveries, which `delivered` awaits."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._outbox = Outbox(wall_clock)
        self._outbox.producer = producer
        self._deliveries: list[asyncio.Future] = []

    async def put(self, topic: str, partition: int, keys: list[bytes], values: list[bytes]) -> None:
        """Send records of one partition."""
        now_ms = wall_clock()
        rows = [(key, value, now_ms) for key, value in zip(keys, values, strict=True)]
        sent = await self._outbox.send_batches(topic, partition, rows)
        self._deliveries += [delivery for delivery, _ in sent]

    async def stretch(self, traffic: Traffic, start: int, end: int) -> None:
        """Send the events from `start` to before `end`."""
        for topic, partition, rows in traffic.queues(start, end):
            keys = [traffic.keys[row] for row in rows]
            values = [traffic.values[row] for row in rows]
            await self.put(topic, partition, keys, values)

    async def delivered(self) -> None:
        """Wait until the broker has everything."""
        deliveries, self._deliveries = self._deliveries, []
        await asyncio.gather(*deliveries)


@asynccontextmanager
async def feed(bootstrap: str) -> AsyncIterator[Feed]:
    """A feed with a producer of its own."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_batch_size=BATCH_BYTES_MAX
    )
    await producer.start()
    try:
        yield Feed(producer)
    finally:
        await producer.stop()


async def publish(bootstrap: str, traffic: Traffic) -> None:
    """Put everything on the topics at once."""
    async with feed(bootstrap) as into:
        await into.stretch(traffic, 0, len(traffic))
        await into.delivered()
