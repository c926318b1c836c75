"""Findings of hits: their ids, and the evidence with the input it rests on."""

from collections.abc import Mapping

import numpy as np

from detectors.fold.provenance import Provenance
from detectors.rules.contract import Batch, ClosingRule, CohortRule, Hit, Rule
from schemas.ids import finding_id
from schemas.policy import Policy
from schemas.records import Finding, PolicyRef
from schemas.units import DAY_MS

KNOWN_MS = "known_ms"
"""In the evidence of a closed period's finding: the event time at which the ladder takes it in."""

WATERMARK_MS = "watermark_ms"
"""In the evidence of a late event's finding: how far its kind had come, past the event's time."""

MEANS_MS = DAY_MS
"""How long after a period is closed its means count: slower partitions have had their say then."""


def finding_of(
    hit: Hit,
    rule: Rule,
    batch: Batch | None,
    customer_id: str,
    policy: Policy,
    shadow: bool,
    provenance: Mapping[str, Provenance],
) -> Finding:
    """A finding of a hit; one of a closed period rests on every kind that the rule reads.

    Parameters
    ----------
    batch
        The events of which one crossed, if one did.
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
        for read in (rule.reads if batch is None or hit.offset is None else [batch.kind])
        for span in provenance[read].inputs(start_ms, end_ms, hit.offset)
    ]
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
            **_known(hit, rule, batch),
            **hit.evidence,
        },
    )


def _known(hit: Hit, rule: Rule, batch: Batch | None) -> dict[str, int]:
    """When a hit could be known, if that is not at the time of its event."""
    if hit.offset is None and isinstance(rule, ClosingRule):
        wait_ms = MEANS_MS if isinstance(rule, CohortRule) else 0
        return {KNOWN_MS: rule.known_ms(hit.event_time_ms) + wait_ms}
    if hit.offset is None or batch is None:
        return {}
    row = int(np.searchsorted(batch.offset, hit.offset))
    watermark_ms = int(batch.watermark_ms[row])
    return {WATERMARK_MS: watermark_ms} if watermark_ms > hit.event_time_ms else {}


def known_ms(finding: Finding) -> int:
    """The event time at which the ladder takes a finding in.

    That of the event that crossed, or how far its kind had come if it was late; of a closed period,
    when it was closed and its means, if there are any, were in.
    """
    evidence = finding.evidence
    return evidence.get(KNOWN_MS, evidence.get(WATERMARK_MS, finding.event_time_ms))
