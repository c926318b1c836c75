"""One partition of the input: screens events, hands them to the rules, makes findings of hits.

The live worker and the replay drive this same fold.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec
import numpy as np

from detectors.fold.corrections import Corrections
from detectors.fold.outcome import Outcome
from detectors.fold.provenance import Origin
from detectors.fold.reporter import Reporter
from detectors.fold.rule_set import Reported
from detectors.fold.stored_partition import CUSTOMER_GROUP, StoredPartition
from detectors.policies.editions import Edition
from detectors.rules.contract import Batch, CusumRule, Rule, RuleOutput
from schemas.columns import Columns
from schemas.policy import Policy
from schemas.records import CohortAverage, Customer, Finding
from schemas.units import Ints


class Gauges(msgspec.Struct, frozen=True):
    """How much a partition keeps, and what it could not keep.

    `customers` are those it knows, `state_bytes` the size of its columns, `watermark_ms` how far
    each kind has come. `evicted` are entries that were forgotten early for lack of room, by what
    they are; `kept` are corrected events that still count, by rule, because too little was left of
    the customer's other events to take them back. Both are counted since the start.
    """

    customers: int
    state_bytes: int
    watermark_ms: dict[str, int]
    evicted: Counter[str]
    kept: Counter[str]


class Partition:
    """Folds the usage of one partition; `state` is what it keeps, for checkpoints and snapshots.

    Parameters
    ----------
    number
        The partition's number, the same for every usage topic.
    policy
        Limits and windows; their lengths decide how rows are laid out.
    dedup_entries_max
        Event ids remembered at most, for each kind of event.
    """

    def __init__(self, number: int, policy: Policy, dedup_entries_max: int) -> None:
        self.number = number
        self.state = StoredPartition(number, policy, dedup_entries_max)
        self._reporter = Reporter(self.state)
        self._corrections = Corrections(self.state, self._reporter)

    # -- events ---------------------------------------------------------------------------------

    def fold(self, columns: Columns, origin: Origin) -> Outcome:
        """Fold a batch of events of one kind, in the partition's order."""
        outcome, state = Outcome(), self.state
        columns, given = self._behind_fence(columns, outcome)
        if len(columns) == 0 or columns.kind not in state.watermark_ms:
            outcome.counted = len(columns)
            return outcome
        kind = columns.kind
        watermark = np.maximum(np.maximum.accumulate(columns.time_ms), state.watermark_ms[kind])
        kept = self._in_time(columns, watermark, given, outcome)
        fresh = state.duplicates[kind].screen(columns.event_hash[kept], watermark[kept])
        outcome.duplicates = int((~fresh).sum())
        rows = kept[fresh]
        outcome.counted = len(rows)
        if len(rows) < len(columns):
            columns, given = columns.take(rows), given[rows]
        outcome.late = int((columns.time_ms < watermark[rows]).sum())
        batch = self._batch(columns, watermark[rows], outcome)
        for part in self._corrections.parts(batch, columns, given, origin, outcome):
            self._run(part, origin, outcome)
        state.watermark_ms[kind] = int(watermark[-1])
        return outcome

    def _behind_fence(self, columns: Columns, outcome: Outcome) -> tuple[Columns, Ints]:
        """Leave out events that were folded before; the offsets of a kind only rise."""
        expected = self.state.next_offset.get(columns.kind, 0)
        given = np.flatnonzero(columns.offset >= expected)
        outcome.redelivered = len(columns) - len(given)
        if outcome.redelivered:
            columns = columns.take(given)
        if len(columns):
            self.state.next_offset[columns.kind] = int(columns.offset[-1]) + 1
        return columns, given

    def _in_time(
        self,
        columns: Columns,
        watermark: Ints,
        given: Ints,
        outcome: Outcome,
    ) -> Ints:
        accepted = np.zeros(len(columns), bool)
        for rule in self._rules_of(columns.kind):
            accepted |= rule.accepts(columns.time_ms, watermark)
        outcome.too_late = given[~accepted].tolist()
        return np.flatnonzero(accepted)

    def _rules_of(self, kind: str) -> Iterator[Rule]:
        return (rule for rule in self.state.rules.values() if kind in rule.reads)

    def _batch(self, columns: Columns, watermark: Ints, outcome: Outcome) -> Batch:
        state = self.state
        known = state.directory.size
        slot = state.directory.admit(columns.customer_id, columns.customer_hash)
        state.reserve()
        outcome.unannounced = state.directory.size - known
        state.touch(CUSTOMER_GROUP, np.arange(known, state.directory.size))
        return Batch(
            kind=columns.kind,
            slot=slot,
            time_ms=columns.time_ms,
            watermark_ms=watermark,
            offset=columns.offset,
            fields=columns.fields,
        )

    def _run(self, batch: Batch, origin: Origin, outcome: Outcome) -> None:
        """Run the rules of the kind, cut where another policy takes effect."""
        if len(batch.slot) == 0:
            return
        times = self.state.timeline.changes_between(*batch.watermark_ms[[0, -1]].tolist())
        cuts = np.searchsorted(batch.watermark_ms, times).tolist()
        for part in batch.cut(cuts):
            self._run_under_one_policy(part, origin, outcome)

    def _run_under_one_policy(self, batch: Batch, origin: Origin, outcome: Outcome) -> None:
        """Run the rules; a period is closed before the event that closes it is counted."""
        kind, state, report = batch.kind, self.state, self._reporter.report
        rule_sets = state.trials.rule_sets(int(batch.watermark_ms[0]))
        for part in self._cut_at_closings(batch):
            first_ms = int(part.watermark_ms[0])
            for rules in rule_sets:
                report(rules, rules.close(kind, first_ms), None, outcome)
            state.provenance[kind].note(origin, part.time_ms, part.offset)
            for rules in rule_sets:
                report(rules, rules.fold(rules.closing, part), part, outcome)
            state.progress.began_ms.setdefault(kind, first_ms)
            state.progress.stepped_ms[kind] = part.newest_ms
        for rules in rule_sets:
            report(rules, rules.close(kind, batch.newest_ms, rules.uncut), None, outcome)
            report(rules, rules.fold(rules.others, batch), batch, outcome)
        state.touch(kind, batch.slot)

    def _cut_at_closings(self, batch: Batch) -> list[Batch]:
        closes = np.zeros(len(batch.slot), bool)
        for rule in self.state.main.closing_rules.values():
            is_asked = rule.cuts_batches and batch.kind in rule.reads
            if is_asked and rule.may_close(batch.newest_ms):
                first, last = rule.closing_period(batch.watermark_ms[[0, -1]])
                if first != last:
                    closing = rule.closing_period(batch.watermark_ms)
                    closes[1:] |= closing[1:] != closing[:-1]
        return batch.cut(np.flatnonzero(closes).tolist())

    def closing_offsets(self, columns: Columns, earliest_ms: int) -> list[int]:
        """Offsets of the events that would close a period of a rule with means.

        No event of the input is before `earliest_ms`, so earlier periods do not count.
        """
        offsets: list[int] = []
        rules = [r for r in self.state.main.cohort_rules.values() if columns.kind in r.reads]
        if rules and len(columns):
            before = self.state.watermark_ms[columns.kind]
            reached = np.maximum(np.maximum.accumulate(columns.time_ms), before)
            for rule in rules:
                unused = rule.period_of(np.array([earliest_ms])) - 1
                closing = np.maximum(rule.closing_period(np.r_[before, reached]), unused)
                offsets += columns.offset[np.flatnonzero(closing[1:] != closing[:-1])].tolist()
        return offsets

    # -- what drivers ask -----------------------------------------------------------------------

    @property
    def kinds(self) -> Set[str]:
        """The kinds of events that the rules read."""
        return self.state.progress.stepped_ms.keys()

    def reads(self, rule: str) -> tuple[str, ...]:
        """The kinds of events that a rule reads."""
        return self.state.rules[rule].reads

    @property
    def customer_count(self) -> int:
        """How many customers are known."""
        return self.state.directory.size

    def watermark_ms(self, kind: str) -> int:
        """The watermark of a kind; 0 before its first event."""
        return self.state.watermark_ms[kind]

    @property
    def newest_ms(self) -> int:
        """The highest watermark of all kinds; 0 before the first event."""
        return max(self.state.watermark_ms.values(), default=0)

    @property
    def gauges(self) -> Gauges:
        """How much is kept, and what could not be kept."""
        state = self.state
        evicted = Counter({name: getattr(r, "evicted", 0) for name, r in state.rules.items()})
        evicted["event ids"] = sum(held.evicted for held in state.duplicates.values())
        evicted["correctable events"] = sum(held.evicted for held in state.ledgers.values())
        return Gauges(
            customers=state.directory.size,
            state_bytes=sum(c.nbytes for g in state.groups.values() for c in g.columns.values()),
            watermark_ms=state.watermark_ms,
            evicted=evicted,
            kept=Counter({name: getattr(r, "kept", 0) for name, r in state.rules.items()}),
        )

    def start_cusum(self, rule: str, start_ms: int) -> None:
        """Start the windows of a rule with a CUSUM at an event time, to recompute a finding."""
        asked = self.state.rules[rule]
        if isinstance(asked, CusumRule):
            asked.start_cusum(start_ms)

    def plan_from_ms(self, customer_id: str) -> int:
        """Since when a customer's plan holds; 0 for one who was never announced."""
        slot = self.state.directory.find([customer_id.encode()])
        return int(self.state.customers.valid_from_ms(slot)[0]) if slot[0] >= 0 else 0

    def cohort_periods(self, after_ms: int, until_ms: int) -> Iterator[tuple[str, int, int]]:
        """Each period whose means matter and that closes within a stretch of event time.

        Returns
        -------
        Rule, start of the period, and the watermark that closes it; none that ended before the
        first event of the rule's kinds.
        """
        for rule in self.state.main.cohort_rules.values():
            for start_ms, closes_ms in rule.closed_between(after_ms, until_ms):
                if self.state.progress.has_begun(rule.reads, closes_ms):
                    yield rule.name, start_ms, closes_ms

    # -- closed periods -------------------------------------------------------------------------

    def take_mean(self, average: CohortAverage) -> list[Finding]:
        """Compare customers with the mean of a closed period; returns the findings."""
        outcome = Outcome()
        if average.rule in self.state.main.cohort:
            closes_ms = self.state.main.cohort_rules[average.rule].closes_ms(average.period_end_ms)
            for rules in self.state.trials.rule_sets(closes_ms):
                self._reporter.report(rules, rules.take_mean(average), None, outcome)
        return outcome.findings

    def recompute_with_means(
        self, rule: str, period_start_ms: int, given: Mapping[str, Any]
    ) -> list[Finding]:
        """Compute a finding of a closed period again, with the means that its evidence gives."""
        closes_ms = self.state.main.cohort_rules[rule].known_ms(period_start_ms + 1)
        findings = []
        for rules in self.state.trials.rule_sets(closes_ms):
            asked, columns = rules.cohort_rule(rule, closes_ms), rules.columns_of(rule)
            hits = asked.recompute_with_means(columns, period_start_ms, given, self.state.customers)
            reported = Reported(rule, closes_ms, RuleOutput(hits=tuple(hits)))
            findings += [finding for _, finding in self._reporter.findings(rules, reported, None)]
        return findings

    def end(self, last_event_ms: int) -> Outcome:
        """Close every period that ended before the input's last event: no more will come."""
        outcome = Outcome()
        for rules in self.state.trials.rule_sets(last_event_ms):
            self._reporter.report(rules, rules.end(last_event_ms), None, outcome)
        return outcome

    def reached_ms(self, silent: Set[str] = frozenset(), now_ms: int = 0) -> int:
        """The lowest watermark of all kinds; silent kinds count as at the clock's time.

        Events that were screened out close no period and do not count here.
        """
        times = self.state.progress.stepped_ms.items()
        return min(now_ms if kind in silent else time_ms for kind, time_ms in times)

    def close_idle(self, silent: Set[str], now_ms: int) -> Outcome:
        """Close periods by the clock where the silent kinds alone hold them open."""
        outcome = Outcome()
        for rules in self.state.trials.rule_sets(now_ms):
            self._reporter.report(rules, rules.close_idle(silent, now_ms), None, outcome)
        return outcome

    # -- customers ------------------------------------------------------------------------------

    def announce(self, customers: Sequence[Customer]) -> None:
        """Take in who has which plan; of several records of a customer the last one counts."""
        if not customers:
            return
        ids = [customer.customer_id.encode() for customer in customers]
        slots = self.state.directory.admit(ids)
        self.state.reserve()
        self.state.customers.announce(slots, customers)

    def standing(self, customer_id: str) -> dict[str, Any] | None:
        """A customer's current numbers against every limit, or None for one never seen."""
        state = self.state
        slot = int(state.directory.find([customer_id.encode()])[0])
        if slot < 0:
            return None
        rules = {}
        for name, current in state.rules.items():
            rule = state.main.at(name, state.progress.lowest_ms(current.reads))
            standings = rule.standing(state.main.columns_of(name), slot, state.customers)
            rules[name] = [
                {
                    "window": msgspec.to_builtins(standing.window),
                    "observed": standing.observed,
                    "limit": standing.limit,
                    "unit": standing.unit,
                }
                for standing in standings
            ]
        return {"customer_id": customer_id, "partition": self.number, "rules": rules}

    # -- policies -------------------------------------------------------------------------------

    def announce_policy(self, edition: Edition) -> bool:
        """Take in a policy that holds from its time on; False if it was known already."""
        return self.state.timeline.announce(edition)

    def policies_in_force(self) -> list[tuple[Policy, int, int]]:
        """Each policy in force, since when it holds, and for how many percent of the customers."""
        return self.state.timeline.in_force_at(max(self.state.progress.stepped_ms.values()))
