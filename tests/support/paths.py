"""Where the tests' data stand."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

SCENARIOS = ROOT / "tests/scenarios"
GOLDEN = ROOT / "tests/golden"
