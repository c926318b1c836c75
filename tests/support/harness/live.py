"""Driving real workers against a real broker, and comparing what they leave with a replay."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import aiokafka
import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from detectors.fold.partition import Partition
from detectors.ladder.ladder import Ladder
from detectors.policies.editions import load_policy
from schemas.policy import Policy
from schemas.records import Customer, Finding
from schemas.topics import CUSTOMERS, FINDINGS, USAGE_PREFIX, USAGE_TOPICS
from streams.broker.outbox import Outbox
from streams.broker.partitioner import partition_of
from streams.broker.topics import create_topics
from streams.checkpoints.changelog import Changelog
from streams.clock import wall_clock
from streams.demo.embedded_broker import free_ports
from streams.explain.spans import spans_of
from streams.explain.topics import read_topics
from streams.files.sources import chunks
from streams.replay.replay import Replay

DEDUP_ENTRIES_MAX = 1_000_000
BATCH_BYTES_MAX = 524_288
BEAT_SECONDS = 0.05
"""Time between the batches of a load with a rate."""
READY_SECONDS_MAX = 180
POLL_SECONDS = 0.1
ENDED_SECONDS_MAX = 30
MEANS_SECONDS_MAX = 180
"""Means go by way of a topic, and the ladder's time goes on after what was found is heard."""


class Worker:
    """A `fairuse worker` process."""

    def __init__(self, bootstrap: str, folder: Path, name: str = "w1", **flags: Any) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        self.name = name
        self.flags = flags
        self.process: subprocess.Popen[bytes] | None = None
        self.port = free_ports(1)[0]
        self.log = folder / f"{name}.log"

    def start(self) -> "Worker":
        """Start the process; it is not ready yet."""
        command = [
            *(sys.executable, "-m", "streams", "worker", "--broker", self.bootstrap),
            *("--port", str(self.port), "--instance-id", self.name),
            *("--data-dir", str(self.folder / self.name)),
            "--log-level",
            "info",
        ]
        for flag, value in self.flags.items():
            command += [f"--{flag.replace('_', '-')}", str(value)]
        environment = os.environ | {
            "FAIRUSE_SESSION_TIMEOUT_SECONDS": "6",
            "FAIRUSE_CHECKPOINT_SECONDS": "0.5",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        return self

    def wait_ready(self) -> "Worker":
        """Wait until events flow."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended: {self.log.read_text()[-3000:]}")
            if self.get("/health", {}).get("ready"):
                return self
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{self.name} is not ready: {self.log.read_text()[-3000:]}")

    def get(self, path: str, default: Any = None) -> Any:
        """JSON of a page, or the default while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return default

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def wait_ended(self) -> int:
        """Wait until the process ends by itself; its exit code."""
        return self.process.wait(ENDED_SECONDS_MAX)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None


async def produce(
    bootstrap: str,
    records: Iterable[tuple[str, bytes, bytes]],
    partitions: int,
    per_second: float = 0,
) -> None:
    """Send (topic, key, value), in order within each partition, at a rate if one is given."""
    outbox = Outbox(wall_clock)
    outbox.producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=4 * 1_048_576,
        request_timeout_ms=120_000,
    )
    partition_of_key = cache(lambda key: partition_of(key, partitions))
    started = time.monotonic()
    await outbox.producer.start()
    at_once = max(1, int(per_second * BEAT_SECONDS)) if per_second else 10_000
    for number, (topic, key, value) in enumerate(records, 1):
        outbox.put(topic, partition_of_key(key), key, value)
        if number % at_once == 0:
            await outbox.send()
            if per_second:
                await asyncio.sleep(max(0, started + number / per_second - time.monotonic()))
    await outbox.send()
    await outbox.delivered()
    await outbox.producer.stop()


def usage_records(lines: Iterable[bytes]) -> Iterable[tuple[str, bytes, bytes]]:
    """What to send for lines of NDJSON."""
    for line in lines:
        event = msgspec.json.decode(line)
        yield USAGE_PREFIX + event["type"], event["customer_id"].encode(), line


def customer_records(customers: Iterable[Customer]) -> list[tuple[str, bytes, bytes]]:
    """What to send for customers."""
    return [(CUSTOMERS, c.customer_id.encode(), msgspec.json.encode(c)) for c in customers]


