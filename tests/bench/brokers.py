"""The broker that everything is measured on, and what is asked of it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient

from streams.demo.embedded_broker import EmbeddedBroker
from tests.bench.figures import BenchError
from tests.bench.scales import PARTITIONS
from tests.support.harness import kafka_cluster
from tests.support.harness.kafka_cluster import (
    QUICK_FLAGS,
    KafkaCluster,
    kafka_available,
    kafka_version,
)

HEAP = ("-Xms512m", "-Xmx512m")
"""The same in every run, so that runs can be compared."""

EMBEDDED_SETTINGS = {
    "idempotence": False,
    "session_timeout_seconds": 6,
    "rebalance_timeout_seconds": 6,
}

EMBEDDED_FAUST = {
    "broker_session_timeout": 6,
    "broker_heartbeat_interval": 1,
    "broker_rebalance_timeout": 6,
}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it is, what it is, and what a worker, or plain Faust, has to be told for it."""

    bootstrap: str
    name: str
    worker_settings: dict[str, Any]
    faust_settings: dict[str, Any]

    def create(self, topics: Iterable[str]) -> None:
        """Make topics that are not fairuse's own."""
        with KafkaAdminClient(bootstrap_servers=self.bootstrap) as admin:
            admin.create_topics({topic: {"num_partitions": PARTITIONS} for topic in topics})
            admin.wait_for_topics(topics)

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """What a consumer group committed."""
        with KafkaAdminClient(bootstrap_servers=self.bootstrap) as admin:
            found = admin.list_group_offsets(group)[group]
        return {(tp.topic, tp.partition): place.offset for tp, place in found.items()}


@contextmanager
def started_broker(folder: Path, *, embedded: bool, quick: bool) -> Iterator[Broker]:
    """A Kafka of one node; a quick run takes the embedded broker where Kafka can't run."""
    reason = kafka_available()
    if embedded or (quick and reason):
        with EmbeddedBroker() as broker:
            yield Broker(broker.bootstrap, "embedded", EMBEDDED_SETTINGS, EMBEDDED_FAUST)
        return
    if reason:
        raise BenchError(reason)
    kafka_cluster.SERVER_FLAGS = (*HEAP, *QUICK_FLAGS)
    cluster = KafkaCluster(folder=folder / "kafka")
    try:
        cluster.start()
        yield Broker(cluster.bootstrap, f"kafka {kafka_version()} {' '.join(HEAP)}", {}, {})
    finally:
        cluster.kill()
