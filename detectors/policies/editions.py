"""Reads policies: the one that a worker starts with, and editions that take effect later."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec

from detectors.rules.registry import RULES
from schemas.policy import (
    KnownRule,
    Mistake,
    Policy,
    PolicyError,
    RuleParameters,
    live_parameters,
    read_policy,
)
from schemas.records import EVERYBODY_PERCENT, PolicyRecord
from schemas.toml_lines import line_of

KNOWN_RULES = {name: KnownRule(rule.Parameters, rule.declaration) for name, rule in RULES.items()}
"""What `read_policy` has to know of the rules."""

LIVE_TABLES = frozenset({"name", "version", "ladder", "exempt", "rules"})
"""Parts of a document that may differ from the running policy, besides the rules' parameters."""

RESTART = "restart the workers with --policy to change it"

record_decoder = msgspec.json.Decoder(PolicyRecord)


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file, or the default one; raise `PolicyError` with every mistake."""
    return read_policy(read_document(path or default_policy_path()), KNOWN_RULES)


def read_document(path: Path) -> str:
    """The text of a policy file; raise `PolicyError` where it holds none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"can't be read ({error})"
        raise PolicyError([Mistake(1, str(path), problem, "name a TOML file in UTF-8")]) from None


def default_policy_path() -> Path:
    """Where the default policy is: in the repository, or inside the installed package."""
    installed = Path(str(files("detectors"))) / "default_policy.toml"
    return installed if installed.exists() else installed.parents[1] / "deploy/policy/default.toml"


@dataclass(frozen=True, slots=True)
class Edition:
    """A policy that takes effect while events flow, and its record on the topic `policies`."""

    record: PolicyRecord
    policy: Policy

    @property
    def effective_ms(self) -> int:
        """Event time from which it holds."""
        return self.record.effective_ms

    @property
    def is_trial(self) -> bool:
        """Whether it runs beside the policy that holds for everybody else."""
        return self.record.share_percent < EVERYBODY_PERCENT


def decode_edition(value: bytes | None, base: Policy, key: bytes | None = None) -> Edition:
    """Read a record of the topic `policies`; raise ValueError with what is wrong with it.

    The key, if there is one, has to be the policy's name: the topic keeps the newest of each key.
    """
    if not value:
        raise ValueError("no value: what holds stays until another policy takes its place")
    try:
        record = record_decoder.decode(value)
    except RecursionError:
        raise ValueError("it is nested too deeply to be read") from None
    if key is not None and key != record.name.encode():
        raise ValueError(f"its key is not its name, {record.name!r}: publish it under its name")
    return read_edition(record, base)


def read_edition(record: PolicyRecord, base: Policy) -> Edition:
    """Read a policy that is to take effect in workers that were started with `base`.

    Raise `PolicyError` with every mistake: in the document, between the document and its record,
    and every difference from `base` that can't take effect while events flow.
    """
    text = record.document
    policy = read_policy(text, KNOWN_RULES)
    mistakes = [*_misnamed(record, policy), *_misfits(policy, base, text)]
    if mistakes:
        raise PolicyError(sorted(mistakes, key=lambda mistake: mistake.line))
    return Edition(record, policy)


def _misnamed(record: PolicyRecord, policy: Policy) -> Iterator[Mistake]:
    for field in ("name", "version"):
        told, there = getattr(record, field), getattr(policy, field)
        if told != there:
            line = line_of(record.document, (), field)
            yield Mistake(line, field, f"the record says {told!r}", "make them the same")


def _misfits(policy: Policy, base: Policy, text: str) -> Iterator[Mistake]:
    """Every difference from the policy that workers started with that may not be made live."""
    for field in sorted(set(policy.__struct_fields__) - LIVE_TABLES):
        if getattr(policy, field) != getattr(base, field):
            yield Mistake(line_of(text, (), field), field, "can't change live", RESTART)
    for name in sorted(policy.rules.keys() - base.rules.keys()):
        line = line_of(text, ("rules", name))
        yield Mistake(line, f"rules.{name}", "is not among the rules that run", RESTART)
    for name in sorted(base.rules.keys() - policy.rules.keys()):
        yield Mistake(1, f"rules.{name}", "runs, and is missing here", RESTART)
    for name in sorted(policy.rules.keys() & base.rules.keys()):
        for field in _reshaped(policy.rules[name], base.rules[name]):
            where = ("rules", name)
            line = line_of(text, where, field)
            yield Mistake(line, ".".join((*where, field)), "can't change live", RESTART)


def _reshaped(parameters: RuleParameters, base: RuleParameters) -> Iterator[str]:
    """Names of the parameters that differ although they are not marked `LIVE`."""
    live = live_parameters(type(base))
    for field in msgspec.structs.fields(type(base)):
        is_same = getattr(parameters, field.name) == getattr(base, field.name)
        if not is_same and field.name not in live:
            yield field.name
