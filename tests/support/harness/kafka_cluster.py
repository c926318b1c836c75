"""A real Apache Kafka cluster on loopback, for tests: one to three nodes in a temporary folder."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from xml.etree import ElementTree

from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError

from streams.demo.embedded_broker import answers, ends_with_parent, free_ports
from tests.support.paths import ROOT

POM = ROOT / "deploy/kafka/pom.xml"
PROPERTIES = Template((ROOT / "deploy/kafka/server.properties").read_text())

JAVA_VERSION_MIN = 17
QUICK_FLAGS = ("-XX:+UseSerialGC", "-XX:-UsePerfData", "-Dorg.apache.logging.log4j.level=WARN")
SHORT_LIVED_FLAGS = ("-XX:TieredStopAtLevel=1", *QUICK_FLAGS)
"""The first compiler alone halves the processor time of a process that lives for minutes."""
SERVER_FLAGS = ("-Xms256m", "-Xmx512m", *SHORT_LIVED_FLAGS)
CLUSTER_ID = "fairuse-tests-cluster0"
"""22 characters, as many as Kafka wants."""

START_SECONDS_MAX = 180
STOP_SECONDS_MAX = 15
WIPE_SECONDS_MAX = 120
POLL_SECONDS = 0.05

INTERNAL_TOPICS = ("__consumer_offsets", "__transaction_state")


class KafkaClusterError(Exception):
    """The cluster did not do as asked; the message is one sentence that says what to do."""


def kafka_version() -> str:
    """Version of Kafka that the pom names."""
    return ElementTree.parse(POM).findtext(".//{*}kafka.version", "")


def jars_folder() -> Path:
    """Where this version's jars are kept between runs."""
    return ROOT / ".cache/kafka" / kafka_version()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is, and keep what it says."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def java_version() -> int:
    """Major version of `java`, 0 if there is none."""
    if shutil.which("java") is None:
        return 0
    found = re.search(r'version "(\d+)', run("java", "-version").stderr)
    return int(found[1]) if found else 0


def kafka_available() -> str | None:
    """Why a real Kafka cannot run here, in one sentence, or None if it can."""
    if java_version() < JAVA_VERSION_MIN:
        return f"Kafka needs Java {JAVA_VERSION_MIN} or newer: install openjdk-17-jre-headless."
    if not jars_folder().exists() and shutil.which("mvn") is None:
        return "Kafka's jars are fetched with Maven: install maven."
    return None


def fetch_jars() -> Path:
    """Fetch Kafka's jars unless they are there; a fetch that breaks off leaves nothing behind."""
    folder = jars_folder()
    if folder.exists():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    goal = ("dependency:copy-dependencies", f"-DoutputDirectory={partial}")
    done = run("mvn", "-B", "-q", "-Dstyle.color=never", "-f", str(POM), *goal)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        cause = done.stdout.partition("\n")[0]
        raise KafkaClusterError(f"Maven could not fetch Kafka, remove the cause: {cause}")
    try:
        partial.rename(folder)
    except OSError:
        # Another run was faster.
        shutil.rmtree(partial)
    return folder


class KafkaNode:
    """One node: broker and controller in one Java process."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.log = folder / "log"
        self._data = folder / "data"
        self._properties = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        self._properties.write_text(PROPERTIES.substitute(settings, data=self._data))

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process on the data it left, if any; it answers later."""
        if not self._data.exists():
            tool = ("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c")
            if self._java(SHORT_LIVED_FLAGS, *tool).wait():
                raise KafkaClusterError(f"Kafka could not format its storage: read {self.log}.")
        self._process = self._java(SERVER_FLAGS, "kafka.Kafka")

    def terminate(self) -> None:
        """Ask the process to end in good order."""
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until the process has ended, and kill it when that takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _java(self, flags: Iterable[str], *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["java", *flags, "-cp", f"{jars_folder()}/*", *command, self._properties],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=ends_with_parent(),  # noqa: PLW1509 - two system calls, no locks
            )


class KafkaCluster:
    """One to three nodes on free ports of loopback, which stay theirs from start to start.

    `nodes` are there for tests that stop or kill only one of them.
    """

    def __init__(self, *, nodes: int = 1, folder: Path) -> None:
        ports = free_ports(2 * nodes)
        self._ports, controllers = ports[:nodes], ports[nodes:]
        voters = ",".join(f"{i}@127.0.0.1:{port}" for i, port in enumerate(controllers, 1))
        self.nodes = [
            KafkaNode(
                folder / f"node{i}",
                {
                    "node_id": i,
                    "nodes": nodes,
                    "voters": voters,
                    "broker_port": broker_port,
                    "controller_port": controller_port,
                },
            )
            for i, (broker_port, controller_port) in enumerate(
                zip(self._ports, controllers, strict=True), 1
            )
        ]

    @property
    def bootstrap(self) -> str:
        """Addresses of all nodes, as Kafka clients want them."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    def start(self) -> None:
        """Start the nodes that do not run and wait until all of them serve."""
        fetch_jars()
        for node in self.nodes:
            if not node.running:
                node.start()
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._serves():
            if time.monotonic() > deadline or not all(node.running for node in self.nodes):
                self.kill()
                logs = ", ".join(str(node.log) for node in self.nodes)
                raise KafkaClusterError(f"Kafka did not start: read {logs}.")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End all nodes in good order."""
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.wait()

    def kill(self) -> None:
        """End all nodes as a power cut would."""
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        """Stop what runs and start all nodes again, with the same data on the same ports."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Delete all topics and consumer groups and wait until they are gone."""
        deadline = time.monotonic() + WIPE_SECONDS_MAX
        with KafkaAdminClient(bootstrap_servers=self.bootstrap) as admin:
            while left := _delete_groups(admin) + _delete_topics(admin):
                if time.monotonic() > deadline:
                    raise KafkaClusterError(f"Stop who still uses {', '.join(left)}.")
                time.sleep(POLL_SECONDS)

    def _serves(self) -> bool:
        """Whether every node answers and none is still kept out of the cluster."""
        if not all(answers(port) for port in self._ports):
            return False
        try:
            with KafkaAdminClient(bootstrap_servers=self.bootstrap) as admin:
                brokers = admin.describe_cluster()["brokers"]
        except KafkaError:
            return False
        return sum(not broker["is_fenced"] for broker in brokers) == len(self.nodes)


def _delete_groups(admin: KafkaAdminClient) -> list[str]:
    """Ask for the deletion of all groups, members and all; return those there were."""
    names = [group["group_id"] for group in admin.list_groups()]
    if not names:
        return []
    for name, group in admin.describe_groups(names).items():
        members = [MemberToRemove(member_id=member["member_id"]) for member in group["members"]]
        admin.remove_group_members(name, members)
    admin.delete_groups(names)
    return names


def _delete_topics(admin: KafkaAdminClient) -> list[str]:
    """Ask for the deletion of all topics but Kafka's own; return those there were."""
    names = [name for name in admin.list_topics() if name not in INTERNAL_TOPICS]
    if names:
        admin.delete_topics(names, raise_errors=False)
    return names
