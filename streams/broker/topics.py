"""The Kafka topics: how they are created, and whether the existing ones fit."""

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
"""Every worker reads all of these; all other topics are partitioned by customer, alike."""

ANSWER_MS_MAX = 5_000
"""A broker that has not answered by then counts as unreachable."""

COMPACTION_LAG_MS_MIN = HOUR_MS
"""For this long every version of a changelog row stays: `streams/checkpoints/changelog.py` says why
older ones are needed."""

CHANGELOG_BYTES_MAX = 8 * MIB
"""Largest record of a changelog: a marker holds what its partition remembers as a whole."""

CHANGELOG_CONFIG = {
    "min.compaction.lag.ms": str(COMPACTION_LAG_MS_MIN),
    "max.message.bytes": str(CHANGELOG_BYTES_MAX),
}

DEAD_LETTER_BYTES_MAX = 2 * MIB
"""A dead letter carries its record, which may have 1 MiB, and the reason."""


class TopicsError(FairuseError):
    """The topics cannot be reached, created, or written to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long records are kept on topics that are not compacted, milliseconds."""

    usage_ms: int = 7 * DAY_MS
    findings_ms: int = 90 * DAY_MS
    actions_ms: int = 730 * DAY_MS
    dead_letters_ms: int = 30 * DAY_MS


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicSpec:
    """How one topic has to be; a compacted topic keeps the newest record per key, for ever."""

    name: str
    partitions: int
    replication: int
    cleanup_policy: Literal["compact", "delete"]
    retention_ms: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """Describe the topic for kafka-python's `create_topics`.

        With three replicas a write waits for two, so that one broker may fail without loss.

        Returns
        -------
        Partitions, replication and configuration.
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
    """Name the changelogs.

    Parameters
    ----------
    app_id
        First part of the names.

    Returns
    -------
    Changelog of the detect agent's state, and of the ladder agent's.
    """
    return f"{app_id}-detect-changelog", f"{app_id}-ladder-changelog"


def topic_specs(
    partitions: int, replication: int, app_id: str, retention: Retention = Retention()
) -> list[TopicSpec]:
    """Specify all topics.

    All topics with the customer as key have the same number of partitions, so that one customer's
    records and state meet in one worker.

    Parameters
    ----------
    partitions
        Partitions of each topic that is not of `ONE_PARTITION`.
    replication
        Copies of each partition.
    app_id
        First part of the changelogs' names.
    retention
        How long records are kept.

    Returns
    -------
    How each topic has to be.
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
    """Create the topics that do not exist; change no others.

    Parameters
    ----------
    bootstrap
        Kafka bootstrap addresses, host:port, comma-separated.
    partitions, replication, app_id, retention
        As for `topic_specs`.

    Returns
    -------
    Names of the topics that were created.

    Raises
    ------
    TopicsError
        No broker answers, or it refuses a topic.
    """
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
    """Compare the topics with what they have to be.

    Parameters
    ----------
    bootstrap
        Kafka bootstrap addresses, host:port, comma-separated.
    app_id
        First part of the changelogs' names.

    Returns
    -------
    One sentence for each fault, with its remedy; empty if all topics fit.

    Raises
    ------
    TopicsError
        No broker answers.
    """
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
    """Connect to the broker at `bootstrap`; failures become `TopicsError`."""
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
    """Count the partitions of each topic that exists."""
    topics = admin.describe_topics(list(names))
    return {topic["name"]: len(topic["partitions"]) for topic in topics if not topic["error_code"]}


def _cleanup_policies(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, str]:
    """`cleanup.policy` of each topic for which the broker tells it."""
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
    """Raise `TopicsError` if the broker refused a topic; one that exists by now is no fault."""
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
    """Another number would send a customer's records to several workers, or leave some unread."""
    if partitions == spec.partitions:
        return []
    why = "every worker reads it whole" if spec.name in ONE_PARTITION else "like the other topics"
    return [
        f"Topic {spec.name} has {partitions} partitions and must have {spec.partitions}, {why}: "
        "delete it and create it again with `fairuse topics`."
    ]


def _policy_problem(spec: TopicSpec, policy: str | None) -> list[str]:
    """Deletion would lose customers and state, compaction all but the newest event."""
    if policy in (None, spec.cleanup_policy):
        return []
    return [
        f"Topic {spec.name} has cleanup.policy={policy} and would lose records: "
        f"set it to {spec.cleanup_policy} with `kafka-configs --alter --entity-type topics "
        f"--entity-name {spec.name} --add-config cleanup.policy={spec.cleanup_policy}`."
    ]
