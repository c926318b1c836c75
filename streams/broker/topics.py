"""The Kafka topics: their names, how they are made, and whether those there fit."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from schemas.topics import (
    ACTIONS,
    COHORT_AVERAGES,
    CUSTOMERS,
    DEAD_LETTERS,
    DECISIONS,
    ENFORCEMENT_RESULTS,
    FINDINGS,
    POLICIES,
    USAGE_TOPICS,
)
from schemas.units import DAY_MS, HOUR_MS, MIB
from streams.errors import FairuseError

ONE_PARTITION = (POLICIES, COHORT_AVERAGES)
"""Every worker reads these whole; all others are split by customer, alike."""

ANSWER_MS_MAX = 5_000
"""A broker that has not answered by then is taken for unreachable."""

COMPACTION_LAG_MS_MIN = HOUR_MS
"""For an hour every version of a changelog row stays, so that a mistake can be looked into."""

CHANGELOG_BYTES_MAX = 8 * MIB
"""A marker holds a partition's scans and means, which may be many in bad times."""

CHANGELOG_CONFIG = {
    "min.compaction.lag.ms": str(COMPACTION_LAG_MS_MIN),
    "max.message.bytes": str(CHANGELOG_BYTES_MAX),
}

DEAD_LETTER_BYTES_MAX = 2 * MIB
"""A dead letter carries its record, which may have used up the usual 1 MiB, and the reason."""


class TopicsError(FairuseError):
    """The topics cannot be reached or made; the message is one sentence that says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long the records of the topics that are not compacted are kept."""

    usage_ms: int = 7 * DAY_MS
    findings_ms: int = 90 * DAY_MS
    actions_ms: int = 730 * DAY_MS
    dead_letters_ms: int = 30 * DAY_MS


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicSpec:
    """How one topic is to be; a compacted one has no retention, it keeps the newest per key."""

    name: str
    partitions: int
    replication: int
    cleanup_policy: Literal["compact", "delete"]
    retention_ms: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """This topic as kafka-python's `create_topics` wants it.

        With three replicas a write waits for two, so that one broker may fail without loss.
        """
        config = {
            "cleanup.policy": self.cleanup_policy,
            "min.insync.replicas": str(max(1, self.replication - 1)),
            **self.extra,
        }
        if self.retention_ms is not None:
            config["retention.ms"] = str(self.retention_ms)
        return {
            "num_partitions": self.partitions,
            "replication_factor": self.replication,
            "configs": config,
        }


def changelog_names(app_id: str) -> tuple[str, str]:
    """Names of the changelogs of the detect and the verdict agents' state, in this order."""
    return f"{app_id}-detect-changelog", f"{app_id}-verdict-changelog"


def topic_specs(
    partitions: int, replication: int, app_id: str, retention: Retention = Retention()
) -> list[TopicSpec]:
    """All topics, as they are to be.

    What is keyed by customer has the same number of partitions, so that one customer's records and
    state meet in one worker.
    """
    changelogs = changelog_names(app_id)
    retention_ms = {
        **dict.fromkeys(USAGE_TOPICS, retention.usage_ms),
        FINDINGS: retention.findings_ms,
        ACTIONS: retention.actions_ms,
        ENFORCEMENT_RESULTS: retention.actions_ms,
        DECISIONS: retention.actions_ms,
        DEAD_LETTERS: retention.dead_letters_ms,
    }
    extra = {
        DEAD_LETTERS: {"max.message.bytes": str(DEAD_LETTER_BYTES_MAX)},
        **dict.fromkeys(changelogs, CHANGELOG_CONFIG),
    }
    return [
        TopicSpec(
            name=name,
            partitions=1 if name in ONE_PARTITION else partitions,
            replication=replication,
            cleanup_policy="delete" if name in retention_ms else "compact",
            retention_ms=retention_ms.get(name),
            extra=extra.get(name, {}),
        )
        for name in (*retention_ms, CUSTOMERS, *ONE_PARTITION, *changelogs)
    ]


