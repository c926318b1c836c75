"""The Kafka topics: their names, how they are made, and whether those there fit."""

from collections import Counter
from collections.abc import Iterator, Mapping
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

USAGE_TOPICS = (
    "usage.sms",
    "usage.voice",
    "usage.data",
    "usage.flow",
    "usage.storage",
    "usage.stream",
)
CUSTOMERS = "customers"
POLICIES = "policies"
ENFORCEMENT_RESULTS = "enforcement.results"
DECISIONS = "decisions"
FINDINGS = "findings"
ACTIONS = "actions"
DEAD_LETTERS = "dead-letters"
COHORT_AVERAGES = "cohort-averages"

DAY_MS = 86_400_000
ANSWER_MS_MAX = 5_000
"""A broker that has not answered by then is taken for unreachable."""

COMPACTION_LAG_MS_MIN = 3_600_000
"""For an hour every version of a changelog row stays, so that a mistake can be looked into."""

DEAD_LETTER_BYTES_MAX = 2 * 1_048_576
"""A dead letter carries its record, which may have used up the usual 1 MiB, and the reason."""


class TopicsError(Exception):
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
    """Names of the changelogs of the detect and the verdict agent's state, in this order."""
    return f"{app_id}-detect-changelog", f"{app_id}-verdict-changelog"


def topic_specs(
    partitions: int, replication: int, app_id: str, retention: Retention = Retention()
) -> list[TopicSpec]:
    """All topics, as they are to be.

    What is keyed by customer has the same number of partitions, so that one customer's records and
    state meet in one worker; what every worker reads whole has one partition.
    """

    def kept(name: str, retention_ms: int, **extra: str) -> TopicSpec:
        return TopicSpec(
            name=name,
            partitions=partitions,
            replication=replication,
            cleanup_policy="delete",
            retention_ms=retention_ms,
            extra=extra,
        )

    def compacted(name: str, partitions: int, extra: Mapping[str, str] = {}) -> TopicSpec:
        return TopicSpec(
            name=name,
            partitions=partitions,
            replication=replication,
            cleanup_policy="compact",
            extra=extra,
        )

    return []
