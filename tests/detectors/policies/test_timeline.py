"""Which policy holds when and for whom, and which documents can't take effect live."""

import msgspec
import numpy as np
import pytest

from detectors.fold.partition import Partition
from detectors.fold.trials import HELD_TRIALS_MAX
from detectors.policies.editions import decode_edition, load_policy, read_edition
from detectors.policies.timeline import EDITIONS_MAX, TRIALS_MAX, Timeline
from schemas.events import Sms, Storage
from schemas.hashing import hash_strings
from schemas.policy import PolicyError
from schemas.records import PolicyRecord
from tests.support.harness.runs import IDS_MAX, Run, checkpoint, run_of
from tests.support.strategies.drawing import HOUR_MS, only, with_parameters
from tests.support.strategies.editions import document_of, edition_of
from tests.support.strategies.histories import LOW, NOON_MS

BASE = only(LOW, "sms_daily", "storage_contacts")


def edition(time_ms, version, share=100, name="default"):
    return edition_of(BASE, BASE, time_ms, version, share, name)


def timeline_of(*editions):
    timeline = Timeline(BASE)
    for each in editions:
        timeline.announce(each)
    return timeline


def versions(trials):
    return [trial.policy.version for trial in trials]


T = [NOON_MS + n * HOUR_MS for n in range(6)]


# -- what holds -----------------------------------------------------------------------------------


def test_a_policy_holds_from_its_time_on_in_whatever_order_they_are_announced():
    timeline = timeline_of(edition(T[2], "c"), edition(T[1], "b"))
    held = [timeline.policy_at(time_ms).version for time_ms in (T[1] - 1, T[1], T[2] - 1, T[2])]
    assert held == [BASE.version, "b", "b", "c"]


def test_of_two_policies_of_one_time_the_last_one_announced_holds():
    assert timeline_of(edition(T[1], "b"), edition(T[1], "c")).policy_at(T[1]).version == "c"


def test_a_policy_that_is_announced_again_is_no_news():
    timeline = timeline_of(edition(T[1], "b"))
    assert not timeline.announce(edition(T[1], "b"))
    assert timeline.announce(edition(T[2], "b"))
    assert len(timeline.editions) == 2


def test_a_trial_ends_with_one_of_its_name_with_one_for_everybody_and_beside_two_newer_ones():
    #  T   1   2   3   4
    #  a   x---x
    #  a       x-------x
    #  b           x---x
    #  all             x
    timeline = timeline_of(
        edition(T[1], "a1", 0),
        edition(T[2], "a2", 50),
        edition(T[3], "b", 10, name="other"),
        edition(T[4], "all"),
    )
    assert [versions(timeline.trials_at(t)) for t in T] == [
        [],
        ["a1"],
        ["a2"],
        ["b", "a2"],
        [],
        [],
    ]
    names = [edition(T[n], "x", 0, name=f"n{n}") for n in range(4)]
    assert [each.record.name for each in timeline_of(*names).trials_at(T[3])] == ["n3", "n2"]
    assert TRIALS_MAX == 2


def test_a_customer_takes_part_in_one_trial_only_the_newest():
    timeline = timeline_of(edition(T[1], "a", 50), edition(T[2], "b", 20, name="other"))
    acting = {"a": 0, "b": 0, None: 0}
    for number in range(2000):
        trial = timeline.acting_trial(T[2], hash_strings([f"c-{number}"]))
        acting[trial and trial.policy.version] += 1
    assert acting["b"] == pytest.approx(400, abs=60)
    assert acting["a"] == pytest.approx(600, abs=70)
    assert [(p.version, since, share) for p, since, share in timeline.in_force_at(T[2])] == [
        (BASE.version, 0, 50),
        ("b", T[2], 20),
        ("a", T[1], 30),
    ]


def test_who_takes_part_stays_in_when_the_share_grows():
    small, large = timeline_of(edition(T[1], "a", 10)), timeline_of(edition(T[1], "a", 40))
    for number in range(500):
        customer = hash_strings([f"c-{number}"])
        assert small.acting_trial(T[1], customer) is None or large.acting_trial(T[1], customer)


