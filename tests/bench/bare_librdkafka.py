"""Read all usage with librdkafka and do nothing with it: the fastest client that Python has."""

from time import perf_counter

from confluent_kafka import Consumer, TopicPartition, libversion

from schemas.topics import USAGE_TOPICS
from tests.bench.children import say, told
from tests.bench.scales import PARTITIONS

RECORDS_AT_ONCE = 10_000
BACKOFF_MS = 10
"""By default it rests a second whenever it has read 64 MiB ahead, and is a third as fast."""


def read_all(bootstrap: str, events: int) -> float:
    """Seconds to read so many events."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench-librdkafka",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": BACKOFF_MS,
        }
    )
    try:
        started = perf_counter()
        consumer.assign(
            [TopicPartition(topic, n, 0) for topic in USAGE_TOPICS for n in range(PARTITIONS)]
        )
        count = 0
        while count < events:
            records = consumer.consume(RECORDS_AT_ONCE, timeout=0.1)
            count += sum(record.error() is None for record in records)
        return perf_counter() - started
    finally:
        consumer.close()


if __name__ == "__main__":
    say(seconds=read_all(**told()), librdkafka=libversion()[0])
