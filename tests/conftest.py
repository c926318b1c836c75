"""What tests share."""

import os

import pytest

from tests.support.harness.kafka_cluster import KafkaCluster, kafka_available
from tests.support.harness.radius_server import RadiusServer, radius_available


def need(missing):
    """Skip a test that can't run here; in CI that is a failure."""
    if missing is not None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """A started Kafka of one node, shared: `wipe()` it before you count what is there."""
    need(kafka_available())
    cluster = KafkaCluster(folder=tmp_path_factory.mktemp("kafka"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def radius(tmp_path_factory):
    """A started FreeRADIUS that knows of no restriction yet."""
    need(radius_available())
    server = RadiusServer(tmp_path_factory.mktemp("radius"))
    server.start()
    yield server
    server.stop()
