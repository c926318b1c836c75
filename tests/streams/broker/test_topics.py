"""Topics on a real Kafka: made as the contract says, and told what is wrong with those there."""

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from schemas.topics import ACTIONS, COHORT_AVERAGES, CUSTOMERS, DEAD_LETTERS, POLICIES
from streams.broker.topics import (
    Retention,
    TopicsError,
    changelog_names,
    check_topics,
    create_topics,
    topic_specs,
)

APP_ID = "fairuse"
DETECT_CHANGELOG, VERDICT_CHANGELOG = changelog_names(APP_ID)


@pytest.fixture
def bootstrap(kafka):
    """Address of a Kafka without topics."""
    return kafka.bootstrap


def create_by_hand(bootstrap, name, partitions, policy):
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        topic = {"num_partitions": partitions, "configs": {"cleanup.policy": policy}}
        admin.create_topics({name: topic}, wait_for_metadata=True)


def test_all_topics_are_split_alike_but_those_that_every_worker_reads_whole():
    partitions = {spec.name: spec.partitions for spec in topic_specs(6, 3, APP_ID)}
    assert partitions.pop(POLICIES) == partitions.pop(COHORT_AVERAGES) == 1
    assert set(partitions.values()) == {6}


def test_with_three_replicas_a_write_waits_for_two():
    specs = topic_specs(6, 3, APP_ID)
    assert {spec.request()["configs"]["min.insync.replicas"] for spec in specs} == {"2"}


def test_created_topics_fit(bootstrap):
    created = create_topics(bootstrap, 4, 1, APP_ID)
    assert created == [spec.name for spec in topic_specs(4, 1, APP_ID)]
    assert check_topics(bootstrap, APP_ID) == []


def test_creating_again_makes_only_what_is_missing(bootstrap):
    create_by_hand(bootstrap, CUSTOMERS, 4, "compact")
    assert CUSTOMERS not in create_topics(bootstrap, 4, 1, APP_ID)
    assert create_topics(bootstrap, 4, 1, APP_ID) == []
    assert check_topics(bootstrap, APP_ID) == []


def test_a_topic_gets_the_settings_asked_for(bootstrap):
    create_topics(bootstrap, 1, 1, APP_ID, Retention(actions_ms=123_456_789))
    names = (ACTIONS, DEAD_LETTERS, DETECT_CHANGELOG)
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        configs = admin.describe_configs(resources)["topic"]
    assert configs[ACTIONS]["retention.ms"]["value"] == "123456789"
    assert configs[DEAD_LETTERS]["max.message.bytes"]["value"] == "2097152"
    assert configs[DETECT_CHANGELOG]["min.compaction.lag.ms"]["value"] == "3600000"


def test_missing_topics_are_named_in_one_sentence(bootstrap):
    create_topics(bootstrap, 1, 1, "another-app")
    expected = (
        "Topics are missing, create them with `fairuse topics`: "
        "fairuse-detect-changelog, fairuse-ladder-changelog."
    )
    assert check_topics(bootstrap, APP_ID) == [expected]


def test_a_partition_count_that_differs_is_named(bootstrap):
    create_by_hand(bootstrap, CUSTOMERS, 3, "compact")
    create_by_hand(bootstrap, POLICIES, 2, "compact")
    create_topics(bootstrap, 4, 1, APP_ID)
    customers, policies = check_topics(bootstrap, APP_ID)
    assert customers.startswith("Topic customers has 3 partitions and must have 4")
    assert policies.startswith("Topic policies has 2 partitions and must have 1")


@pytest.mark.parametrize(
    ("name", "policy", "fit"),
    [
        (CUSTOMERS, "delete", "compact"),
        (VERDICT_CHANGELOG, "compact,delete", "compact"),
        (ACTIONS, "compact", "delete"),
    ],
)
def test_a_cleanup_policy_that_loses_records_is_named(bootstrap, name, policy, fit):
    create_by_hand(bootstrap, name, 4, policy)
    create_topics(bootstrap, 4, 1, APP_ID)
    (problem,) = check_topics(bootstrap, APP_ID)
    assert problem.startswith(f"Topic {name} has cleanup.policy={policy} ")
    assert f"--add-config cleanup.policy={fit}`" in problem


def test_more_replicas_than_brokers_is_one_sentence(bootstrap):
    with pytest.raises(TopicsError, match="Replication 3 needs as many brokers"):
        create_topics(bootstrap, 4, 3, APP_ID)


@pytest.mark.parametrize("port", [1, "kafka"])
def test_a_broker_out_of_reach_is_one_sentence(port, monkeypatch):
    monkeypatch.setattr("streams.broker.topics.ANSWER_MS_MAX", 300)
    address = f"127.0.0.1:{port}"
    expected = f"No Kafka broker answers at {address}: check the address, or start the broker."
    with pytest.raises(TopicsError) as creating:
        create_topics(address, 4, 1, APP_ID)
    with pytest.raises(TopicsError) as checking:
        check_topics(address, APP_ID)
    assert str(creating.value) == str(checking.value) == expected
