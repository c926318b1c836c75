"""Findings and partial sums of what the rules of a partition see."""

from collections.abc import Iterable, Iterator

import numpy as np

from detectors.fold.findings import finding_of, wait_ms
from detectors.fold.outcome import CLOSED, Outcome, Place
from detectors.fold.rule_set import Reported, RuleSet
from detectors.fold.stored_partition import StoredPartition
from detectors.rules.contract import Batch, PeriodSums, Rule, RuleOutput
from schemas.records import CohortPartial, Finding


class Reporter:
    """Makes findings of hits, and hands out partial sums.

    Parameters
    ----------
    state
        What the partition keeps.
    """

    def __init__(self, state: StoredPartition) -> None:
        self._state = state

    def report(
        self, rules: RuleSet, reported: Iterable[Reported], batch: Batch | None, outcome: Outcome
    ) -> None:
        """Add what rules saw to an outcome; partial sums come from the rules for everybody only."""
        for each in reported:
            outcome.placed += self.findings(rules, each, batch)
            if rules.trial is None:
                outcome.partials += [self._partial(each.rule, s) for s in each.output.sums]
                self._touch(rules.rules[each.rule], each.output)

    def _touch(self, rule: Rule, output: RuleOutput) -> None:
        """Store what was written of a rule's columns; it may note there whom it reported."""
        slots = np.array([*(hit.slot for hit in output.hits), *output.written], np.int64)
        for kind in {field.kind or rule.reads[0] for field in rule.fields}:
            self._state.touch(kind, slots)

    def findings(
        self, rules: RuleSet, reported: Reported, batch: Batch | None
    ) -> Iterator[tuple[Place, Finding]]:
        """Findings of what a rule saw, each with its place.

        Those of a trial only while it is under way.
        """
        state, time_ms, trial = self._state, reported.time_ms, rules.trial
        timeline = state.timeline
        if not reported.output.hits or (trial and trial not in timeline.trials_at(time_ms)):
            return
        policy = rules.policy_at(time_ms)
        rule = state.rules[reported.rule]
        for hit in reported.output.hits:
            customer = state.directory.hashes(np.array([hit.slot]))
            shadow = timeline.acting_trial(time_ms, customer) is not trial
            name = state.directory.name(hit.slot).decode()
            finding = finding_of(hit, rule, batch, name, policy, shadow, state.provenance)
            found_ms = finding.known_ms - wait_ms(hit, rule)
            yield (found_ms, CLOSED if hit.offset is None else hit.offset), finding

    def _partial(self, rule: str, share: PeriodSums) -> CohortPartial:
        return CohortPartial(
            rule=rule,
            partition=self._state.number,
            period_start_ms=share.period_start_ms,
            period_end_ms=share.period_end_ms,
            sums=list(share.sums),
        )
