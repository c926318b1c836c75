"""The command line: exit codes, one sentence a mistake, the same ids from every file format."""

import gzip
import socket
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
import zstandard

from detectors.policies.editions import default_policy_path
from detectors.rules.registry import RULES
from schemas.records import Action, Customer
from streams.broker.produce import decision_of
from streams.files import sinks
from streams.files.sources import read_records
from tests.support.harness.command import assert_one_sentence, fairuse
from tests.support.paths import GOLDEN, SCENARIOS

WEBHOOK = """
adapter = "webhook"
webhook_url = "http://127.0.0.1:9"
webhook_secret = "whsec_YWJj"
"""


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    """A generated operator in every file format."""
    folder = tmp_path_factory.mktemp("operator")
    shape = ("--customers", "200", "--days", "20", "--seed", "3")
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
    folder = SCENARIOS / "sms_daily/ten_customers_in_two_months"
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


def other_version(version, limit):
    """The default policy with another limit of texts a day."""
    text = default_policy_path().read_text(encoding="utf-8")
    return text.replace("2024-06-03", version).replace("limit = 350", f"limit = {limit}")


def test_policies_take_effect_on_the_way_through_a_replay(operator, tmp_path):
    """From their time on; one that can't be used is a dead letter, and the old one stays."""
    lines = (operator / "usage.ndjson").read_bytes().splitlines()
    middle_ms = msgspec.json.decode(lines[len(lines) // 2])["event_time_ms"]
    records = [
        {"version": version, "document": other_version(version, limit), "share_percent": share}
        for version, limit, share in (("strict", 20, 100), ("stricter", 5, 0), ("bad", -1, 100))
    ]
    common = {"name": "default", "effective_ms": middle_ms}
    policies = tmp_path / "policies.ndjson"
    policies.write_bytes(b"\n".join(msgspec.json.encode(common | each) for each in records))
    result = fairuse(
        *("replay", operator / "usage.ndjson", "--customers", operator / "customers.ndjson"),
        *("--policies", policies, "--findings", tmp_path / "findings.ndjson"),
        *("--dead-letters", tmp_path / "letters.ndjson"),
    )
    assert result.returncode == 0, result.stderr
    assert "dead letters: policy 1\n" in result.stderr
    (letter,) = map(msgspec.json.decode, (tmp_path / "letters.ndjson").read_bytes().splitlines())
    assert (letter["reason"], letter["offset"]) == ("policy", 3)
    assert "rules.sms_daily.limit: Expected `int` >= 0" in letter["detail"]
    found = map(msgspec.json.decode, (tmp_path / "findings.ndjson").read_bytes().splitlines())
    daily = [f for f in found if f["rule"] == "sms_daily"]
    limits = {"2024-06-03": (350, False), "strict": (20, False), "stricter": (5, True)}
    assert {f["policy"]["version"] for f in daily} >= {"strict", "stricter"}
    for finding in daily:
        version = finding["policy"]["version"]
        assert limits[version] == (finding["limit"], finding["shadow"])
        assert (finding["event_time_ms"] >= middle_ms) == (version != "2024-06-03")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--from", "2026-07-01T00:00"), 1, ("127.0.0.1:1", "did not take the policy")),
        (("--from", "1999-07-01"), 2, ("line 1: record", "effective_ms")),
    ],
)
def test_a_policy_that_can_not_be_published_says_why(tmp_path, arguments, code, words):
    file = tmp_path / "policy.toml"
    file.write_text(other_version("next", 300), encoding="utf-8")
    broker = ("--broker", "127.0.0.1:1")
    result = fairuse("policy", "publish", file, *arguments, *broker)
    assert_one_sentence(result, code, *words)


def test_what_can_not_change_live_is_not_published(tmp_path):
    file = tmp_path / "policy.toml"
    text = default_policy_path().read_text(encoding="utf-8")
    file.write_text(text.replace("gap_seconds = 60", "gap_seconds = 90"), encoding="utf-8")
    result = fairuse("policy", "publish", file, "--from", "2026-07-01")
    assert_one_sentence(result, 2, "rules.voice_continuous.gap_seconds", "restart the workers")


def test_a_time_that_is_none_is_wrong_usage():
    result = fairuse("policy", "publish", default_policy_path(), "--from", "tomorrow")
    assert result.returncode == 2
    assert "write 2026-07-01T00:00" in result.stderr


