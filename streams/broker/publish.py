"""Putting a policy on its topic."""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from detectors.policies.editions import KNOWN_RULES, read_edition
from schemas.policy import Mistake, Policy, PolicyError, read_policy
from schemas.records import PolicyRecord
from schemas.topics import POLICIES
from streams.broker.topics import ANSWER_MS_MAX, TopicsError


def record_of(document: str, begins: datetime, share_percent: int, base: Policy) -> PolicyRecord:
    """The record of a policy that workers started with `base` take, or `PolicyError`.

    A time without a zone is in the policy's own.
    """
    policy = read_policy(document, KNOWN_RULES)
    if begins.tzinfo is None:
        begins = begins.replace(tzinfo=ZoneInfo(policy.timezone))
    fields = {
        "name": policy.name,
        "version": policy.version,
        "effective_ms": int(begins.timestamp() * 1000),
        "document": document,
        "share_percent": share_percent,
    }
    try:
        record = msgspec.convert(fields, PolicyRecord)
    except msgspec.ValidationError as error:
        raise PolicyError([Mistake(1, "record", str(error), "give what it allows")]) from None
    read_edition(record, base)
    return record


def publish(broker: str, record: PolicyRecord) -> None:
    """Put a policy on its topic; return once the broker has it."""
    try:
        with KafkaProducer(
            bootstrap_servers=broker,
            acks="all",
            bootstrap_timeout_ms=ANSWER_MS_MAX,
            max_block_ms=ANSWER_MS_MAX,
        ) as producer:
            value = msgspec.json.encode(record)
            sent = producer.send(POLICIES, value, key=record.name.encode(), partition=0)
            sent.get(timeout=ANSWER_MS_MAX / 1000)
    except (KafkaError, ValueError) as error:
        raise TopicsError(
            f"Kafka at {broker} did not take the policy ({type(error).__name__}): "
            "check the address, and the topics with `fairuse topics --check`."
        ) from None
