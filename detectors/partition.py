"""One partition of the input: screens events, hands them to the rules, makes findings of hits.

The live worker and the replay drive this same fold.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.identity import finding_id
from detectors.provenance import Origin
from detectors.rule import (
    Batch,
    Closed,
    CorrectableRule,
    Correction,
    Hit,
    Ints,
    Rule,
    Share,
)
from detectors.stored import CUSTOMER_GROUP, StoredPartition
from schemas.columns import Columns
from schemas.decode import Reject
from schemas.records import CohortAverage, CohortPartial, Customer, Finding

TOO_LATE = "older than every rule still takes"
UNCORRECTABLE = "the event it corrects is not remembered, or was corrected before"


@dataclass(slots=True)
class Outcome:
    """What a batch led to; `too_late` and `uncorrectable` are rows of the columns handed in.

    An event is uncorrectable when what it corrects is not remembered, or was corrected before.
    """

    findings: list[Finding] = field(default_factory=list)
    partials: list[CohortPartial] = field(default_factory=list)
    too_late: list[int] = field(default_factory=list)
    uncorrectable: list[int] = field(default_factory=list)
    counted: int = 0
    late: int = 0
    duplicates: int = 0
    redelivered: int = 0
    unannounced: int = 0

    def rejects(self, columns: Columns) -> list[Reject]:
        """What could not be used of these columns, and why."""
        late = ((row, "too_late", TOO_LATE) for row in self.too_late)
        odd = ((row, "correction", UNCORRECTABLE) for row in self.uncorrectable)
        return [
            Reject(int(columns.record[row]), reason, detail)
            for row, reason, detail in (*late, *odd)
        ]


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
        kind = part.kind
        self._close(kind, part.newest_ms, outcome)
        self.provenance[kind].note(origin, part.time_ms, part.offset)
        undone = replace(
            part,
            time_ms=back["time_ms"].astype(np.int64),
            fields=self.ledgers[kind].fields_of(back),
        )
        told = Correction(int(part.time_ms[0]), str(part.fields["corrects_text"][0]))
        for name, rule in self.rules.items():
            if kind in rule.reads and isinstance(rule, CorrectableRule):
                hits = rule.take_back(self._columns_of(name), undone, told, self.customers)
                outcome.findings += self._findings(name, hits, kind)
        self.stepped_ms[kind] = part.newest_ms
        if kind in self.groups:
            self.groups[kind].touch(part.slot)

    def _run(self, batch: Batch, origin: Origin, outcome: Outcome) -> None:
        """Run the kind's rules; those that judge periods rest on just what came before the end."""
        if len(batch.slot) == 0:
            return
        kind = batch.kind
        for part in self._cut_at_closings(batch):
            self._close(kind, int(part.watermark_ms[0]), outcome)
            self.provenance[kind].note(origin, part.time_ms, part.offset)
            self._step(part, self.closing_rules, outcome)
            self.stepped_ms[kind] = part.newest_ms
        others = [name for name in self.rules if name not in self.closing_rules]
        self._step(batch, others, outcome)
        if kind in self.groups:
            self.groups[kind].touch(batch.slot)

    def _step(self, batch: Batch, rules: Iterable[str], outcome: Outcome) -> None:
        for name in rules:
            if batch.kind in self.rules[name].reads:
                hits = self.rules[name].step(self._columns_of(name), batch, self.customers)
                outcome.findings += self._findings(name, hits, batch.kind)

    def _close(self, kind: str, watermark_ms: int, outcome: Outcome) -> None:
        """Close the periods that every kind a rule reads has passed."""
        for name, rule in self.closing_rules.items():
            if kind in rule.reads:
                others = (self.stepped_ms[other] for other in rule.reads if other != kind)
                reached_ms = min([watermark_ms, *others])
                closed = rule.close(self._columns_of(name), reached_ms, self.customers)
                self._closed(name, closed, outcome)

    def _closed(self, rule: str, closed: Closed, outcome: Outcome) -> None:
        outcome.partials += [self._partial(rule, share) for share in closed.shares]
        outcome.findings += self._findings(rule, closed.hits)
        # A rule may note in their rows whom it reported.
        slots = np.array([hit.slot for hit in closed.hits], np.int64)
        for kind in self.rules[rule].reads:
            if kind in self.groups:
                self.groups[kind].touch(slots)

    def _cut_at_closings(self, batch: Batch) -> Iterator[Batch]:
        closes = np.zeros(len(batch.slot), bool)
        for rule in self.closing_rules.values():
            if batch.kind in rule.reads:
                first, last = rule.closing_period(batch.watermark_ms[[0, -1]])
                if first != last:
                    closing = rule.closing_period(batch.watermark_ms)
                    closes[1:] |= closing[1:] != closing[:-1]
        ends = [*np.flatnonzero(closes).tolist(), len(closes)]
        if len(ends) == 1:
            yield batch
            return
        for start, end in pairwise([0, *ends]):
            yield batch.part(start, end)

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

    def judge(self, average: CohortAverage) -> list[Finding]:
        """Take in the mean of a closed period, and report who it puts in breach."""
        rule = self.cohort_rules.get(average.rule)
        if rule is None:
            return []
        hits = rule.judge(self._columns_of(average.rule), average, self.customers)
        return self._findings(average.rule, hits)

    def judge_given(
        self, rule: str, period_start_ms: int, given: Mapping[str, Any]
    ) -> list[Finding]:
        """Judge a closed period by the means in a finding's evidence, to recompute that finding."""
        cohort_rule = self.cohort_rules[rule]
        columns = self._columns_of(rule)
        hits = cohort_rule.judge_given(columns, period_start_ms, given, self.customers)
        return self._findings(rule, hits)

    def end(self, last_event_ms: int) -> Outcome:
        """Close every period that ended before the input's last event: no more will come."""
        outcome = Outcome()
        for name, rule in self.closing_rules.items():
            closed = rule.close_ended(self._columns_of(name), last_event_ms, self.customers)
            self._closed(name, closed, outcome)
        return outcome

    def reached_ms(self, silent: Collection[str] = (), now_ms: int = 0) -> int:
        """The time that every kind has passed; silent ones have passed the clock's."""
        times = self.watermark_ms.items()
        return min(now_ms if kind in silent else time_ms for kind, time_ms in times)

    def close_idle(self, silent: Collection[str], now_ms: int) -> Outcome:
        """Close the periods that the clock ends while nothing comes of the silent kinds."""
        outcome = Outcome()
        for name, rule in self.closing_rules.items():
            if not silent.isdisjoint(rule.reads):
                times = (now_ms if k in silent else self.stepped_ms[k] for k in rule.reads)
                closed = rule.close(self._columns_of(name), min(times), self.customers)
                self._closed(name, closed, outcome)
        return outcome

    def _partial(self, rule: str, share: Share) -> CohortPartial:
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
        for name, rule in self.rules.items():
            standings = rule.standing(self._columns_of(name), slot, self.customers)
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

    # -- findings -------------------------------------------------------------------------------

    def _findings(self, rule: str, hits: Iterable[Hit], kind: str | None = None) -> list[Finding]:
        """Findings of hits; those of a closed period rest on every kind that the rule reads."""
        return [self._finding(rule, hit, kind if hit.offset is not None else None) for hit in hits]

    def _finding(self, rule: str, hit: Hit, kind: str | None) -> Finding:
        """A finding of a hit; without a kind it rests on every kind that the rule reads."""
        customer_id = self.directory.name(hit.slot).decode()
        end_ms = hit.window.end_ms or hit.event_time_ms
        if hit.offset is not None:
            end_ms = max(end_ms, hit.event_time_ms + 1)
        rests_on = [hit.window.start_ms, *(b["start_ms"] for b in hit.evidence.get("breaches", ()))]
        if hit.rests_on_ms is not None:
            rests_on.append(hit.rests_on_ms)
        start_ms, end_ms = min(rests_on), max(end_ms, max(rests_on) + 1)
        # Use that began before the window may reach into it.
        start_ms -= self.rules[rule].longest_ms
        inputs = [
            span
            for read in ([kind] if kind else self.rules[rule].reads)
            for span in self.provenance[read].inputs(start_ms, end_ms, hit.offset)
        ]
        return Finding(
            finding_id=finding_id(rule, customer_id, hit.window, hit.level, self.policy_ref),
            rule=rule,
            customer_id=customer_id,
            event_time_ms=hit.event_time_ms,
            level=hit.level,
            window=hit.window,
            observed=hit.observed,
            limit=hit.limit,
            unit=hit.unit,
            policy=self.policy_ref,
            shadow=False,
            evidence={
                "inputs": inputs,
                "observed": hit.observed,
                "limit": hit.limit,
                **hit.evidence,
            },
        )