@pytest.mark.parametrize("command", ["check", "publish"])
def test_a_policy_file_that_holds_no_text_is_named(tmp_path, command):
    file = tmp_path / "policy.toml"
    file.write_bytes(b"\xff\xfe")
    more = ("--from", "2026-07-01") if command == "publish" else ()
    assert_one_sentence(fairuse("policy", command, file, *more), 2, "policy.toml", "UTF-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "in.ndjson", "--findings", "gone/out.parquet"),
        ("replay", "in.ndjson", "--dead-letters", "/dev/full"),
        ("generate", "--days", "1", "--events", "gone/out.parquet"),
        ("generate", "--days", "1", "--events", "out.ndjson", "--planted-out", "gone/out.json"),
    ],
)
def test_what_can_not_be_written_is_named(tmp_path, arguments):
    (tmp_path / "in.ndjson").write_bytes(b"no event\n")
    assert arguments[-1] != "/dev/full" or Path("/dev/full").exists()
    result = fairuse(*arguments, cwd=tmp_path)
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert f"{arguments[-1]} can't be written" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("replay", "in.ndjson", "--findings", "out.csv"), (".ndjson", ".parquet")),
        (("replay", "in.ndjson", "--actions", "out"), (".ndjson", ".parquet")),
        (("replay", "in.ndjson", "--dead-letters", "out.parquet.gz"), (".zst",)),
        (("generate", "--days", "1", "--events", "out.csv"), (".ndjson", ".parquet")),
        (("generate", "--days", "1", "--customers-out", "out.csv"), (".ndjson", ".parquet")),
        (("generate", "--days", "1", "--planted-out", "out.csv"), (".json",)),
    ],
)
def test_output_whose_ending_says_nothing_is_wrong_usage(tmp_path, arguments, words):
    """The endings that work are named, and nothing is written."""
    (tmp_path / "in.ndjson").write_bytes(b"")
    result = fairuse(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout, "Traceback" in result.stderr) == (2, "", False)
    (said,) = [line for line in result.stderr.splitlines() if "Error:" in line]
    for word in (arguments[-2], arguments[-1], *words):
        assert word in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.ndjson"]


def test_customers_in_parquet_are_those_in_lines(operator, tmp_path):
    """As `generate` writes them."""
    shape = ("--customers", "200", "--days", "20", "--seed", "3")
    customers, none = tmp_path / "customers.parquet", tmp_path / "usage.parquet"
    written = fairuse("generate", *shape, "--events", none, "--customers-out", customers)
    assert written.returncode == 0, written.stderr
    decoder = msgspec.json.Decoder(Customer)
    expected = list(read_records(operator / "customers.ndjson", decoder))
    assert expected == list(read_records(customers, decoder))


@pytest.mark.parametrize("name", ["folder.ndjson", "broken.ndjson.gz"])
@pytest.mark.parametrize("flag", ["--customers", "--results", "--decisions"])
def test_what_can_not_be_read_is_named(tmp_path, flag, name):
    (tmp_path / "in.ndjson").write_bytes(b"")
    (tmp_path / "folder.ndjson").mkdir()
    (tmp_path / "broken.ndjson.gz").write_bytes(b"not packed")
    result = fairuse("replay", "in.ndjson", flag, name, cwd=tmp_path)
    assert_one_sentence(result, 1, name, "can't be read", "check the file")


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_what_is_written_packed_can_be_read_again(tmp_path, ending):
    shape = ("generate", "--customers", "200", "--days", "1")
    plain = fairuse(*shape).stdout.encode()
    packed = tmp_path / f"usage.ndjson.{ending}"
    assert fairuse(*shape, "--events", packed).returncode == 0
    with {"gz": gzip.open, "zst": zstandard.open}[ending](packed, "rb") as lines:
        assert plain == lines.read()


def test_parquet_has_the_same_columns_whatever_the_first_records_leave_out(tmp_path, monkeypatch):
    """Nobody is told in the first 65,536 actions that they end; then somebody is."""
    monkeypatch.setattr(sinks, "ROWS_AT_ONCE", 1)
    action = msgspec.json.decode((GOLDEN / "action.json").read_bytes(), type=Action)
    told = [
        msgspec.structs.replace(action, expires_ms=expires_ms, supersedes=supersedes)
        for expires_ms, supersedes in ((None, None), (7, "a-1"))
    ]
    with sinks.Sink(str(tmp_path / "actions.parquet")) as sink:
        sink.write(told)
    rows = pq.read_table(tmp_path / "actions.parquet").to_pylist()
    assert [(row["expires_ms"], row["supersedes"]) for row in rows] == [(None, None), (7, "a-1")]


