"""`fairuse enforce` between a real Kafka and a real RADIUS server, killed in the middle."""

import asyncio
import json
import signal
import time
from collections import defaultdict
from contextlib import closing

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from schemas.topics import ACTIONS, ENFORCEMENT_RESULTS
from streams.broker.topics import create_topics
from streams.clock import wall_clock
from streams.enforce import member
from streams.enforce.store import Store
from tests.support.harness.enforcing import action
from tests.support.harness.live import POLL_SECONDS, produce, read_topic
from tests.support.harness.live_enforcement import FINAL, Enforcement
from tests.support.harness.radius_server import SECRET
from tests.support.harness.receiver import Receiver

PARTITIONS = 4
APP_ID = "fairuse"
DONE_SECONDS_MAX = 180
KILLS = 5
SENT_AT_ONCE = 30


@pytest.fixture
def site(kafka, tmp_path):
    """Topics that are empty."""
    create_topics(kafka.bootstrap, PARTITIONS, 1, APP_ID)
    yield kafka.bootstrap
    while Enforcement.started:
        process = Enforcement.started.pop()
        process.kill()
        process.wait()


def send(bootstrap, actions):
    asyncio.run(produce(bootstrap, [record_of(each) for each in actions], PARTITIONS))


def record_of(one):
    return ACTIONS, one.customer_id.encode(), msgspec.json.encode(one)


def results(bootstrap):
    """The statuses of each action, in the order in which they were reported."""
    statuses = defaultdict(list)
    for record in read_topic(bootstrap, ENFORCEMENT_RESULTS):
        said = json.loads(record.value)
        assert record.key == said["customer_id"].encode()
        statuses[said["action_id"]].append(said["status"])
    return statuses


def wait_until_answered(bootstrap, action_ids):
    deadline = time.monotonic() + DONE_SECONDS_MAX
    while True:
        said = results(bootstrap)
        left = [name for name in action_ids if not FINAL & set(said[name])]
        if not left:
            return said
        assert time.monotonic() < deadline, f"without an answer: {left}"
        time.sleep(POLL_SECONDS)


def lag(bootstrap, adapter):
    """Actions without a final answer, as those see it who watch the group."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    group = f"{APP_ID}-enforce-{adapter}"
    committed = admin.list_group_offsets([group]).get(group, {})
    admin.close()
    ends = defaultdict(int)
    for record in read_topic(bootstrap, ACTIONS):
        ends[TopicPartition(ACTIONS, record.partition)] = record.offset + 1
    return sum(end - committed[part].offset for part, end in ends.items())


def wait_until_committed(bootstrap, adapter):
    deadline = time.monotonic() + DONE_SECONDS_MAX
    while left := lag(bootstrap, adapter):
        assert time.monotonic() < deadline, f"{left} actions are not committed"
        time.sleep(POLL_SECONDS)


def wait_until_told(radius, packets, seconds_max=20):
    """Until the RADIUS server has had so many packets, if it gets so many."""
    deadline = time.monotonic() + seconds_max
    while len(radius.rows("SELECT * FROM told")) < packets and time.monotonic() < deadline:
        time.sleep(0.01)


HELD = {
    "throttle": "throttle/rate_kbps:128",
    "suspend": "suspend",
    "release": "unrestricted",
}


def stories(chance, customers):
    """Throttled, then suspended, then released, each customer up to some step; some later."""
    by_customer = {}
    for number in range(customers):
        steps = list(HELD)[: chance.randint(1, 3)]
        name, made = f"3247{number:07}", []
        for step in steps:
            later_ms = chance.choice([0, 0, 1_500]) if step == "throttle" else 0
            made.append(
                action(
                    f"{step}-{number}",
                    step,
                    customer_id=name,
                    effective_ms=wall_clock() + later_ms,
                    supersedes=made[-1].action_id if made else None,
                )
            )
        by_customer[name] = made
    return by_customer


def mixed(chance, by_customer):
    """All actions, each customer's in order, some of them twice."""
    queues = [list(made) for made in by_customer.values()]
    sent = []
    while queues := [queue for queue in queues if queue]:
        sent.append(chance.choice(queues).pop(0))
        if chance.random() < 0.2:
            sent.append(sent[-1])
    return sent


def test_a_killed_process_loses_nothing_and_the_network_holds_what_was_asked(
    site, radius, tmp_path, chance
):
    by_customer = stories(chance, 60)
    sent = mixed(chance, by_customer)
    process = Enforcement(
        site,
        tmp_path,
        "radius",
        *("--radius-host", "127.0.0.1", "--radius-port", str(radius.coa_port)),
        radius_secret=SECRET,
    )
    interrupted = 0
    for part in range(KILLS):
        process.start()
        send(site, sent[part * SENT_AT_ONCE : (part + 1) * SENT_AT_ONCE])
        wait_until_told(radius, len(radius.rows("SELECT * FROM told")) + chance.randint(1, 15))
        process.kill()
        with Store(tmp_path / "enforce-radius.sqlite") as store:
            interrupted += store.held()[0] + len(store.unsent(1_000))
    assert interrupted, "no kill came in the middle"
    process.start()
    send(site, sent[KILLS * SENT_AT_ONCE :])
    asyncio.run(produce(site, [(ACTIONS, b"x", b"not json")], PARTITIONS))

    said = wait_until_answered(site, {each.action_id for each in sent})
    wait_until_committed(site, "radius")
    assert process.stop() == 0
    assert "Traceback" not in process.said()

    assert radius.held() == {name: HELD[made[-1].kind] for name, made in by_customer.items()}
    for name, made in by_customer.items():
        assert said[made[-1].action_id][-1] == "applied"
        asked = [HELD[one.kind] for one in made if said[one.action_id][-1] == "applied"]
        held = [spelled for packet, spelled in radius.told(name) if packet == "CoA-Request"]
        once = [each for place, each in enumerate(held) if held[place - 1 : place] != [each]]
        assert once == asked
    for statuses in said.values():
        assert len(FINAL & set(statuses)) == 1
    packets = [packet for (packet,) in radius.rows("SELECT packet FROM told")]
    applied = sum(statuses[-1] == "applied" for statuses in said.values())
    assert applied <= packets.count("CoA-Request") <= applied + KILLS


