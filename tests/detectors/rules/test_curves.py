"""Curves of the scored rules: how they are measured, and that the page fits this policy."""

from collections import Counter

import msgspec
import pytest

from detectors.policies.editions import load_policy
from schemas.events import Data, UsageEvent
from streams.files.sources import chunks
from streams.synthetic.generator import Operator, OperatorShape
from tests.bench.curves import PAGE, PICTURES, TABLE_BEGINS, TABLE_ENDS, table, write_table
from tests.bench.graded import graded_parts
from tests.bench.sweep import (
    SWEEPS,
    Events,
    Planted,
    Point,
    Sweep,
    Tally,
    found_at,
    perfect_range,
)
from tests.support.nearness.counting import local

NOON_MS, DAY_MS, NOW_MS = 1_772_449_200_000, 86_400_000, 1_900_000_000_000
every_sweep = pytest.mark.parametrize(
    "sweep", SWEEPS, ids=lambda sweep: f"{sweep.rule}-{sweep.parameter}"
)


def days_with_devices(customer, days, devices):
    """Sessions of a number of devices on each of a number of days."""
    return [
        Data(
            event_id=f"{customer}-{day}-{device}",
            customer_id=customer,
            event_time_ms=NOON_MS + day * DAY_MS + device,
            bytes_uplink=0,
            bytes_downlink=1,
            device_fingerprint=f"device-{device}",
        )
        for day in range(days)
        for device in range(devices)
    ]


@pytest.mark.parametrize("partitions", [1, 8])
def test_each_threshold_finds_the_right_customers(tmp_path, partitions):
    """Regular is three days of seven: one has three devices, one five, one five on two days."""
    told = (("three", 3, 3), ("five", 3, 5), ("five-twice", 2, 5))
    events = [event for each in told for event in days_with_devices(*each)]
    events.sort(key=lambda event: event.event_time_ms)
    path = tmp_path / "events.ndjson"
    path.write_bytes(msgspec.json.Encoder().encode_lines(events))
    held = Events([], list(chunks([path], lambda: NOW_MS)), partitions)
    sweep = Sweep(rule="sharing", parameter="devices", thresholds=(3, 4, 5, 6), label="devices")
    found = dict(found_at(held, load_policy(), sweep))
    assert found == {3: {"three", "five"}, 4: {"five"}, 5: {"five"}, 6: set()}
    planted = Planted(must={"five", "five-twice"}, may=frozenset())
    assert planted.tally(found[3]) == Tally(planted=2, found=1, wrong=1)
    assert Planted(must={"five"}, may={"three"}).tally(found[3]) == Tally(1, 1, 0)


def test_precision_and_recall_of_several_populations_are_those_of_all_their_customers():
    tally = Tally(planted=4, found=3, wrong=0) + Tally(planted=6, found=3, wrong=2)
    assert (tally.precision, tally.recall) == (0.75, 0.6)
    nobody = Tally(planted=4, found=0, wrong=0)
    assert (nobody.precision, nobody.recall) == (None, 0.0)


def test_the_range_without_errors_is_the_one_around_the_policy():
    """It is not one beyond a gap, and there is none if the policy itself makes errors."""
    right, wrong = Point(clear=Tally(2, 2, 0)), Point(clear=Tally(2, 1, 0))
    curve = {9.0: right, 1.0: right, 2.0: wrong, 3.0: right, 4.0: right, 5.0: wrong}
    assert perfect_range(curve, 4.0) == (3.0, 4.0)
    assert perfect_range(curve, 2.0) is None


def test_the_table_shows_the_results_of_the_policy_and_replaces_the_old_table(tmp_path):
    """The rest of the page does not change."""
    sweep = Sweep(rule="sharing", parameter="devices", thresholds=(3, 4, 5), label="devices")
    policy = sweep.set_in(load_policy())
    right = Point(clear=Tally(2, 2, 0), graded=Tally(4, 1, 3), others=Counter(family=2, ordinary=1))
    curve = dict.fromkeys((policy, policy + 1), right)
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n{TABLE_BEGINS}old\n{TABLE_ENDS}After.\n", encoding="utf-8")
    write_table(page, table([sweep], [curve], load_policy()))
    before, *lines, after = page.read_text(encoding="utf-8").splitlines()
    assert (before, after) == ("Before.", "After.")
    assert [line for line in lines if "sharing" in line] == [
        f"| `sharing` | `devices`: devices | {policy} | 1.00 | 1.00 | {policy} to {policy + 1} "
        "| 0.25 | 0.25 | 2 of `family`, 1 of `ordinary` |"
    ]
    assert "old" not in lines


def test_the_events_of_graded_parts_are_valid_and_lie_within_their_days():
    """Each part has its number of players, and no event comes twice."""
    parts = graded_parts(players=4)
    operator = Operator(OperatorShape(customers=400, days=24, seed=5), parts)
    assert {part.name: 4 for part in parts} == {n: len(who) for n, who in operator.cast.items()}
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(UsageEvent).decode
    seen = []
    for events in operator.days():
        seen += [event.event_id for event in events]
        assert events == [decode(encode(event)) for event in events]
        assert len({local(event.event_time_ms).date() for event in events}) == 1
    assert len(seen) == len(set(seen))


@every_sweep
def test_a_sweep_covers_values_on_both_sides_of_the_policy(sweep):
    set_in_policy = sweep.set_in(load_policy())
    assert min(sweep.thresholds) < set_in_policy < max(sweep.thresholds)
    assert set_in_policy in sweep.thresholds


@every_sweep
def test_the_page_was_measured_under_this_policy(sweep):
    """Its table and pictures are; if not, run `python -m tests.bench curves`."""
    shown = sweep.shown(sweep.set_in(load_policy()))
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begins = f"| `{sweep.rule}` | `{sweep.parameter}`: {sweep.label} | {shown} |"
    assert [line for line in lines if line.startswith(begins)], f"no line `{begins}`"
    picture = PICTURES / f"{sweep.rule}.svg"
    assert f">policy {shown}</text>" in picture.read_text(encoding="utf-8")
    assert f"](curves/{picture.name})" in "\n".join(lines)
