"""Policies that change while a worker runs on a real broker."""

import asyncio
import re
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime

import msgspec

from detectors.policies.editions import default_policy_path, load_policy
from streams.explain.command import explain
from streams.explain.topics import Topics
from streams.synthetic.generator import Operator, OperatorShape
from tests.support.harness.live import (
    DEDUP_ENTRIES_MAX,
    Worker,
    assert_equal_to_replay,
    customer_records,
    fresh_topics,
    of_topics,
    produce,
    read_topic,
    records_of,
    usage_records,
    wait_until_committed,
)

PARTITIONS = 4
APP_ID = "fairuse"
READ_SECONDS_MAX = 120
EXPLAINED_MAX = 6
"""Actions of each policy; test_explain_topics.py explains one of every rule."""


def document(version, **limits):
    """The default policy with another version and other limits, by rule and parameter."""
    text = default_policy_path().read_text(encoding="utf-8")
    text = text.replace('version = "2024-06-03"', f'version = "{version}"')
    for place, value in limits.items():
        rule, parameter = place.split("__")
        table = re.compile(rf"(\[rules\.{rule}\][^\[]*?\n{parameter} = )[\d_.]+")
        text, found = table.subn(rf"\g<1>{value}", text)
        assert found == 1
    return text


def publish(bootstrap, file, time_ms, *more):
    """`fairuse policy publish`."""
    begins = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()
    command = [sys.executable, "-m", "streams", "policy", "publish", str(file)]
    command += ["--from", begins, "--broker", bootstrap, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


def wait_for_line(worker, text):
    deadline = time.monotonic() + READ_SECONDS_MAX
    while text not in worker.log.read_text():
        assert time.monotonic() < deadline, f"no {text!r} in the log"
        time.sleep(0.1)


def test_policies_change_while_a_worker_runs_as_they_do_in_a_replay(kafka, tmp_path, seed, chance):
    """One for everybody, one on trial, two bad ones, and a crash between them: the same ids."""
    operator = Operator(OperatorShape(customers=200, days=30, seed=seed))
    events = [event for day in operator.days() for event in day]
    usage = tmp_path / "usage.ndjson"
    usage.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    third = len(events) // 3
    second_ms, trial_ms = (events[n].event_time_ms + 1 for n in (third + 1000, 2 * third + 1000))
    fresh_topics(kafka.bootstrap, APP_ID, PARTITIONS)
    asyncio.run(produce(kafka.bootstrap, customer_records(operator.customers()), PARTITIONS))
    worker = Worker(kafka.bootstrap, tmp_path)

    def play(part):
        lines = usage.read_bytes().splitlines()[
            part * third : len(events) if part == 2 else (part + 1) * third
        ]
        asyncio.run(produce(kafka.bootstrap, usage_records(lines), PARTITIONS))
        wait_until_committed(kafka.bootstrap, APP_ID)

    try:
        worker.start().wait_ready()
        play(0)
        publish_second_and_bad(kafka.bootstrap, tmp_path, second_ms)
        wait_for_line(worker, "policy default second holds from")
        wait_for_line(worker, "policies@2 is refused")
        play(1)
        worker.kill()
        worker.start()
        publish_trial(kafka.bootstrap, tmp_path, trial_ms)
        worker.wait_ready()
        wait_for_line(worker, "policy default trial holds from")
        play(2)

        policies = tmp_path / "policies.ndjson"
        values = [record.value for record in read_topic(kafka.bootstrap, "policies")]
        policies.write_bytes(b"\n".join(values) + b"\n")
        customers = operator.customers()
        assert_equal_to_replay(kafka.bootstrap, APP_ID, customers, [usage], PARTITIONS, policies)
        found = records_of(kafka.bootstrap, "findings", "finding_id").values()
        kinds = {(finding["policy"]["version"], finding["shadow"]) for finding in found}
        assert kinds >= {("2024-06-03", False), ("second", False), ("trial", True)}
        assert_refused_once(kafka.bootstrap)
        assert_explained(kafka.bootstrap, chance)
        assert_told(worker, second_ms)
        assert worker.stop() == 0
    finally:
        worker.alive() and worker.kill()


def publish_second_and_bad(bootstrap, folder, time_ms):
    """One for everybody, one that the command refuses, and two that nobody checked."""
    second, reshaped = folder / "second.toml", folder / "reshaped.toml"
    second.write_text(document("second", sms_daily__limit=60, sharing__devices=3))
    reshaped.write_text(document("reshaped", sms_daily__retention_periods=8))
    done = publish(bootstrap, second, time_ms)
    assert done.returncode == 0, done.stderr
    refused = publish(bootstrap, reshaped, time_ms)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "rules.sms_daily.retention_periods: can't change live" in refused.stderr
    record = {
        "name": "default",
        "version": "reshaped",
        "effective_ms": time_ms,
        "document": reshaped.read_text(),
    }
    bad = [("policies", b"default", value) for value in (msgspec.json.encode(record), b"{")]
    asyncio.run(produce(bootstrap, bad, 1))


def publish_trial(bootstrap, folder, time_ms):
    """Strict limits for a fifth of the customers."""
    trial = folder / "trial.toml"
    trial.write_text(document("trial", voice_daily__limit_ms=3_600_000, monitoring__talk_ms_min=1))
    done = publish(bootstrap, trial, time_ms, "--share", "20")
    assert done.returncode == 0, done.stderr


def assert_refused_once(bootstrap):
    """Each bad record is one dead letter, though the topic was read again after the crash."""
    letters = [msgspec.json.decode(r.value) for r in read_topic(bootstrap, "dead-letters")]
    told = [(letter["topic"], letter["offset"], letter["reason"]) for letter in letters]
    assert told == [("policies", 1, "policy"), ("policies", 2, "policy")]
    assert "can't change live" in letters[0]["detail"]


def assert_explained(bootstrap, chance):
    """Some rules' last action under each policy agrees with its input, under that policy."""
    topics, policy = Topics(bootstrap), load_policy()
    last = {(action.rule, action.policy.version): action for action in topics.actions()}
    assert {version for _, version in last} == {policy.version, "second", "trial"}
    chosen = []
    for version in (policy.version, "second", "trial"):
        cases = sorted(case for case in last if case[1] == version)
        chosen += chance.sample(cases, min(len(cases), EXPLAINED_MAX))
    differing = {}
    for case in chosen:
        action = last[case]
        explained = explain(
            action.action_id, topics, of_topics(bootstrap), policy, DEDUP_ENTRIES_MAX
        )
        assert not explained.is_other_policy
        if explained.verdict != "agrees":
            differing[case] = [getattr(o, "differences", o) for o in explained.outcomes]
    assert not differing


def assert_told(worker, second_ms):
    """What holds since when, on the page for people and the one for Prometheus."""
    in_force = {held["version"]: held for held in worker.get("/health")["policies"]}
    assert in_force["second"]["since_ms"] == second_ms
    assert (in_force["trial"]["share_percent"], in_force["trial"]["partitions"]) == (20, 4)
    page = urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics").read().decode()
    assert 'policy="default",share_percent="80",version="second"} 4.0' in page
