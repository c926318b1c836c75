"""`fairuse explain` on a real broker: what a worker decided agrees with what the topics hold."""

import asyncio

import msgspec
import pytest
from kafka import KafkaAdminClient, TopicPartition

from detectors.policies.editions import load_policy
from streams.explain.command import explain
from streams.explain.spans import InputGone, spans_of
from streams.explain.topics import Topics, read_topics
from streams.synthetic.generator import Operator, OperatorShape
from tests.support.harness.command import assert_one_sentence, fairuse
from tests.support.harness.live import (
    DEDUP_ENTRIES_MAX,
    Worker,
    customer_records,
    fresh_topics,
    of_topics,
    produce,
    usage_records,
    wait_until_committed,
)

PARTITIONS = 4


def test_what_a_worker_decided_agrees_with_the_topics_until_they_forget(kafka, tmp_path):
    """The last action of each rule; then the oldest usage is deleted, and it is gone."""
    operator = Operator(OperatorShape(customers=200, days=20, seed=11))
    lines = [msgspec.json.encode(event) for day in operator.days() for event in day]
    fresh_topics(kafka.bootstrap, "fairuse", PARTITIONS)
    asyncio.run(produce(kafka.bootstrap, customer_records(operator.customers()), PARTITIONS))
    worker = Worker(kafka.bootstrap, tmp_path)
    try:
        worker.start()
        asyncio.run(produce(kafka.bootstrap, usage_records(lines), PARTITIONS))
        worker.wait_ready()
        wait_until_committed(kafka.bootstrap, "fairuse")
    finally:
        worker.stop()

    topics = Topics(kafka.bootstrap)
    policy = load_policy()
    chosen = {action.rule: action for action in topics.actions()}
    assert len(chosen) >= 20, sorted(chosen)
    for action in chosen.values():
        usage = of_topics(kafka.bootstrap)
        explained = explain(action.action_id, topics, usage, policy, DEDUP_ENTRIES_MAX)
        assert explained.verdict == "agrees", (action, explained.outcomes)

    action = chosen["sms_daily"]
    told = ("--broker", kafka.bootstrap)
    shown = fairuse("explain", action.action_id, *told)
    assert shown.returncode == 0, shown.stderr
    assert "it agrees" in shown.stdout

    (span,) = spans_of(action.evidence)
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        admin.delete_records({TopicPartition(span.topic, span.partition): span.first_offset + 1})
    gone = fairuse("explain", action.action_id, *told)
    assert_one_sentence(gone, 1, "is gone", f"{span.topic}[{span.partition}]", "no longer kept")
    beyond = span._replace(first_offset=span.last_offset, last_offset=10**9)
    for missing in (beyond, span._replace(partition=99)):
        with pytest.raises(InputGone, match="missing"):
            list(read_topics([missing], kafka.bootstrap))


def test_without_a_broker_there_is_one_sentence():
    """That says what to do."""
    result = fairuse("explain", "a-0", "--broker", "127.0.0.1:9")
    assert_one_sentence(result, 1, "127.0.0.1:9", "check the address")
