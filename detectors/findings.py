"""Findings of hits: their ids, and the evidence with the input it rests on."""

from collections.abc import Mapping

from detectors.identity import finding_id
from detectors.provenance import Provenance
from detectors.rule import ClosingRule, Hit, Rule
from schemas.policy import Policy
from schemas.records import Finding, PolicyRef

CLOSED_MS = "closed_ms"
"""In a finding's evidence: the watermark that closed the period which was judged."""


def finding_of(
    hit: Hit,
    rule: Rule,
    kind: str,
    customer_id: str,
    policy: Policy,
    shadow: bool,
    provenance: Mapping[str, Provenance],
) -> Finding:
    """A finding of a hit; one of a closed period rests on every kind that the rule reads.

    Parameters
    ----------
    kind
        What kind of event crossed, if one did.
    provenance
        Where the events of each kind stood.
    """
    end_ms = hit.window.end_ms or hit.event_time_ms
    if hit.offset is not None:
        end_ms = max(end_ms, hit.event_time_ms + 1)
    rests_on = [hit.window.start_ms, *(b["start_ms"] for b in hit.evidence.get("breaches", ()))]
    if hit.rests_on_ms is not None:
        rests_on.append(hit.rests_on_ms)
    start_ms, end_ms = min(rests_on), max(end_ms, max(rests_on) + 1)
    # Use that began before the window may reach into it.
    start_ms -= rule.longest_ms
    inputs = [
        span
        for read in (rule.reads if hit.offset is None else [kind])
        for span in provenance[read].inputs(start_ms, end_ms, hit.offset)
    ]
    is_of_period = hit.offset is None and isinstance(rule, ClosingRule)
    closed = {CLOSED_MS: rule.known_ms(hit.event_time_ms)} if is_of_period else {}
    ref = PolicyRef(name=policy.name, version=policy.version)
    return Finding(
        finding_id=finding_id(rule.name, customer_id, hit.window, hit.level, ref),
        rule=rule.name,
        customer_id=customer_id,
        event_time_ms=hit.event_time_ms,
        level=hit.level,
        window=hit.window,
        observed=hit.observed,
        limit=hit.limit,
        unit=hit.unit,
        policy=ref,
        shadow=shadow,
        evidence={
            "inputs": inputs,
            "observed": hit.observed,
            "limit": hit.limit,
            **closed,
            **hit.evidence,
        },
    )


def known_ms(finding: Finding) -> int:
    """The event time at which a finding could be known: of a closed period, when it was closed."""
    return finding.evidence.get(CLOSED_MS, finding.event_time_ms)
