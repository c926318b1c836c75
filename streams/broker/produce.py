"""Records that a person puts on a topic with a command: decisions and policies."""

from datetime import datetime
from difflib import get_close_matches
from math import isfinite
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from detectors.policies.editions import KNOWN_RULES, read_edition
from schemas.policy import Mistake, Policy, PolicyError, read_policy
from schemas.records import Decision, PolicyRecord
from schemas.topics import DECISIONS, POLICIES
from schemas.units import DAY_MS
from streams.broker.partitioner import partition_of
from streams.broker.topics import ONE_PARTITION, TopicsError
from streams.clock import wall_clock
from streams.errors import WRONG_USAGE, FairuseError

SEND_MS_MAX = 10_000
"""A broker that does not confirm a record within this time counts as unreachable."""

EVERYBODY = "*"
"""The customer of a decision that is about a rule, or about everything."""

OF_ACTION, OF_RULE = (("customer_id", "action_id"), ()), (("rule",), ())

FORMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "approve": OF_ACTION,
    "reject": OF_ACTION,
    "exempt": (("customer_id",), ("rule", "days")),
    "snooze": (("customer_id", "days"), ("rule", "action_id")),
    "consent": (("customer_id", "rule"), ()),
    "release_brake": ((), ("rule",)),
}
"""Fields that each kind of decision must have, and fields that it may have; `reject` may instead
take the form `OF_RULE`."""


class DecisionError(FairuseError):
    """The fields do not make a decision of that kind."""

    exit_code = WRONG_USAGE


def send_decision(broker: str, decision: Decision) -> int:
    """Put a decision on its topic; return once the broker has it.

    A decision about no single customer goes to every partition, since each has its own brake.

    Parameters
    ----------
    broker
        Kafka bootstrap addresses, host:port, comma-separated.
    decision
        What was decided.

    Returns
    -------
    How many partitions it was sent to.
    """
    is_for_all = decision.customer_id == EVERYBODY
    return _send(broker, DECISIONS, decision.customer_id, decision, "the decision", is_for_all)


def send_policy(broker: str, record: PolicyRecord) -> None:
    """Put a policy on its topic; return once the broker has it.

    Parameters
    ----------
    broker
        Kafka bootstrap addresses, host:port, comma-separated.
    record
        The policy and when it takes effect.
    """
    _send(broker, POLICIES, record.name, record, "the policy")


def _send(
    broker: str, topic: str, key: str, record: Any, called: str, in_every_partition: bool = False
) -> int:
    """Put a record on the partition of its key, or on every one; how many those were."""
    timeouts = dict.fromkeys(("bootstrap_timeout_ms", "max_block_ms"), SEND_MS_MAX)
    try:
        with KafkaProducer(bootstrap_servers=broker, acks="all", **timeouts) as producer:
            count = 1 if topic in ONE_PARTITION else len(producer.partitions_for(topic))
            only = partition_of(key.encode(), count)
            partitions = range(count) if in_every_partition else [only]
            value = msgspec.json.encode(record)
            sent = [producer.send(topic, value, key=key.encode(), partition=n) for n in partitions]
            for delivery in sent:
                delivery.get(SEND_MS_MAX / 1000)
    except (KafkaError, ValueError) as error:
        raise TopicsError(
            f"Kafka at {broker} did not take {called} ({type(error).__name__}): "
            "check the address, and the topics with `fairuse topics --check`."
        ) from error
    return len(partitions)


def decision_of(days: float | None, **fields: Any) -> Decision:
    """Make a decision that is taken now.

    Parameters
    ----------
    days
        How long it holds, days; None for an exemption without end and for kinds without duration.
    fields
        `kind`, `reason`, `decided_by`, and what else the kind needs (`FORMS`).

    Returns
    -------
    The decision, with a new id.

    Raises
    ------
    DecisionError
        A field is missing, unknown, or does not belong to this kind.
    """
    now_ms = wall_clock()
    named = fields if days is None else fields | {"days": days}
    _refuse_form(fields["kind"], named.keys() - {"kind", "reason", "decided_by"})
    if days is not None and not isfinite(days):
        raise DecisionError(f"--days can't be {days}: give a number.")
    if "rule" in fields and fields["rule"] not in KNOWN_RULES:
        near = get_close_matches(fields["rule"], KNOWN_RULES, 1)
        hint = f"did you mean {near[0]}?" if near else "docs/RULES.md has them all."
        raise DecisionError(f"There is no rule {fields['rule']!r}: {hint}")
    until = {} if days is None else {"until_ms": now_ms + round(days * DAY_MS)}
    fixed = {"decision_id": uuid4().hex, "time_ms": now_ms}
    try:
        return msgspec.convert({"customer_id": EVERYBODY} | fields | fixed | until, Decision)
    except msgspec.ValidationError as error:
        raise DecisionError(f"That is no decision ({error}): change what it names.") from None


def _refuse_form(kind: str, named: set[str]) -> None:
    """Raise `DecisionError` if a kind of decision lacks a field, or has one too many."""
    needed, optional = OF_RULE if kind == "reject" and named == {"rule"} else FORMS[kind]
    if missing := [name for name in needed if name not in named]:
        flags = " and ".join(map(_flag, missing))
        what = "how long it holds" if missing == ["days"] else "what it is about"
        raise DecisionError(f"{kind} needs {flags}: say {what}.")
    if {"rule", "action_id"} <= named & {*needed, *optional}:
        raise DecisionError("An action has a rule of its own: name --rule or --action, not both.")
    if surplus := sorted(named - {*needed, *optional}):
        flags = " and ".join(map(_flag, surplus))
        raise DecisionError(f"{kind} takes no {flags} here: leave it out.")


def _flag(name: str) -> str:
    return f"--{name.removesuffix('_id')}"


def policy_record(
    document: str, begins: datetime, share_percent: int, base: Policy
) -> PolicyRecord:
    """Make the record that puts a policy into force at a time.

    Parameters
    ----------
    document
        The policy, TOML.
    begins
        Event time from which it holds; in the policy's own zone if it names none.
    share_percent
        How many customers in a hundred it is for; 0 applies it in shadow only.
    base
        The policy that the workers were started with.

    Returns
    -------
    A record that such workers accept.

    Raises
    ------
    PolicyError
        The document or the time cannot be used, or workers would have to restart for it.
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
