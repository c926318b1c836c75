"""Findings of hits: their ids, and the evidence with the input it rests on."""

from collections.abc import Mapping

import numpy as np

from detectors.fold.provenance import Provenance
from detectors.rules.contract import Batch, ClosingRule, CohortRule, Hit, Rule
from schemas.ids import finding_id
from schemas.policy import Policy
from schemas.records import Finding, PolicyRef
from schemas.units import DAY_MS

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
    closed_period = hit.offset is None and isinstance(rule, ClosingRule)
    ref = PolicyRef(name=policy.name, version=policy.version)
    return Finding(
        finding_id=finding_id(rule.name, customer_id, hit.window, hit.level, ref),
        rule=rule.name,
        customer_id=customer_id,
        event_time_ms=hit.event_time_ms,
        level=hit.level,
        known_ms=_known_ms(hit, rule, batch),
        corrects=hit.corrects,
        closed_period=closed_period,
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
            **hit.evidence,
        },
    )


def wait_ms(hit: Hit, rule: Rule) -> int:
    """How long after its period was closed a hit counts, because means of the rule may be late."""
    return MEANS_MS if hit.offset is None and isinstance(rule, CohortRule) else 0


def _known_ms(hit: Hit, rule: Rule, batch: Batch | None) -> int:
    """The event time at which a hit could be known.

    Of an event that is its own time, or the watermark if the event was late. Of a closed period it
    is when the period was closed and its means, if the rule needs any, were in.
    """
    if hit.offset is None and isinstance(rule, ClosingRule):
        return (hit.known_ms or rule.known_ms(hit.event_time_ms)) + wait_ms(hit, rule)
    if hit.offset is None or batch is None:
        return hit.event_time_ms
    row = int(np.searchsorted(batch.offset, hit.offset))
    return max(hit.event_time_ms, int(batch.watermark_ms[row]))