def read_topic(bootstrap: str, topic: str) -> list[Any]:
    """Every record of a topic."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    consumer.assign(parts)
    ends = consumer.end_offsets(parts)
    consumer.seek_to_beginning(*parts)
    records = []
    while any(consumer.position(part) < ends[part] for part in parts):
        for fetched in consumer.poll(timeout_ms=500).values():
            records += fetched
    consumer.close()
    return records


def records_of(bootstrap: str, topic: str, field: str) -> dict[str, dict[str, Any]]:
    """The records of a topic as a consumer sees them that drops repeated ids."""
    records = (msgspec.json.decode(record.value) for record in read_topic(bootstrap, topic))
    return {record[field]: record for record in records}


def difference(live: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """What only one side has, or has otherwise, in words; where the input stood does not count."""
    live, again = ({key: _told(each) for key, each in side.items()} for side in (live, again))
    sides = (("only live", live, again), ("only replay", again, live))
    return [
        f"{side}: {mine[id_]}"
        for side, mine, other in sides
        for id_ in sorted(mine)
        if mine[id_] != other.get(id_)
    ]


def _told(record: dict[str, Any]) -> dict[str, Any]:
    """A finding or an action but for the offsets or lines that it rests on."""
    evidence = {name: told for name, told in record["evidence"].items() if name != "inputs"}
    return {**record, "evidence": evidence}


def of_topics(bootstrap: str) -> Callable[[Finding], tuple[Iterable[Any], int]]:
    """How `explain` gets at usage: from the topics that a finding's evidence names."""
    return lambda finding: (read_topics(spans_of(finding.evidence), bootstrap), 1)


def wait_until_committed(bootstrap: str, group: str, seconds_max: float = 240) -> None:
    """Wait until everything that was sent is checkpointed and committed."""
    deadline = time.monotonic() + seconds_max
    with (
        KafkaAdminClient(bootstrap_servers=bootstrap) as admin,
        closing(KafkaConsumer(bootstrap_servers=bootstrap)) as consumer,
    ):
        while (left := lag(admin, consumer, group)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    assert left == 0, f"{left} records are not committed after {seconds_max} s"


def lag(admin: KafkaAdminClient, consumer: KafkaConsumer, group: str) -> int:
    """Records of usage, customers and findings that the group has not committed yet."""
    parts = [
        TopicPartition(topic, number)
        for topic in (*USAGE_TOPICS, CUSTOMERS, FINDINGS)
        for number in consumer.partitions_for_topic(topic)
    ]
    committed = admin.list_group_offsets([group]).get(group, {})
    return sum(
        end - (committed[part].offset if part in committed else 0)
        for part, end in consumer.end_offsets(parts).items()
    )


def recovered(
    bootstrap: str, app_id: str, policy: Policy, partitions: int
) -> tuple[list[Partition], list[Ladder]]:
    """The state that the changelogs hold, read as a new worker would."""
    detect = [Partition(n, policy, DEDUP_ENTRIES_MAX) for n in range(partitions)]
    ladders = [Ladder(n, policy) for n in range(partitions)]
    for name, processors in (("detect", detect), ("ladder", ladders)):
        logs = [Changelog(each.state, 1) for each in processors]
        records = read_topic(bootstrap, f"{app_id}-{name}-changelog")
        for number, log in enumerate(logs):
            log.read((r.offset, r.key, r.value) for r in records if r.partition == number)
            log.take_over()
    return detect, ladders


def replayed(
    policy: Policy,
    customers: Iterable[Customer],
    files: list[Path],
    partitions: int,
    policies: Path | None = None,
) -> tuple[Replay, dict[str, Any], dict[str, Any]]:
    """A replay of the same input: itself, its findings and its actions by id.

    It does not end, as a stream never does: the periods that it leaves open the worker does too,
    and time goes on as far as all usage of a partition was read. Nothing is assumed of enforcement,
    for nobody answers the worker.
    """
    replay = Replay(policy, partitions, DEDUP_ENTRIES_MAX, enforcement=None)
    replay.announce(customers)
    if policies is not None:
        replay.announce_policies(policies)
    findings, actions = {}, {}
    for results in map(replay.take, chunks(files, wall_clock)):
        findings |= {f.finding_id: msgspec.to_builtins(f) for f in results.findings}
        actions |= {a.action_id: msgspec.to_builtins(a) for a in results.actions}
    ladders = replay.ladders.of_partition
    for partition, ladder in zip(replay.usage.partitions, ladders, strict=True):
        due = ladder.tick(partition.reached_ms())
        actions |= {action.action_id: msgspec.to_builtins(action) for action in due}
    return replay, findings, actions


def assert_equal_to_replay(
    bootstrap: str,
    app_id: str,
    customers: list[Customer],
    files: list[Path],
    partitions: int,
    policies: Path | None = None,
) -> None:
    """Findings, actions and every customer's numbers are what a replay of the input gives."""
    policy = load_policy()
    replay, findings, actions = replayed(policy, customers, files, partitions, policies)
    deadline = time.monotonic() + MEANS_SECONDS_MAX
    while differs := [
        *difference(records_of(bootstrap, "findings", "finding_id"), findings),
        *difference(records_of(bootstrap, "actions", "action_id"), actions),
    ]:
        assert time.monotonic() < deadline, differs
        time.sleep(POLL_SECONDS)
    detect, _ = recovered(bootstrap, app_id, policy, partitions)
    for live, again in zip(detect, replay.usage.partitions, strict=True):
        assert live.customer_count == again.customer_count
        for slot in range(again.customer_count):
            customer_id = again.state.directory.name(slot).decode()
            assert live.standing(customer_id) == again.standing(customer_id)


def fresh_topics(bootstrap: str, app_id: str, partitions: int) -> None:
    """The topics of a new app."""
    create_topics(bootstrap, partitions, 1, app_id)
