"""Policies that take effect while events flow: their documents, and others that could follow."""

import json

import msgspec
from hypothesis import strategies as st

from detectors.policies.editions import read_edition
from schemas.events import AMOUNT_MAX
from schemas.policy import Policy, RuleParameters, live_parameters
from schemas.records import PolicyRecord
from tests.support.strategies.drawing import with_parameters

BROUGHT_ABOUT = set(RuleParameters.__struct_fields__)
"""What only the ladder reads."""


def document_of(policy: Policy) -> str:
    """A policy as a document again."""
    plain = msgspec.to_builtins(policy)
    rules, default_plan = plain.pop("rules"), plain.pop("default_plan")
    tables = {"default_plan": default_plan, "ladder": plain.pop("ladder")}
    tables |= {"exempt": plain.pop("exempt")}
    tables |= {f"rules.{name}": table for name, table in rules.items()}
    lines = lines_of(plain)
    for name, table in tables.items():
        lines += ["", f"[{name}]", *lines_of(table)]
    return "\n".join(lines) + "\n"


def lines_of(table):
    return [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in table.items()
        if value is not None
    ]


def edition_of(policy, base, effective_ms, version="next", share_percent=100, name=None):
    """A policy that takes effect at a time, as the topic tells of it."""
    policy = msgspec.structs.replace(policy, name=name or policy.name, version=version)
    record = PolicyRecord(
        name=policy.name,
        version=version,
        effective_ms=effective_ms,
        document=document_of(policy),
        share_percent=share_percent,
    )
    return read_edition(record, base)


def alternatives(policy):
    """For each rule and parameter that may change, other values that are allowed."""
    found = {}
    for name, parameters in policy.rules.items():
        for field in sorted(live_parameters(type(parameters)) - BROUGHT_ABOUT):
            value = getattr(parameters, field)
            allowed = [v for v in others(value) if fits(policy, name, {field: v})]
            if allowed:
                found[name, field] = allowed
    return found


def others(value):
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int):
        return sorted({value // 2, value - 1, value + 1, 2 * value, AMOUNT_MAX} - {value})
    if isinstance(value, float):
        return [value / 2, value * 2, 1e300, 1e-300]
    if isinstance(value, list):
        return [value[1:], [*value, 1]]
    return {"unlimited": ["all"], "consumer": ["all"], "all": ["unlimited", "consumer"]}[value]


def fits(policy, rule, table):
    try:
        with_parameters(policy, **{rule: table})
    except msgspec.ValidationError:
        return False
    return True


@st.composite
def later_policies(draw, policy):
    """The same policy with some of what may change, changed."""
    changed = policy
    for (rule, field), allowed in alternatives(policy).items():
        value = draw(st.sampled_from([None, *allowed]))
        if value is not None and fits(changed, rule, {field: value}):
            changed = with_parameters(changed, **{rule: {field: value}})
    return changed
