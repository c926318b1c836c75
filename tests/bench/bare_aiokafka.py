"""Read all usage with aiokafka and do nothing with it: what the worker's client allows at most."""

import asyncio
from time import perf_counter

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.topics import USAGE_TOPICS
from tests.bench.children import say, told
from tests.bench.scales import PARTITIONS


async def read_all(bootstrap: str, events: int) -> float:
    """Seconds to read so many events."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        started = perf_counter()
        consumer.assign(
            [TopicPartition(topic, n) for topic in USAGE_TOPICS for n in range(PARTITIONS)]
        )
        count = 0
        while count < events:
            fetched = await consumer.getmany(timeout_ms=1_000)
            count += sum(map(len, fetched.values()))
        return perf_counter() - started
    finally:
        await consumer.stop()


if __name__ == "__main__":
    say(seconds=asyncio.run(read_all(**told())))
