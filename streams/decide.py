"""What a person decided, put on the topic `decisions`."""

from difflib import get_close_matches
from math import isfinite
from typing import Any
from uuid import uuid4

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from detectors.policies import PARAMETERS
from schemas.records import Decision
from streams.clock import wall_clock
from streams.partitioner import partition_of
from streams.topics import DAY_MS, DECISIONS, TopicsError

ANSWER_MS_MAX = 10_000
"""A broker that has not answered by then is taken for unreachable."""

EVERYBODY = "*"
"""The customer of a decision that is about a rule, or about everything."""


class DecisionError(Exception):
    """Something that can't be decided so; the message is one sentence that says what to do."""


NEEDED = {
    "approve": ("customer_id", "action_id"),
    "exempt": ("customer_id",),
    "snooze": ("customer_id", "rule"),
}
"""What a kind of decision has to name; a rejection names an action, or a rule that is braked."""


def send_decision(bootstrap: str, days: float | None, **said: str | None) -> int:
    """Put a decision on the topic; how many partitions it went to.

    One that names no customer goes to every partition, for each has a brake of its own.

    Raises
    ------
    DecisionError
        What was said is no decision.
    TopicsError
        The broker can't be reached, or refused it.
    """
    decision = _decision(days, {name: value for name, value in said.items() if value is not None})
    customer_id = decision.customer_id
    value, key = msgspec.json.encode(decision), decision.customer_id.encode()
    try:
        producer = KafkaProducer(
            bootstrap_servers=bootstrap, acks="all", bootstrap_timeout_ms=ANSWER_MS_MAX
        )
        with producer:
            count = len(producer.partitions_for(DECISIONS))
            numbers = range(count) if customer_id == EVERYBODY else [partition_of(key, count)]
            sent = [producer.send(DECISIONS, value, key=key, partition=n) for n in numbers]
            for delivery in sent:
                delivery.get(ANSWER_MS_MAX / 1000)
    except KafkaError as error:
        raise TopicsError(
            f"The decision was not taken in by Kafka at {bootstrap} ({type(error).__name__}): "
            "check the address and the topics with `fairuse topics --check`, and try again."
        ) from error
    return len(numbers)


def _decision(days: float | None, said: dict[str, Any]) -> Decision:
    kind, now_ms = said["kind"], wall_clock()
    needed = NEEDED.get(kind, ())
    if kind == "reject":
        needed = ("customer_id", "action_id") if "customer_id" in said else ("rule",)
    if missing := [name for name in needed if name not in said]:
        flags = " and ".join(f"--{name.removesuffix('_id')}" for name in missing)
        raise DecisionError(f"{kind} needs {flags}: say what it is about.")
    if kind in ("exempt", "snooze") and days is None:
        raise DecisionError(f"{kind} needs --days: say how long it holds.")
    if days is not None and not isfinite(days):
        raise DecisionError(f"--days can't be {days}: give a number.")
    if "rule" in said and said["rule"] not in PARAMETERS:
        near = get_close_matches(said["rule"], PARAMETERS, 1)
        hint = f"did you mean {near[0]}?" if near else "docs/RULES.md has them all."
        raise DecisionError(f"There is no rule {said['rule']!r}: {hint}")
    until = {} if days is None else {"until_ms": now_ms + round(days * DAY_MS)}
    fixed = {"decision_id": uuid4().hex, "time_ms": now_ms}
    try:
        return msgspec.convert({"customer_id": EVERYBODY} | said | fixed | until, Decision)
    except msgspec.ValidationError as error:
        raise DecisionError(f"That is no decision ({error}): change what it names.") from None
