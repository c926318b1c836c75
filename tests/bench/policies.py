"""The policies that are measured: all rules, or the six that plain Faust is compared on."""

import re
from pathlib import Path

from detectors.policies.editions import default_policy_path
from detectors.rules.registry import RULES
from tests.bench.figures import BenchError

SIX = (
    "sms_daily",
    "sms_monthly",
    "voice_daily",
    "data_monthly_ratio",
    "portscan",
    "storage_capacity",
)
EVERY = tuple(RULES)

LIMIT = 40
"""Messages a day, where latency is measured."""


def policy_of(rules: tuple[str, ...], folder: Path) -> Path:
    """The default policy with these rules and no others, as a file."""
    head, *tables = re.split(r"(?m)^(?=\[rules\.)", default_policy_path().read_text("utf-8"))
    kept = [table for table in tables if table.partition("]")[0].removeprefix("[rules.") in rules]
    path = folder / f"{len(rules)}-rules.toml"
    path.write_text(head + "".join(kept), encoding="utf-8")
    return path


def lowered(policy: Path) -> Path:
    """The policy with the lowered limit."""
    text = policy.read_text(encoding="utf-8")
    changed = text.replace("limit = 350 ", f"limit = {LIMIT} ", 1)
    if changed == text:
        raise BenchError("the default policy has no `limit = 350` any more: mend tests/bench")
    path = policy.with_name(f"lowered-{policy.name}")
    path.write_text(changed, encoding="utf-8")
    return path
