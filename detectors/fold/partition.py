"""One partition of the input: screens events, hands them to the rules, makes findings of hits.

The live worker and the replay drive this same fold.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.fold.findings import finding_of, wait_ms
from detectors.fold.outcome import CLOSED, Outcome, Place
from detectors.fold.provenance import Origin
from detectors.fold.rule_set import Found, RuleSet
from detectors.fold.stored_partition import CUSTOMER_GROUP, StoredPartition
from detectors.policies.editions import Edition
from detectors.policies.timeline import TRIALS_MAX
from detectors.rules.contract import Batch, Correction, PeriodSums, Rule, RuleOutput
from schemas.columns import Columns
from schemas.policy import Policy
from schemas.records import CohortAverage, CohortPartial, Customer, Finding
from schemas.units import Ints

HELD_TRIALS_MAX = 2 * TRIALS_MAX
"""Trials that run at once: those under way, and those that some kind of event has not left yet."""


class Partition(StoredPartition):
    """State and rules of one partition.

    Parameters
    ----------
    number
        The partition's number, the same for every usage topic.
    policy
        Limits and windows; their lengths decide how rows are laid out.
    dedup_entries_max
        Event ids remembered at most, for each kind of event.
    """

    # -- events ---------------------------------------------------------------------------------

    def fold(self, columns: Columns, origin: Origin) -> Outcome:
        """Take in a batch of events of one kind, in the partition's order."""
        outcome = Outcome()
        columns, given = self._behind_fence(columns, outcome)
        if len(columns) == 0 or columns.kind not in self.watermark_ms:
            outcome.counted = len(columns)
            return outcome
        kind = columns.kind
        watermark = np.maximum(np.maximum.accumulate(columns.time_ms), self.watermark_ms[kind])
        kept = self._in_time(columns, watermark, given, outcome)
        fresh = self.duplicates[kind].screen(columns.event_hash[kept], watermark[kept])
        outcome.duplicates = int((~fresh).sum())
        rows = kept[fresh]
        outcome.counted = len(rows)
        if len(rows) < len(columns):
            columns, given = columns.take(rows), given[rows]
        outcome.late = int((columns.time_ms < watermark[rows]).sum())
        batch = self._batch(columns, watermark[rows], outcome)
        self._correct_and_run(batch, columns, given, origin, outcome)
        self.watermark_ms[kind] = int(watermark[-1])
        return outcome

    def _behind_fence(
        self, columns: Columns, outcome: Outcome
    ) -> tuple[Columns, NDArray[np.int64]]:
        """Leave out what this state already holds; the offsets of a kind only ever rise."""
        expected = self.next_offset.get(columns.kind, 0)
        given = np.flatnonzero(columns.offset >= expected)
        outcome.redelivered = len(columns) - len(given)
        if outcome.redelivered:
            columns = columns.take(given)
        if len(columns):
            self.next_offset[columns.kind] = int(columns.offset[-1]) + 1
        return columns, given

    def passed(self, kind: str, offset: int) -> None:
        """Everything of a kind up to this offset was seen, whether or not it could be used."""
        self.next_offset[kind] = max(self.next_offset.get(kind, 0), offset + 1)

    def _in_time(
        self,
        columns: Columns,
        watermark: NDArray[np.int64],
        given: NDArray[np.int64],
        outcome: Outcome,
    ) -> NDArray[np.int64]:
        accepted = np.zeros(len(columns), bool)
        for rule in self._rules_of(columns.kind):
            accepted |= rule.accepts(columns.time_ms, watermark)
        outcome.too_late = given[~accepted].tolist()
        return np.flatnonzero(accepted)

    def _rules_of(self, kind: str) -> Iterator[Rule]:
        return (rule for rule in self.rules.values() if kind in rule.reads)

    def _batch(self, columns: Columns, watermark: NDArray[np.int64], outcome: Outcome) -> Batch:
        known = self.directory.size
        slot = self.directory.admit(columns.customer_id, columns.customer_hash)
        self._reserve()
        outcome.unannounced = self.directory.size - known
        self.groups[CUSTOMER_GROUP].touch(np.arange(known, self.directory.size))
        return Batch(
            kind=columns.kind,
            slot=slot,
            time_ms=columns.time_ms,
            watermark_ms=watermark,
            offset=columns.offset,
            fields=columns.fields,
        )

    def _correct_and_run(
        self, batch: Batch, columns: Columns, given: Ints, origin: Origin, outcome: Outcome
    ) -> None:
        """Run the rules, and where an event corrects another take that one back first."""
        ledger = self.ledgers.get(batch.kind)
        event, customer = columns.event_hash, columns.customer_hash
        if ledger is None or columns.corrects is None or not columns.corrects.any():
            if ledger is not None:
                ledger.note(event, customer, batch)
            self._run(batch, origin, outcome)
            return
        correcting = np.flatnonzero(columns.corrects)
        cuts = sorted({0, len(batch.slot), *correcting.tolist(), *(correcting + 1).tolist()})
        for start, end in pairwise(cuts):
            part = batch.part(start, end)
            if columns.corrects[start]:
                back = ledger.take_back(
                    columns.corrects[start:end], customer[start:end], part.newest_ms
                )
                if back is None:
                    outcome.uncorrectable.append(int(given[start]))
                    outcome.counted -= 1
                    continue
                self._take_back(part, back, origin, outcome)
                if part.fields["void"][0]:
                    continue
            ledger.note(event[start:end], customer[start:end], part)
            self._run(part, origin, outcome)

    def _take_back(self, part: Batch, back: NDArray, origin: Origin, outcome: Outcome) -> None:
        """Have the rules undo an event; `part` is the one that corrects it, `back` what counted."""
        kind, ledger = part.kind, self.ledgers[part.kind]
        rule_sets = self._rule_sets(part.newest_ms)
        for rules in rule_sets:
            self._report(rules, rules.close(kind, part.newest_ms), None, outcome)
        self.provenance[kind].note(origin, part.time_ms, part.offset)
        undone = replace(
            part,
            time_ms=back["time_ms"].astype(np.int64),
            fields=ledger.fields_of(back),
        )
        corrects = str(part.fields["corrects_text"][0])
        told = Correction(
            event_time_ms=int(part.time_ms[0]),
            offset=int(part.offset[0]),
            corrects=corrects,
            siblings=ledger.siblings(back, part),
        )
        for rules in rule_sets:
            self._report(rules, rules.take_back(undone, told), undone, outcome)
        self.progress.stepped_ms[kind] = part.newest_ms
        if kind in self.groups:
            self.groups[kind].touch(part.slot)

    def _run(self, batch: Batch, origin: Origin, outcome: Outcome) -> None:
        """Run the kind's rules, stretch by stretch between changes of policy."""
        if len(batch.slot) == 0:
            return
        times = self.timeline.changes_between(*batch.watermark_ms[[0, -1]].tolist())
        cuts = np.searchsorted(batch.watermark_ms, times).tolist()
        for part in batch.cut(cuts):
            self._run_under_one_policy(part, origin, outcome)

    def _run_under_one_policy(self, batch: Batch, origin: Origin, outcome: Outcome) -> None:
        """Run the rules; those that judge periods rest on just what came before the end."""
        kind = batch.kind
        rule_sets = self._rule_sets(int(batch.watermark_ms[0]))
        for part in self._cut_at_closings(batch):
            for rules in rule_sets:
                self._report(rules, rules.close(kind, int(part.watermark_ms[0])), None, outcome)
            self.provenance[kind].note(origin, part.time_ms, part.offset)
            for rules in rule_sets:
                self._report(rules, rules.fold(rules.closing, part), part, outcome)
            self.progress.began_ms.setdefault(kind, int(part.watermark_ms[0]))
            self.progress.stepped_ms[kind] = part.newest_ms
        for rules in rule_sets:
            self._report(rules, rules.fold(rules.others, batch), batch, outcome)
        if kind in self.groups:
            self.groups[kind].touch(batch.slot)

    def _cut_at_closings(self, batch: Batch) -> list[Batch]:
        closes = np.zeros(len(batch.slot), bool)
        for rule in self.closing_rules.values():
            if batch.kind in rule.reads and rule.may_close(batch.newest_ms):
                first, last = rule.closing_period(batch.watermark_ms[[0, -1]])
                if first != last:
                    closing = rule.closing_period(batch.watermark_ms)
                    closes[1:] |= closing[1:] != closing[:-1]
        return batch.cut(np.flatnonzero(closes).tolist())

    def closing_offsets(self, columns: Columns, earliest_ms: int) -> list[int]:
        """Offsets of the events that would move a watermark past a cohort's period.

        Nobody used anything before `earliest_ms`, so that a first event ends nothing.
        """
        offsets: list[int] = []
        rules = [r for r in self.cohort_rules.values() if columns.kind in r.reads]
        if rules and len(columns):
            before = self.watermark_ms[columns.kind]
            reached = np.maximum(np.maximum.accumulate(columns.time_ms), before)
            for rule in rules:
                unused = rule.period_of(np.array([earliest_ms])) - 1
                closing = np.maximum(rule.closing_period(np.r_[before, reached]), unused)
                offsets += columns.offset[np.flatnonzero(closing[1:] != closing[:-1])].tolist()
        return offsets

    # -- closed periods -------------------------------------------------------------------------

    def take_mean(self, average: CohortAverage) -> list[Finding]:
        """Take in the mean of a closed period, and report who it puts in breach."""
        outcome = Outcome()
        if average.rule in self.main.cohort:
            closes_ms = self.rules[average.rule].closes_ms(average.period_end_ms)
            for rules in self._rule_sets(closes_ms):
                self._report(rules, rules.take_mean(average), None, outcome)
        return outcome.findings

    def recompute_with_means(
        self, rule: str, period_start_ms: int, given: Mapping[str, Any]
    ) -> list[Finding]:
        """Judge a closed period by the means in a finding's evidence, to recompute that finding."""
        closes_ms = self.rules[rule].known_ms(period_start_ms + 1)
        findings = []
        for rules in self._rule_sets(closes_ms):
            asked, columns = rules.at(rule, closes_ms), rules.columns_of(rule)
            hits = asked.recompute_with_means(columns, period_start_ms, given, self.customers)
            found = Found(rule, closes_ms, RuleOutput(hits=tuple(hits)))
            findings += [finding for _, finding in self._findings(rules, found, None)]
        return findings

    def end(self, last_event_ms: int) -> Outcome:
        """Close every period that ended before the input's last event: no more will come."""
        outcome = Outcome()
        for rules in self._rule_sets(last_event_ms):
            self._report(rules, rules.end(last_event_ms), None, outcome)
        return outcome

    def reached_ms(self, silent: Collection[str] = (), now_ms: int = 0) -> int:
        """The time that every kind has passed; silent ones have passed the clock's.

        Of what was screened out no period was closed, so it counts for nothing here.
        """
        times = self.progress.stepped_ms.items()
        return min(now_ms if kind in silent else time_ms for kind, time_ms in times)

    def close_idle(self, silent: Collection[str], now_ms: int) -> Outcome:
        """Close the periods that the clock ends while nothing comes of the silent kinds."""
        outcome = Outcome()
        for rules in self._rule_sets(now_ms):
            self._report(rules, rules.close_idle(silent, now_ms), None, outcome)
        return outcome

    def _report(
        self, rules: RuleSet, found: Iterable[Found], batch: Batch | None, outcome: Outcome
    ) -> None:
        """Add what rules saw; the shares of a trial are those of the rules for everybody."""
        for each in found:
            outcome.placed += self._findings(rules, each, batch)
            if rules.trial is None:
                outcome.partials += [self._partial(each.rule, s) for s in each.output.sums]
                # A rule may note in their rows whom it reported.
                slots = np.array([hit.slot for hit in each.output.hits], np.int64)
                for read in self.rules[each.rule].reads:
                    if read in self.groups:
                        self.groups[read].touch(slots)

    def _partial(self, rule: str, share: PeriodSums) -> CohortPartial:
        return CohortPartial(
            rule=rule,
            partition=self.number,
            period_start_ms=share.period_start_ms,
            period_end_ms=share.period_end_ms,
            sums=list(share.sums),
        )

    # -- customers ------------------------------------------------------------------------------

    def announce(self, customers: Sequence[Customer]) -> None:
        """Take in who has which plan; the last word on a customer counts."""
        if not customers:
            return
        slots = self.directory.admit([customer.customer_id.encode() for customer in customers])
        self._reserve()
        self.customers.announce(slots, customers)

    def standing(self, customer_id: str) -> dict[str, Any] | None:
        """A customer's current numbers against every limit, or None for one never seen."""
        slot = int(self.directory.find([customer_id.encode()])[0])
        if slot < 0:
            return None
        rules = {}
        for name in self.rules:
            rule = self.main.at(name, self.progress.lowest_ms(self.rules[name].reads))
            standings = rule.standing(self.main.columns_of(name), slot, self.customers)
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
        """Take in a policy that holds from its time on; tell whether it was news."""
        return self.timeline.announce(edition)

    def policies_in_force(self) -> list[tuple[Policy, int, int]]:
        """Each policy, since when it holds, and for how many customers in a hundred."""
        return self.timeline.in_force_at(max(self.progress.stepped_ms.values()))

    def _rule_sets(self, time_ms: int) -> list[RuleSet]:
        """The rules for everybody and those of each trial; what begins by a time begins now."""
        if self.timeline.editions:
            self._keep_trials(time_ms)
        return [self.main, *self.trials]

    def _keep_trials(self, time_ms: int) -> None:
        """Begin trials with a copy of everything, before any kind has reached their time.

        One that ended goes on until all kinds have reached the end.
        """
        stepped_ms = self.progress.stepped_ms.values()
        before_ms = max(stepped_ms)
        newest_ms = max(before_ms, time_ms)
        lowest_ms = min((each for each in stepped_ms if each), default=0)
        running = [rules.trial for rules in self.trials]
        under_way = reversed(self.timeline.trials_at(newest_ms))
        for trial in (*self.timeline.trials_begun(before_ms, newest_ms), *under_way):
            if trial not in running:
                running.append(trial)
                self.trials.append(self.main.on_trial(trial))
        kept = [t for t in self.trials if not self.timeline.is_over(t.trial, lowest_ms)]
        self.trials = kept[-HELD_TRIALS_MAX:]

    # -- findings -------------------------------------------------------------------------------

    def _findings(
        self, rules: RuleSet, found: Found, batch: Batch | None
    ) -> Iterator[tuple[Place, Finding]]:
        """Findings of what a rule saw, each with its place.

        Those of a trial only while it is under way.
        """
        time_ms, trial = found.time_ms, rules.trial
        if not found.output.hits or (trial and trial not in self.timeline.trials_at(time_ms)):
            return
        policy = rules.policy_at(time_ms)
        for hit in found.output.hits:
            customer = self.directory.hashes(np.array([hit.slot]))
            acting = self.timeline.acting_trial(time_ms, customer)
            name = self.directory.name(hit.slot).decode()
            rule, shadow = self.rules[found.rule], acting is not trial
            finding = finding_of(hit, rule, batch, name, policy, shadow, self.provenance)
            found_ms = finding.known_ms - wait_ms(hit, rule)
            yield (found_ms, CLOSED if hit.offset is None else hit.offset), finding
