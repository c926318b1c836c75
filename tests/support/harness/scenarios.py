"""The scenario folders of tests/scenarios, and what stands in each (see its README.md)."""

import json

from detectors.policies.editions import load_policy
from tests.support.paths import SCENARIOS
from tests.support.strategies.drawing import only

FOLDERS = sorted(path.parent for path in SCENARIOS.glob("*/*/expected.json"))
IDS_MAX = 1 << 16
NOW_MS = 1_900_000_000_000
"""When the records came, by the replay's clock: after everything they tell of."""


def name_of(folder):
    return "/".join(folder.parts[-2:])


def input_of(folder):
    """The one input file of a scenario."""
    (path,) = folder.glob("input.ndjson*")
    return path


def expected_of(folder):
    return json.loads((folder / "expected.json").read_text(encoding="utf-8"))


def policy_of(folder):
    """The scenario's own policy, or of the default one the rule that the scenario is about."""
    own = folder / "policy.toml"
    return load_policy(own) if own.exists() else only(load_policy(), folder.parent.name)
