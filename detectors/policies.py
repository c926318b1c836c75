"""The policy document that is in force when none is named."""

from importlib.resources import files
from pathlib import Path

from detectors import RULES
from schemas.policy import Policy, read_policy

PARAMETERS = {name: rule.Parameters for name, rule in RULES.items()}


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file, or the default one; raise `PolicyError` with every mistake."""
    return read_policy((path or default_policy_path()).read_text(encoding="utf-8"), PARAMETERS)


def default_policy_path() -> Path:
    """Where the default policy is: in the repository, or inside the installed package."""
    installed = Path(str(files("detectors"))) / "default_policy.toml"
    return installed if installed.exists() else installed.parents[1] / "deploy/policy/default.toml"