def create_topics(
    bootstrap: str,
    partitions: int,
    replication: int,
    app_id: str,
    retention: Retention = Retention(),
) -> list[str]:
    """Create the topics that are not there yet and return their names; leave the others alone."""
    specs = {spec.name: spec for spec in topic_specs(partitions, replication, app_id, retention)}
    with _admin(bootstrap) as admin:
        there = _partition_counts(admin, specs)
        missing = {name: spec.request() for name, spec in specs.items() if name not in there}
        if not missing:
            return []
        answer = admin.create_topics(missing, raise_errors=False)
        for topic in answer["topics"]:
            _raise_refusal(topic, replication)
        admin.wait_for_topics(missing)
    return list(missing)


def check_topics(bootstrap: str, app_id: str) -> list[str]:
    """What is wrong with the topics, one sentence with its remedy each; empty when all fit."""
    names = [spec.name for spec in topic_specs(1, 1, app_id)]
    with _admin(bootstrap) as admin:
        there = _partition_counts(admin, names)
        policies = _cleanup_policies(admin, there)
    split_alike = Counter(count for name, count in there.items() if name not in ONE_PARTITION)
    partitions = max(split_alike, key=split_alike.__getitem__, default=1)
    specs = topic_specs(partitions, 1, app_id)
    problems = _missing(name for name in names if name not in there)
    for spec in specs:
        if spec.name in there:
            problems += _partition_problem(spec, there[spec.name])
            problems += _policy_problem(spec, policies.get(spec.name))
    return problems


@contextmanager
def _admin(bootstrap: str) -> Iterator[KafkaAdminClient]:
    """A client of the broker at `bootstrap`, whose failures are sentences."""
    try:
        client = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=ANSWER_MS_MAX)
    except (KafkaError, ValueError) as error:
        raise TopicsError(
            f"No Kafka broker answers at {bootstrap}: check the address, or start the broker."
        ) from error
    with client:
        try:
            yield client
        except KafkaError as error:
            raise TopicsError(
                f"Kafka at {bootstrap} failed ({type(error).__name__}): "
                "look into the broker's log and try again."
            ) from error


def _partition_counts(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, int]:
    """Number of partitions of each topic that is there."""
    topics = admin.describe_topics(list(names))
    return {topic["name"]: len(topic["partitions"]) for topic in topics if not topic["error_code"]}


def _cleanup_policies(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, str]:
    """`cleanup.policy` of each topic, as far as the broker tells."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    configs = admin.describe_configs(resources, config_filter="all")["topic"]
    return {
        name: config["cleanup.policy"]["value"]
        for name, config in configs.items()
        if "cleanup.policy" in config
    }


def _raise_refusal(topic: Mapping[str, Any], replication: int) -> None:
    """Raise what the broker said about one topic, unless it made it or somebody else just did."""
    refusal = for_code(topic["error_code"])
    if not topic["error_code"] or refusal is TopicAlreadyExistsError:
        return
    if refusal is InvalidReplicationFactorError:
        raise TopicsError(
            f"Replication {replication} needs as many brokers and the cluster has fewer: "
            "start more brokers, or ask for a lower replication."
        )
    raise TopicsError(
        f"Kafka refused to create topic {topic['name']} ({topic['error_message']}): "
        "remove the cause or create the topic by hand, then run `fairuse topics` again."
    )


def _missing(names: Iterable[str]) -> list[str]:
    listed = ", ".join(names)
    return [f"Topics are missing, create them with `fairuse topics`: {listed}."] if listed else []


def _partition_problem(spec: TopicSpec, partitions: int) -> list[str]:
    """A customer's records and state would meet in different workers, or not all be read."""
    if partitions == spec.partitions:
        return []
    why = "every worker reads it whole" if spec.name in ONE_PARTITION else "like the other topics"
    return [
        f"Topic {spec.name} has {partitions} partitions and must have {spec.partitions}, {why}: "
        "delete it and create it again with `fairuse topics`."
    ]


def _policy_problem(spec: TopicSpec, policy: str | None) -> list[str]:
    """Deleting forgets customers and state, compacting forgets all but the newest event."""
    if policy in (None, spec.cleanup_policy):
        return []
    return [
        f"Topic {spec.name} has cleanup.policy={policy} and would lose records: "
        f"set it to {spec.cleanup_policy} with `kafka-configs --alter --entity-type topics "
        f"--entity-name {spec.name} --add-config cleanup.policy={spec.cleanup_policy}`."
    ]