def test_the_oldest_are_forgotten_but_never_the_one_that_is_for_everybody():
    timeline = timeline_of(
        edition(T[0], "all"),
        *(edition(T[1] + n, f"v{n}", 0) for n in range(EDITIONS_MAX + 3)),
    )
    assert len(timeline.editions) == EDITIONS_MAX
    assert timeline.policy_at(T[2]).version == "all"
    assert versions(timeline.editions)[1:3] == ["v4", "v5"]
    for n in range(EDITIONS_MAX):
        timeline.announce(edition(T[3] + n, f"w{n}"))
    assert versions(timeline.editions) == [f"w{n}" for n in range(EDITIONS_MAX)]


def test_each_customer_has_the_policy_of_the_trial_they_take_part_in():
    timeline = timeline_of(edition(T[1], "b"), edition(T[2], "c", 30))
    customers = [str(n) for n in range(300)]
    assert {timeline.policy_of(customer, T[1]).version for customer in customers} == {"b"}
    versions = [timeline.policy_of(customer, T[2]).version for customer in customers]
    in_share = [hash_strings([customer])[0] % 100 < 30 for customer in customers]
    assert versions == ["c" if takes_part else "b" for takes_part in in_share]


# -- what a change leads to -----------------------------------------------------------------------


def texts(*times):
    return [
        Sms(event_id=f"e-{n}", customer_id="c", event_time_ms=time_ms, recipient="r")
        for n, time_ms in enumerate(times)
    ]


def with_limit(limit):
    return with_parameters(BASE, sms_daily={"limit": limit, "regular_periods": 1})


def run_over(before, after, events):
    run = Run(before)
    run.partition.announce_policy(edition_of(after, before, T[2]))
    return [(f.policy.version, f.level, f.observed) for f in run.take(events).findings]


def test_a_lower_limit_counts_from_the_next_day_on_for_who_is_above_it_already():
    """Three texts before the change; the fourth crosses nothing, the next day's second does."""
    events = texts(*[T[1]] * 3, T[3], *[T[3] + 24 * HOUR_MS] * 2)
    found = run_over(with_limit(5), with_limit(1), events)
    assert found == [("next", "breach", 2), ("next", "regular", 2)]


def test_a_higher_limit_is_crossed_once_more_under_its_own_version():
    events = texts(*[T[1]] * 3, *[T[3]] * 3)
    assert [each[:2] for each in run_over(with_limit(1), with_limit(4), events)] == [
        (BASE.version, "breach"),
        (BASE.version, "regular"),
        ("next", "breach"),
        ("next", "regular"),
    ]


def test_a_gauge_is_above_a_lower_limit_with_its_next_snapshot():
    events = [
        Storage(event_id=f"e-{n}", customer_id="c", event_time_ms=time_ms, contacts=5)
        for n, time_ms in enumerate((T[1], T[2], T[3]))
    ]
    before, after = (with_parameters(BASE, storage_contacts={"limit": n}) for n in (9, 4))
    assert run_over(before, after, events) == [("next", "breach", 5)]


def test_a_trial_begins_again_as_a_copy_when_a_partition_moves():
    """What it alone had latched is forgotten; its limits are not, though nobody tells of them."""
    before, after = with_limit(5), with_limit(1)
    run, log = Run(before), {}
    run.partition.announce_policy(edition_of(after, before, T[1], "trial", 0))
    run.take(texts(T[1], T[1]))
    assert [(f.policy.version, f.shadow) for f in run.findings] == [("trial", True)] * 2
    checkpoint(run.partition, log)

    moved = run_of(before, log, run.partition.state.remember())
    moved.take(texts(T[1], T[1], T[2], *[T[2] + 24 * HOUR_MS] * 2), start=2)
    days = {f.window.start_ms for f in moved.findings}
    assert [(f.policy.version, f.shadow) for f in moved.findings] == [("trial", True)] * 2
    assert len(days) == 1


def test_no_more_trials_are_held_than_there_is_room_for():
    """Whatever is published: each is a copy of everything."""
    run = Run(BASE)
    for n in range(12):
        run.partition.announce_policy(edition(T[1] + n, f"v{n}", 0, name=f"n{n}"))
    events = texts(T[0], *range(T[1], T[1] + 20), T[2])
    for row in range(len(events)):
        run.take(events, row, row + 1)
        assert len(run.partition.state.trials.running) <= HELD_TRIALS_MAX
    assert [t.trial.policy.version for t in run.partition.state.trials.running] == ["v10", "v11"]