def webhook(site, folder, receiver, *flags):
    return Enforcement(
        site,
        folder,
        "webhook",
        *("--webhook-url", receiver.url, *flags),
        webhook_secret="whsec_YWJj",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_action_that_takes_effect_later_survives_a_restart(site, tmp_path, number):
    with Receiver() as receiver:
        process = webhook(site, tmp_path, receiver).start()
        send(site, [action("t", effective_ms=wall_clock() + 8_000), action("n", "notify")])
        wait_until_answered(site, {"n"})
        assert process.stop(number) == 0
        assert [each.headers["webhook-id"] for each in receiver.requests] == ["n"]
        assert lag(site, "webhook") == 2
        process.start()
        said = wait_until_answered(site, {"t"})
        assert said == {"n": ["accepted", "delivered"], "t": ["accepted", "applied"]}
        wait_until_committed(site, "webhook")
        assert process.stop(number) == 0
        assert [each.headers["webhook-id"] for each in receiver.requests] == ["n", "t"]
    assert "Traceback" not in process.said()


def test_a_broker_that_stops_for_a_while_delays_results_and_loses_none(kafka, site, tmp_path):
    with Receiver() as receiver:
        process = webhook(site, tmp_path, receiver).start()
        send(site, [action("t", effective_ms=wall_clock() + 6_000), action("n", "notify")])
        wait_until_answered(site, {"n"})
        kafka.stop()
        try:
            process.wait_for(" yet (")
            wait_until_sent(receiver, "t")
        finally:
            kafka.start()
        said = wait_until_answered(site, {"t"})
        assert said == {"n": ["accepted", "delivered"], "t": ["accepted", "applied"]}
        send(site, [action("u", "notify")])
        wait_until_answered(site, {"u"})
        assert process.stop() == 0
        assert [each.headers["webhook-id"] for each in receiver.requests] == ["n", "t", "u"]


def wait_until_sent(receiver, action_id):
    deadline = time.monotonic() + DONE_SECONDS_MAX
    while action_id not in [each.headers["webhook-id"] for each in receiver.requests]:
        assert time.monotonic() < deadline, f"{action_id} was not sent"
        time.sleep(POLL_SECONDS)


def poll_until(consumer, is_so, read):
    """Poll as a busy process does, without waiting, and keep what is read."""
    deadline = time.monotonic() + DONE_SECONDS_MAX
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        for records in consumer.poll(0).values():
            read.extend(records)


def test_a_join_that_outlives_its_poll_is_begun_again(site, monkeypatch):
    """New partitions are seen by a poll that does not wait for the group's answer."""
    monkeypatch.setattr(member, "JOIN_SECONDS_MAX", 1)
    with closing(
        member.Member(
            bootstrap_servers=site,
            group_id="a",
            group_instance_id="a",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            metadata_max_age_ms=100,
        )
    ) as consumer:
        read = []
        consumer.join(ACTIONS)
        poll_until(consumer, lambda: len(consumer.assignment()) == PARTITIONS, read)
        with closing(KafkaAdminClient(bootstrap_servers=site)) as admin:
            admin.create_partitions({ACTIONS: PARTITIONS + 1})
        poll_until(consumer, lambda: consumer.is_joining, read)
        time.sleep(2)
        forgotten = KafkaConsumer.poll(consumer, 500)
        assert consumer.is_joining, "kafka-python no longer forgets a join: drop Member"
        assert not forgotten
        poll_until(consumer, lambda: not consumer.is_joining, read)
        assert len(consumer.assignment()) == PARTITIONS + 1
        asyncio.run(produce(site, [(ACTIONS, b"x", b"{}")], PARTITIONS + 1))
        poll_until(consumer, lambda: read, read)
        consumer.commit()


def test_a_dry_run_says_what_it_would_do_and_leaves_no_trace(site, tmp_path):
    with Receiver() as receiver:
        process = webhook(site, tmp_path, receiver, "--dry-run").start()
        later = action("t", effective_ms=wall_clock() + 3_600_000)
        send(site, [later, action("n", "notify"), action("s", "suspend", human_review=True)])
        process.wait_for("would notify 32470000001 data (data_bundle, base-plans; n)")
        process.wait_for("will throttle 32470000001 data at ")
        assert process.stop(signal.SIGINT) == 0
        assert receiver.requests == []
    assert "suspend" not in process.said()
    assert results(site) == {}
    assert not list(tmp_path.glob("*.sqlite"))


def test_a_second_process_takes_over_and_the_first_one_ends(site, tmp_path):
    """With a folder of its own; in the same folder it is refused."""
    (tmp_path / "second").mkdir()
    with Receiver() as receiver:
        first = webhook(site, tmp_path, receiver).start()
        send(site, [action("a", "notify")])
        wait_until_answered(site, {"a"})
        same = webhook(site, tmp_path, receiver)
        same.log = tmp_path / "same.log"
        assert same.start().process.wait(120) == 1
        assert "in use by another" in same.said()
        second = webhook(site, tmp_path / "second", receiver).start()
        send(site, [action("b", "notify")])
        assert first.process.wait(120) == 1
        assert "has taken over" in first.said()
        wait_until_answered(site, {"b"})
        assert second.stop() == 0
    assert "Traceback" not in first.said() + same.said() + second.said()
