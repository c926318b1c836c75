"""Each scenario folder leads to the findings and actions it expects, and to no others.

See tests/scenarios/README.md for what is in a folder.
"""

import json
from itertools import chain

import msgspec
import pytest

from schemas.records import Customer, Decision, EnforcementResult
from streams.files import sources
from streams.files.sources import read_records
from streams.replay.replay import ASSUMED, Replay
from tests.support.harness.scenarios import (
    FOLDERS,
    IDS_MAX,
    NOW_MS,
    expected_of,
    input_of,
    name_of,
    policy_of,
)

FILE_BYTES_MAX = 300_000
FINDING = ("rule", "customer_id", "level", "window", "observed", "limit", "event_time_ms")
ACTION = ("kind", "customer_id", "service", "clause", "effective_ms", "rule")


def replayed(folder, partitions):
    """Findings, actions and dead letters of a scenario, in the shape of `expected.json`."""
    enforcement = None if (folder / "results.ndjson").exists() else ASSUMED
    replay = Replay(policy_of(folder), partitions, IDS_MAX, enforcement)
    replay.hear(answers_in(folder))
    if (customers := folder / "customers.ndjson").exists():
        replay.announce(read_records(customers, msgspec.json.Decoder(Customer)))
    results = list(replay.run([input_of(folder)], clock=lambda: NOW_MS))
    found = chain.from_iterable(result.findings for result in results)
    decided = chain.from_iterable(result.actions for result in results)
    return {
        "findings": [told(finding, FINDING) for finding in found],
        "actions": [told(action, ACTION) for action in decided],
        "dead_letters": dict(replay.reasons),
    }


def answers_in(folder):
    """The enforcement results and decisions of a scenario."""
    for name, record in (("results", EnforcementResult), ("decisions", Decision)):
        if (path := folder / f"{name}.ndjson").exists():
            yield from read_records(path, msgspec.json.Decoder(record))


def told(record, fields):
    """The fields of a record that a scenario states."""
    whole = msgspec.to_builtins(record)
    return {field: whole[field] for field in fields}


def lines(records):
    """One line for each record, sorted."""
    return sorted(json.dumps(record, sort_keys=True) for record in records)


def difference(expected, actual):
    """One line for each missing record, and for each one too many."""
    missing = [f"  missing  {line}" for line in counted_out(expected, actual)]
    surplus = [f"  too much {line}" for line in counted_out(actual, expected)]
    return "\n".join(missing + surplus)


def counted_out(some, others):
    rest = list(others)
    for line in some:
        if line in rest:
            rest.remove(line)
        else:
            yield line


@pytest.mark.parametrize(
    ("partitions", "lines_at_once"), [(1, 65_536), (8, 65_536), (1, 50), (8, 50)]
)
@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_scenario_leads_to_what_it_expects(folder, partitions, lines_at_once, monkeypatch):
    """With any number of partitions, and wherever batches end."""
    monkeypatch.setattr(sources, "LINES_AT_ONCE", lines_at_once)
    expected, actual = expected_of(folder), replayed(folder, partitions)
    for kind in ("findings", "actions"):
        differs = difference(lines(expected[kind]), lines(actual[kind]))
        story = f"{name_of(folder)} in {partitions} partitions: {expected['story']}"
        assert not differs, f"{story}\n{kind}:\n{differs}"
    assert expected.get("dead_letters", {}) == actual["dead_letters"]


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_scenario_describes_itself_and_is_small(folder):
    expected = expected_of(folder)
    assert expected["story"].endswith("."), "tell the story in a sentence"
    for kind, fields in (("findings", FINDING), ("actions", ACTION)):
        for record in expected[kind]:
            assert set(fields) == set(record), f"{kind} have these fields"
    for path in folder.iterdir():
        assert path.stat().st_size <= FILE_BYTES_MAX, f"make {path} smaller"
