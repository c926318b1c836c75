"""What tests share."""

import os

import pytest

from tests.kafka_cluster import KafkaCluster, kafka_available


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """A started Kafka of one node, shared: `wipe()` it before you count what is there."""
    if reason := kafka_available():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    cluster = KafkaCluster(folder=tmp_path_factory.mktemp("kafka"))
    cluster.start()
    yield cluster
    cluster.stop()
