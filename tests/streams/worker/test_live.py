"""One worker on a real broker: bad input, figures, and where a customer stands."""

import asyncio
import base64
import signal
import time
import urllib.request
from collections import Counter
from dataclasses import replace

import msgspec

from schemas.events import Sms
from streams.synthetic.generator import Operator, OperatorShape
from streams.synthetic.parts import PARTS
from streams.synthetic.parts.schedules import days_between
from tests.support.harness.live import (
    POLL_SECONDS,
    Worker,
    assert_equal_to_replay,
    customer_records,
    fresh_topics,
    produce,
    read_topic,
    records_of,
    usage_records,
    wait_until_committed,
)

PARTITIONS = 4
APP_ID = "fairuse"

GOOD = b'{"type":"sms","event_id":"%s","customer_id":"%s","event_time_ms":%s,"recipient":"r"%s}'


def bad_records(number: int, time_ms: int, known: bytes) -> list[tuple[str, bytes, bytes, str]]:
    """One record of every kind of bad: topic, key, value, reason; `known` is an announced customer.

    Whoever is named only in bad records is nobody's customer, but who corrects is one.
    """
    customer, event_id, when = b"bad%d" % (number % 7), b"bad-%d" % number, b"%d" % time_ms
    good = GOOD % (event_id, customer, when, b"")
    changed = [
        (good[:-3], "not_json"),
        (b"\xff\xfe\x00", "not_json"),
        (b"[]", "wrong_type"),
        (good.replace(b'"recipient":"r"', b'"recipent":"r"'), "missing_field"),
        (good.replace(b'"recipient":"r"', b'"recipient":7'), "wrong_type"),
        (good.replace(b'"sms"', b'"pigeon"'), "unknown_type"),
        (good.replace(when, b"1000"), "time_out_of_range"),
        (good.replace(when, b"%d" % ((time.time_ns() // 10**6) + 90_000_000)), "time_out_of_range"),
        (good.replace(event_id, b"x" * 65), "string_length"),
        (GOOD % (event_id, customer, when, b',"direction":"up"'), "unknown_value"),
        (GOOD % (event_id, customer, when, b',"segment_number":-1'), "negative_amount"),
        (good + b" " * 1_048_576, "oversized"),
        (good.replace(when, b"%d" % (time_ms - 400 * 86_400_000)), "too_late"),
    ]
    rows = [("usage.sms", customer, value, reason) for value, reason in changed]
    rows.append(("usage.voice", customer, good, "wrong_topic"))
    rows.append(("usage.sms", b"someone", good, "wrong_key"))
    unknown = GOOD % (event_id, known, when, b',"corrects":"never sent"')
    rows.append(("usage.sms", known, unknown, "correction"))
    return rows


def test_bad_records_are_kept_and_the_rest_is_exact(kafka, tmp_path, seed, chance):
    """5 % of bad input of every kind: all of it and only it in dead letters."""
    operator = Operator(OperatorShape(customers=200, days=15, seed=seed))
    lines = [msgspec.json.encode(event) for day in operator.days() for event in day]
    (tmp_path / "usage.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    fresh_topics(kafka.bootstrap, APP_ID, PARTITIONS)
    allow_large_records(kafka.bootstrap)
    known = operator.customers()[0].customer_id.encode()
    records, salted = [], []
    for position, record in enumerate(usage_records(lines)):
        if chance.random() < 0.05 and position > len(lines) // 2:
            # What is refused late has moved the watermark on, so it comes in time.
            time_ms = msgspec.json.decode(record[2])["event_time_ms"]
            topic, key, value, reason = chance.choice(bad_records(position, time_ms, known))
            if reason != "oversized" or sum(len(s[2]) > 10**6 for s in salted) < 20:
                salted.append((topic, key, value, reason))
                records.append((topic, key, value))
        records.append(record)
    asyncio.run(produce(kafka.bootstrap, customer_records(operator.customers()), PARTITIONS))
    worker = Worker(kafka.bootstrap, tmp_path)
    try:
        worker.start()
        asyncio.run(produce(kafka.bootstrap, records, PARTITIONS))
        worker.wait_ready()
        wait_until_committed(kafka.bootstrap, APP_ID)
        kept_records = read_topic(kafka.bootstrap, "dead-letters")
        letters = [msgspec.json.decode(record.value) for record in kept_records]
        kept = Counter((d["reason"], base64.b64decode(d["value_base64"])) for d in letters)
        sent = Counter((reason, value) for _, _, value, reason in salted)
        assert kept == sent, {r for r, _ in kept - sent} | {r for r, _ in sent - kept}
        assert {reason for reason, _ in sent} >= {"not_json", "wrong_key", "too_late", "oversized"}
        assert_equal_to_replay(
            kafka.bootstrap, APP_ID, operator.customers(), [tmp_path / "usage.ndjson"], PARTITIONS
        )
        page = urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics").read().decode()
        counted = sum(
            float(line.rsplit(" ", 1)[1])
            for line in page.splitlines()
            if line.startswith("fairuse_dead_letters_total")
        )
        assert counted == len(salted)
        assert worker.stop() == 0
    finally:
        worker.alive() and worker.kill()


def test_a_backlog_whose_topics_end_at_different_times_is_read_in_step(kafka, tmp_path, seed):
    """Rules over several kinds give what a replay gives, whatever the worker fetches first."""
    # What rules over several kinds look for happens before the texts end: of `deviation` in the
    # first two whole weeks, among enough customers to compare with.
    soon = {"machine": days_between(0, 14), "deviation": days_between(1, 15)}
    parts = [replace(part, when=soon.get(part.name, part.when)) for part in PARTS]
    operator = Operator(OperatorShape(customers=300, days=70, seed=seed), parts)
    events = [event for day in operator.days() for event in day]
    last_text_ms = events[len(events) * 2 // 3].event_time_ms
    lines = [
        msgspec.json.encode(event)
        for event in events
        if not isinstance(event, Sms) or event.event_time_ms <= last_text_ms
    ]
    (tmp_path / "usage.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    fresh_topics(kafka.bootstrap, APP_ID, PARTITIONS)
    asyncio.run(produce(kafka.bootstrap, customer_records(operator.customers()), PARTITIONS))
    asyncio.run(produce(kafka.bootstrap, usage_records(lines), PARTITIONS))
    worker = Worker(kafka.bootstrap, tmp_path)
    try:
        worker.start().wait_ready()
        wait_until_committed(kafka.bootstrap, APP_ID, 200)
        assert_equal_to_replay(
            kafka.bootstrap, APP_ID, operator.customers(), [tmp_path / "usage.ndjson"], PARTITIONS
        )
        found = records_of(kafka.bootstrap, "findings", "finding_id").values()
        assert {finding["rule"] for finding in found} >= {"gateway", "machine", "deviation"}
        assert worker.stop() == 0
    finally:
        worker.alive() and worker.kill()


def allow_large_records(bootstrap: str) -> None:
    """Let the usage topics take a record that the worker has to refuse."""
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    resource = ConfigResource(
        ConfigResourceType.TOPIC, "usage.sms", configs={"max.message.bytes": "4000000"}
    )
    admin.alter_configs([resource])
    admin.close()


def test_any_worker_leads_to_where_a_customer_stands(kafka, tmp_path):
    fresh_topics(kafka.bootstrap, APP_ID, PARTITIONS)
    workers = [Worker(kafka.bootstrap, tmp_path, name) for name in ("w1", "w2")]
    now_ms = time.time_ns() // 10**6
    lines = [
        GOOD % (b"e%d-%d" % (c, n), b"c%d" % c, b"%d" % (now_ms - n), b"")
        for c in range(20)
        for n in range(c)
    ]
    try:
        for worker in workers:
            worker.start().wait_ready()
        asyncio.run(produce(kafka.bootstrap, usage_records(lines), PARTITIONS))
        wait_until_committed(kafka.bootstrap, APP_ID)
        wait_settled(workers)
        for worker in workers:
            for c in range(1, 20):
                standing = worker.get(f"/customers/c{c}")
                assert standing["rules"]["sms_monthly"][0]["observed"] == c
                assert standing["rules"]["sms_monthly"][0]["limit"] == 10_000
        assert workers[0].get("/customers/nobody") is None
        workers[0].signal(signal.SIGTERM)
        assert workers[0].process.wait(120) == 0
    finally:
        for worker in workers:
            worker.alive() and worker.kill()


def wait_settled(workers: list[Worker]) -> None:
    """Wait until both workers hold partitions and are not rebalancing."""
    deadline = time.monotonic() + 120
    while not all(worker.get("/health", {}).get("ready") for worker in workers):
        assert time.monotonic() < deadline, "the workers did not settle"
        time.sleep(POLL_SECONDS)