def test_what_no_longer_fits_the_policy_started_with_is_not_taken_back():
    """As after a restart with a file whose windows are others: the file holds then."""
    run, log = Run(BASE), {}
    run.partition.announce_policy(edition(T[1], "b"))
    checkpoint(run.partition, log)
    policies = {key: value for key, value in log.items() if key.startswith(b"#policies")}
    other = Partition(0, msgspec.structs.replace(BASE, timezone="Europe/Lisbon"), IDS_MAX)
    other.state.restore(list(policies), list(policies.values()))
    assert other.state.timeline.policy_at(T[5]).version == BASE.version
    same = Partition(0, BASE, IDS_MAX)
    same.state.restore(list(policies), list(policies.values()))
    assert same.state.timeline.policy_at(T[5]).version == "b"


def test_a_standing_is_told_against_the_limit_that_holds():
    run = Run(with_limit(5))
    run.partition.announce_policy(edition_of(with_limit(3), with_limit(5), T[2]))
    events = texts(T[1], T[2])
    for row, limit in enumerate((5, 3)):
        run.take(events, row, row + 1)
        assert run.partition.standing("c")["rules"]["sms_daily"][0]["limit"] == limit


# -- what can't take effect -----------------------------------------------------------------------


def record(policy, **changes):
    fields = {
        "name": policy.name,
        "version": policy.version,
        "effective_ms": T[1],
        "document": document_of(policy),
    }
    return PolicyRecord(**(fields | changes))


def refused(policy, **changes):
    with pytest.raises(PolicyError) as caught:
        read_edition(record(policy, **changes), BASE)
    return [(mistake.where, mistake.problem) for mistake in caught.value.mistakes]


def test_a_document_of_another_shape_is_refused_with_every_reason():
    policy = with_parameters(BASE, sms_daily={"retention_periods": 3})
    policy = msgspec.structs.replace(policy, timezone="Europe/Lisbon", dedup_window_hours=1)
    assert sorted(refused(policy)) == [
        ("dedup_window_hours", "can't change live"),
        ("rules.sms_daily.retention_periods", "can't change live"),
        ("timezone", "can't change live"),
    ]


def test_a_rule_can_neither_come_nor_go_live():
    assert refused(only(BASE, "sms_daily")) == [
        ("rules.storage_contacts", "runs, and is missing here")
    ]
    more = only(LOW, *BASE.rules, "sms_monthly")
    assert refused(more) == [("rules.sms_monthly", "is not among the rules that run")]


def test_mistakes_name_their_line():
    document = document_of(with_parameters(BASE, sms_daily={"retention_periods": 3}))
    with pytest.raises(PolicyError) as caught:
        read_edition(record(BASE, document=document), BASE)
    (mistake,) = caught.value.mistakes
    assert document.splitlines()[mistake.line - 1] == "retention_periods = 3"


def test_a_record_that_says_another_name_or_version_is_refused():
    assert refused(BASE, version="9") == [("version", "the record says '9'")]
    assert refused(BASE, name="nobody") == [("name", "the record says 'nobody'")]


@pytest.mark.parametrize(
    ("value", "key", "problem"),
    [
        (None, b"default", "no value"),
        (b"", b"default", "no value"),
        (b"{", b"default", "truncated"),
        (b"{}", b"default", "missing required field `name`"),
        (msgspec.json.encode(record(BASE)), b"other", "its key is not its name, 'default'"),
        (msgspec.json.encode(record(BASE, document="x")), b"default", "not TOML"),
        (b'{"x":' * 100_000, b"default", "nested too deeply"),
        (
            msgspec.json.encode(record(BASE, document="x = " + "[" * 100_000)),
            b"default",
            "not TOML",
        ),
    ],
)
def test_records_of_the_topic_that_are_none_say_why(value, key, problem):
    with pytest.raises(ValueError, match=problem):
        decode_edition(value, BASE, key)


def test_the_default_policy_can_follow_itself():
    """Its text is what operators start from."""
    policy = load_policy()
    assert read_edition(record(policy), policy).policy == policy
    assert np.int64(T[1]) == read_edition(record(policy), policy).effective_ms
