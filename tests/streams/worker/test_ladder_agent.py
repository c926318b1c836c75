"""Answers and decisions as the worker reads them: what can't be used is a dead letter."""

from types import SimpleNamespace

import msgspec
import pytest

from detectors.ladder.dossier import UNPLACED
from detectors.ladder.ladder import Ladder
from schemas.decode import AHEAD_MS_MAX
from schemas.records import DeadLetter, Decision, EnforcementResult
from schemas.topics import ACTIONS, DEAD_LETTERS, DECISIONS, ENFORCEMENT_RESULTS, FINDINGS
from streams.checkpoints.changelog import Changelog
from streams.checkpoints.tables import Shard
from streams.metrics import Metrics
from streams.replay.replay import Replay
from streams.worker.agents import LadderAgent
from tests.support.harness.ladder_story import HOUR_MS, PATIENT, at, dossier_of, finding

NOW_MS = at(0)
YEAR_2099_MS = 4_070_908_800_000


def answer(action_id, time_ms):
    return EnforcementResult(
        action_id=action_id, customer_id="7", status="delivered", time_ms=time_ms
    )


def exemption(time_ms, until_ms=None):
    return Decision(
        decision_id="d-1",
        customer_id="7",
        kind="exempt",
        decided_by="ada",
        reason="a known sender",
        time_ms=time_ms,
        until_ms=until_ms,
    )


class Bench:
    """The ladder agent of one partition, without a broker."""

    def __init__(self):
        self.sent = []
        self.ladder = Ladder(0, PATIENT)
        self.shard = Shard(self.ladder, Changelog(self.ladder.state, 1), active=True)
        self.metrics = Metrics()
        self.agent = LadderAgent(None, None, self, self.metrics, lambda: NOW_MS)
        self.offset = 0

    def put(self, topic, partition, key, value, came_ms=None):
        self.sent.append((topic, value))

    def tell(self, topic, *told, came_ms=NOW_MS):
        records = []
        for record in told:
            value = msgspec.json.encode(record)
            records.append(
                SimpleNamespace(offset=self.offset, key=b"7", value=value, timestamp=came_ms)
            )
            self.offset += 1
        self.agent.take(self.shard, topic, 0, records)

    def of(self, topic, type_):
        return [
            msgspec.json.decode(value, type=type_) for name, value in self.sent if name == topic
        ]


@pytest.mark.parametrize(
    ("topic", "record"),
    [
        (ENFORCEMENT_RESULTS, answer("a-1", YEAR_2099_MS)),
        (DECISIONS, exemption(YEAR_2099_MS)),
    ],
)
def test_what_is_far_ahead_of_its_record_is_a_dead_letter_and_moves_no_clock(topic, record):
    bench = Bench()
    bench.tell(topic, record)
    (letter,) = bench.of(DEAD_LETTERS, DeadLetter)
    assert (letter.topic, letter.reason) == (topic, "time_out_of_range")
    assert "24 h ahead" in letter.detail
    refused = bench.metrics.dead_letters.labels("time_out_of_range")
    assert refused._value.get() == 1
    assert bench.ladder.state.cases == {}
    assert bench.ladder.state.next_offset[topic] == 1, "it is behind us"
    bench.tell(FINDINGS, finding(0))
    (notice,) = bench.of(ACTIONS, dict)
    assert notice["decided_ms"] == NOW_MS


def test_what_is_just_not_too_far_ahead_counts_beside_what_is():
    bench = Bench()
    bench.tell(FINDINGS, finding(0))
    (notice,) = bench.of(ACTIONS, dict)
    told = [answer(notice["action_id"], NOW_MS + AHEAD_MS_MAX + more_ms) for more_ms in (1, 0)]
    bench.tell(ENFORCEMENT_RESULTS, *told)
    assert len(bench.of(DEAD_LETTERS, DeadLetter)) == 1
    assert dossier_of(bench.ladder).cases["sms_daily"].delivered_ms == NOW_MS + AHEAD_MS_MAX


def test_it_is_the_records_own_time_that_counts():
    """So what a partition made of a record once it makes of it again."""
    bench = Bench()
    bench.tell(DECISIONS, exemption(YEAR_2099_MS), came_ms=YEAR_2099_MS - HOUR_MS)
    assert bench.of(DEAD_LETTERS, DeadLetter) == []


def test_an_exemption_may_last_for_years():
    bench = Bench()
    bench.tell(DECISIONS, exemption(NOW_MS, until_ms=YEAR_2099_MS))
    assert bench.of(DEAD_LETTERS, DeadLetter) == []
    bench.tell(FINDINGS, finding(0))
    assert bench.of(ACTIONS, dict) == []


def test_in_a_replay_it_is_the_clock_that_counts(tmp_path):
    results, decisions = tmp_path / "results.ndjson", tmp_path / "decisions.ndjson"
    ahead = msgspec.json.encode(answer("a-2", NOW_MS + AHEAD_MS_MAX + 1))
    results.write_bytes(msgspec.json.encode(answer("a-1", NOW_MS + AHEAD_MS_MAX)) + b"\n" + ahead)
    decisions.write_bytes(msgspec.json.encode(exemption(YEAR_2099_MS)))
    files = [
        (results, msgspec.json.Decoder(EnforcementResult)),
        (decisions, msgspec.json.Decoder(Decision)),
    ]
    replay = Replay(PATIENT, 1, 1_000, None)
    letters = replay.hear_files(files, lambda: NOW_MS).dead_letters
    told = [(letter.topic, letter.offset, letter.reason) for letter in letters]
    assert told == [
        (str(results), 2, "time_out_of_range"),
        (str(decisions), 1, "time_out_of_range"),
    ]
    assert replay.reasons == {"time_out_of_range": 2}
    replay.end()
    dossier = dossier_of(replay.ladders.of_partition[0], UNPLACED)
    assert [early.action_id for early in dossier.early] == ["a-1"]
