"""What a person decided, put on the topic `decisions`."""

from difflib import get_close_matches
from math import isfinite
from typing import Any
from uuid import uuid4

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from detectors.policies.editions import KNOWN_RULES
from schemas.records import Decision
from schemas.topics import DECISIONS
from schemas.units import DAY_MS
from streams.broker.partitioner import partition_of
from streams.broker.topics import TopicsError
from streams.clock import wall_clock

ANSWER_MS_MAX = 10_000
"""A broker that has not answered by then is taken for unreachable."""

EVERYBODY = "*"
"""The customer of a decision that is about a rule, or about everything."""


class DecisionError(Exception):
    """Something that can't be decided so; the message is one sentence that says what to do."""


OF_ACTION, OF_RULE = (("customer_id", "action_id"), ()), (("rule",), ())

FORMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "approve": OF_ACTION,
    "reject": OF_ACTION,
    "exempt": (("customer_id",), ("rule", "days")),
    "snooze": (("customer_id", "days"), ("rule", "action_id")),
    "release_brake": ((), ("rule",)),
}
"""What a kind of decision has to name, and what else it may; a rejection may also be of a rule."""


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
    named = {name: value for name, value in said.items() if value is not None}
    decision = decision_of(days, **named)
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


def decision_of(days: float | None, **said: Any) -> Decision:
    """The decision that was said, as of now; an exemption for no number of days has no end."""
    now_ms = wall_clock()
    named = said if days is None else said | {"days": days}
    _refuse_form(said["kind"], named.keys() - {"kind", "reason", "decided_by"})
    if days is not None and not isfinite(days):
        raise DecisionError(f"--days can't be {days}: give a number.")
    if "rule" in said and said["rule"] not in KNOWN_RULES:
        near = get_close_matches(said["rule"], KNOWN_RULES, 1)
        hint = f"did you mean {near[0]}?" if near else "docs/RULES.md has them all."
        raise DecisionError(f"There is no rule {said['rule']!r}: {hint}")
    until = {} if days is None else {"until_ms": now_ms + round(days * DAY_MS)}
    fixed = {"decision_id": uuid4().hex, "time_ms": now_ms}
    try:
        return msgspec.convert({"customer_id": EVERYBODY} | said | fixed | until, Decision)
    except msgspec.ValidationError as error:
        raise DecisionError(f"That is no decision ({error}): change what it names.") from None


def _refuse_form(kind: str, named: set[str]) -> None:
    """Raise `DecisionError` if a kind of decision lacks something, or says too much."""
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