def test_parquet_without_a_record_can_be_read(tmp_path):
    with sinks.Sink(str(tmp_path / "findings.parquet")):
        pass
    assert pq.read_table(tmp_path / "findings.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--customer", "c", "--days", "nan"), ("--days", "give a number")),
        (("--customer", "c", "--days", "inf"), ("--days", "give a number")),
        (
            ("--customer", "c", "--days", "1", "--rule", "vioce_daily"),
            ("did you mean voice_daily",),
        ),
        (("--customer", "", "--days", "1"), ("length >= 1", "change what it names")),
    ],
)
def test_a_decision_that_is_none_is_wrong_usage(flags, words):
    result = fairuse("decide", "exempt", "--reason", "why", "--by", "who", *flags)
    assert_one_sentence(result, 2, *words)


@pytest.mark.parametrize(
    ("kind", "days", "said"),
    [
        ("snooze", 3, {}),
        ("snooze", 3, {"rule": "voice_daily"}),
        ("snooze", 3, {"action_id": "a-1"}),
        ("exempt", None, {}),
        ("exempt", None, {"rule": "voice_daily"}),
        ("exempt", 3, {"rule": "voice_daily"}),
        ("consent", None, {"rule": "voice_daily"}),
    ],
)
def test_a_customer_is_left_alone_in_whole_or_in_part(kind, days, said):
    """An exemption also until further notice."""
    said = {"kind": kind, "customer_id": "c", "reason": "why", "decided_by": "who"} | said
    decided = decision_of(days, **said)
    told = msgspec.structs.asdict(decided)
    assert said == {name: told[name] for name in said}
    until_ms = None if days is None else decided.time_ms + days * 86_400_000
    assert until_ms == decided.until_ms


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("snooze --customer c", ("needs --days", "how long")),
        ("snooze --days 1 --rule voice_daily", ("needs --customer",)),
        ("snooze --customer c --days 1 --rule voice_daily --action a", ("not both",)),
        ("exempt --customer c --action a", ("exempt takes no --action", "leave it out")),
        ("exempt --rule voice_daily", ("needs --customer",)),
        ("consent --customer c", ("needs --rule",)),
        ("approve --customer c --action a --days 3", ("takes no --days",)),
        ("approve --customer c", ("needs --action",)),
        ("reject --customer c --rule voice_daily", ("needs --action",)),
        ("reject --rule voice_daily --days 1", ("needs --customer and --action",)),
        ("release_brake --customer c", ("takes no --customer",)),
    ],
)
def test_a_decision_says_what_it_is_about_and_nothing_else(arguments, words):
    result = fairuse("decide", *arguments.split(), "--reason", "why", "--by", "who")
    assert_one_sentence(result, 2, *words)


@pytest.mark.parametrize("command", ["worker", "enforce"])
def test_a_log_level_that_is_none_is_wrong_usage(command):
    result = fairuse(command, "--log-level", "loud", "--broker", "127.0.0.1:1")
    assert (result.returncode, "Traceback" in result.stderr) == (2, False)
    assert "'loud' is not one of" in result.stderr


def test_a_port_that_is_taken_is_named_before_a_worker_starts():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = fairuse("worker", "--port", port, "--broker", "127.0.0.1:1")
    assert_one_sentence(result, 2, f"port {port}", "--port")


def test_a_worker_reads_its_policy_before_it_asks_for_a_broker(tmp_path):
    (tmp_path / "policy.toml").write_text("rules = 1\nname = 2\nname = 3\n", encoding="utf-8")
    flags = ("--policy", tmp_path / "policy.toml", "--broker", "127.0.0.1:1", "--port", 0)
    assert_one_sentence(fairuse("worker", *flags), 2, "line 3", "not TOML")


def test_settings_that_are_no_text_are_named(tmp_path):
    (tmp_path / "fairuse.toml").write_bytes(b"\xff")
    result = fairuse("topics", "--check", cwd=tmp_path)
    assert_one_sentence(result, 2, "fairuse.toml can't be read", "mend or remove it")
