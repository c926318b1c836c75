"""The command line: exit codes, one sentence a mistake, the same ids from every file format."""

import gzip
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import zstandard

from detectors import RULES
from detectors.policies import default_policy_path

WEBHOOK = """
adapter = "webhook"
webhook_url = "http://127.0.0.1:9"
webhook_secret = "whsec_YWJj"
"""


def fairuse(*arguments, cwd=None):
    command = [sys.executable, "-m", "streams", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


def assert_one_sentence(result, code, *words):
    assert code == result.returncode, result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    """A generated operator in every file format."""
    folder = tmp_path_factory.mktemp("operator")
    shape = ("--customers", "200", "--days", "40", "--seed", "3")
    written = fairuse(
        "generate",
        *shape,
        "--events",
        folder / "usage.ndjson",
        "--customers-out",
        folder / "customers.ndjson",
        "--planted-out",
        folder / "planted.json",
    )
    assert written.returncode == 0, written.stderr
    assert fairuse("generate", *shape, "--events", folder / "usage.parquet").returncode == 0
    plain = (folder / "usage.ndjson").read_bytes()
    (folder / "usage.ndjson.gz").write_bytes(gzip.compress(plain, 1))
    (folder / "usage.ndjson.zst").write_bytes(zstandard.compress(plain))
    return folder


def ids(operator, name, tmp_path):
    out = tmp_path / "findings.ndjson"
    actions = tmp_path / "actions.ndjson"
    result = fairuse(
        "replay",
        operator / name,
        "--customers",
        operator / "customers.ndjson",
        "--findings",
        out,
        "--actions",
        actions,
    )
    assert result.returncode == 0, result.stderr
    findings = [msgspec.json.decode(line)["finding_id"] for line in out.read_bytes().splitlines()]
    decided = [msgspec.json.decode(line)["action_id"] for line in actions.read_bytes().splitlines()]
    return findings, decided


def test_every_file_format_gives_the_same_ids(operator, tmp_path):
    expected = ids(operator, "usage.ndjson", tmp_path)
    assert len(expected[0]) == len(set(expected[0])) > 0
    for name in ("usage.ndjson.gz", "usage.ndjson.zst", "usage.parquet"):
        found = ids(operator, name, tmp_path)
        assert list(map(set, expected)) == list(map(set, found)), name


def test_a_replay_hears_results_and_decisions():
    """The scenario's own test says which actions; here it is about the flags."""
    folder = Path(__file__).parent / "scenarios/sms_daily/ten_customers_in_two_months"
    result = fairuse(
        "replay",
        folder / "input.ndjson",
        "--policy",
        folder / "policy.toml",
        "--results",
        folder / "results.ndjson",
        "--decisions",
        folder / "decisions.ndjson",
        "--actions",
        "-",
    )
    assert result.returncode == 0, result.stderr
    actions = [msgspec.json.decode(line) for line in result.stdout.splitlines()]
    expected = msgspec.json.decode((folder / "expected.json").read_bytes())["actions"]
    told = Counter((action["customer_id"], action["kind"]) for action in actions)
    assert told == Counter((action["customer_id"], action["kind"]) for action in expected)


def test_a_replay_in_a_pipe_prints_nothing_but_records(operator):
    result = fairuse(
        "replay",
        operator / "usage.parquet",
        "--customers",
        operator / "customers.ndjson",
        "--findings",
        "-",
    )
    assert result.returncode == 0
    assert all(msgspec.json.decode(line)["finding_id"] for line in result.stdout.splitlines())
    assert result.stderr.count("\n") == 1


def test_a_missing_input_is_named(tmp_path):
    assert_one_sentence(fairuse("replay", tmp_path / "no.ndjson"), 1, "no.ndjson", "check the name")


def test_an_unknown_ending_is_named(tmp_path):
    (tmp_path / "usage.txt").write_text("{}")
    assert_one_sentence(fairuse("replay", tmp_path / "usage.txt"), 1, "usage.txt", ".ndjson")


def test_an_unreachable_broker_is_named():
    for command in ("topics", "worker"):
        result = fairuse(command, "--broker", "127.0.0.1:9")
        assert_one_sentence(result, 1, "127.0.0.1:9")


@pytest.mark.parametrize(
    ("flags", "settings", "words"),
    [
        ((), "", ("--adapter",)),
        (("--adapter", "webhook"), "", ("webhook_url", "FAIRUSE_WEBHOOK_URL")),
        (("--webhook-url", "host"), 'adapter = "webhook"', ("https://",)),
        (("--webhook-url", "http://host"), 'adapter = "webhook"', ("webhook_secret",)),
        (("--adapter", "radius"), "", ("radius_host",)),
        (("--radius-host", "host"), 'adapter = "radius"', ("FAIRUSE_RADIUS_SECRET",)),
        ((), 'adapter = "policy-counter"', ("policy_counter_url",)),
        ((), WEBHOOK.replace("whsec_YWJj", "whsec_?"), ("base64",)),
        (("--kinds", "notify,throtle"), WEBHOOK, ("throtle", "throttle")),
    ],
)
def test_what_enforcement_needs_is_named(tmp_path, flags, settings, words):
    (tmp_path / "fairuse.toml").write_text(settings)
    assert_one_sentence(fairuse("enforce", *flags, cwd=tmp_path), 2, *words)


def test_enforcement_says_when_no_broker_answers(tmp_path):
    (tmp_path / "fairuse.toml").write_text(WEBHOOK)
    result = fairuse("enforce", "--broker", "127.0.0.1:9", cwd=tmp_path)
    assert_one_sentence(result, 1, "127.0.0.1:9")


def test_a_setting_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "fairuse.toml").write_text("partitions = 0\n")
    result = fairuse("topics", cwd=tmp_path)
    assert_one_sentence(result, 2, "partitions")


def test_the_default_policy_has_no_mistakes():
    result = fairuse("policy", "check", default_policy_path())
    assert result.returncode == 0, result.stderr
    assert f"{len(RULES)} rules" in result.stdout


def test_every_mistake_of_a_policy_is_reported_with_its_line(tmp_path):
    text = default_policy_path().read_text()
    broken = text.replace("limit = 350", 'limit = "many"').replace(
        "[rules.portscan]", "[rules.porscan]"
    )
    path = tmp_path / "policy.toml"
    path.write_text(broken)
    result = fairuse("policy", "check", path)
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    for mistake, word in ((lines[0], "limit"), (lines[1], "portscan")):
        number = int(mistake.split("line ")[1].split(":")[0])
        assert Path(path).read_text().splitlines()[number - 1]
        assert word in mistake
