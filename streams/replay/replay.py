"""The same fold without a broker: files in, findings and actions out, with the ids the worker
gives."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from detectors.fold.cohort_means import Averages
from detectors.fold.outcome import Outcome
from detectors.fold.partition import Partition
from detectors.fold.provenance import Origin
from detectors.kernels.hashing import HashMap
from detectors.kernels.running import stable_order
from detectors.ladder.assumed_enforcement import AssumedEnforcement
from detectors.ladder.ladder import Ladder, is_about_brake
from detectors.policies.editions import Edition, decode_edition
from schemas.columns import Columns
from schemas.decode import AHEAD, AHEAD_MS_MAX, Reject
from schemas.policy import Policy
from schemas.records import (
    Action,
    CohortPartial,
    Customer,
    DeadLetter,
    Decision,
    EnforcementResult,
    Finding,
)
from schemas.units import DAY_MS
from streams.broker.partitioner import partitions_of
from streams.clock import Clock, wall_clock
from streams.dead_letters import POLICY_REASON, dead_letter
from streams.files.sources import Chunk, chunks, numbered_records, read_lines

CUSTOMERS_AT_ONCE = 65_536

Heard = EnforcementResult | Decision
"""What is answered to actions, by enforcement or by people."""

EVERYBODY = ""
"""What the brake is told is about no single customer."""

NEVER_MS = 2**62

SLICE_MS = 3 * DAY_MS
"""How far one kind of event may run ahead of the others within a chunk."""


@dataclass(slots=True)
class Results:
    """What a stretch of input led to, in order."""

    findings: list[Finding] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    read_bytes: int = 0


ASSUMED = AssumedEnforcement()


class Replay:
    """Runs the rules and the ladder over files, split by customer as the topics are.

    Parameters
    ----------
    policy
        The rules.
    partitions
        How many partitions the topics have: what is late depends on the partition's watermark.
    dedup_entries_max
        Event ids remembered at most, for each partition and kind of event.
    enforcement
        What is assumed of enforcement: that notices are delivered and restrictions applied at
        once. None where nothing is assumed: then `hear` tells what became of actions.
    """

    def __init__(
        self,
        policy: Policy,
        partitions: int,
        dedup_entries_max: int,
        enforcement: AssumedEnforcement | None = ASSUMED,
    ) -> None:
        self.policy = policy
        self.partitions = [Partition(n, policy, dedup_entries_max) for n in range(partitions)]
        self.verdicts = [Ladder(number, policy, enforcement) for number in range(partitions)]
        self.averages = Averages()
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._answered = [0] * partitions
        self._heard: dict[tuple[int, str], deque[Heard]] = {}
        self._heard_count = 0
        self._reached: dict[str, int] = {}
        self._earliest_ms = NEVER_MS
        self._homes = Homes(partitions)

    def announce(self, customers: Iterable[Customer]) -> None:
        """Take in who has which plan, before any use."""
        waiting: list[Customer] = []
        for customer in customers:
            waiting.append(customer)
            if len(waiting) >= CUSTOMERS_AT_ONCE:
                self._announce(waiting)
                waiting = []
        self._announce(waiting)

    def _announce(self, customers: list[Customer]) -> None:
        if not customers:
            return
        ids = [customer.customer_id.encode() for customer in customers]
        for number, rows in _split(partitions_of(ids, len(self.partitions))):
            self.partitions[number].announce([customers[row] for row in rows.tolist()])

    def announce_policies(self, file: Path) -> Results:
        """Take in the policies of a file, before any use; what can't be used is a dead letter."""
        results = Results()
        for line, value in read_lines(file):
            try:
                edition = decode_edition(value, self.policy)
            except ValueError as error:
                letter = dead_letter(str(file), 0, line, None, value, POLICY_REASON, str(error))
                results.dead_letters.append(letter)
                self.reasons[POLICY_REASON] += 1
                continue
            self.announce_policy(edition)
        return results

    def announce_policy(self, edition: Edition) -> None:
        """Take in a policy that holds from its time on."""
        for state in (*self.partitions, *self.verdicts):
            state.announce_policy(edition)

    def hear(self, records: Iterable[Heard]) -> None:
        """Take in results and decisions; each is told before its customer's later findings.

        Kinds of usage do not come in the order of their times, so what is said of one customer
        does not wait for another's; what is said of the brake waits for any finding.
        """
        ordered = sorted(records, key=lambda record: record.time_ms)
        ids = [record.customer_id.encode() for record in ordered]
        if ids:
            numbers = partitions_of(ids, len(self.partitions)).tolist()
            for number, record in zip(numbers, ordered, strict=True):
                about = EVERYBODY if is_about_brake(record) else record.customer_id
                self._heard.setdefault((number, about), deque()).append(record)

    def hear_files(self, files: Iterable[tuple[Path, Any]], clock: Clock = wall_clock) -> Results:
        """Take in the results and decisions of files, each with what decodes it.

        Those whose time is too far ahead of the clock are dead letters.
        """
        results, heard, last_ms = Results(), [], clock() + AHEAD_MS_MAX
        for file, decoder in files:
            for line, value, record in numbered_records(file, decoder):
                if record.time_ms <= last_ms:
                    heard.append(record)
                    continue
                letter = dead_letter(str(file), 0, line, None, value, *AHEAD)
                results.dead_letters.append(letter)
                self.reasons[letter.reason] += 1
        self.hear(heard)
        return results

    def run(self, files: list[Path], clock: Clock = wall_clock) -> Iterator[Results]:
        """Read files to their end; results come as they are found, the last ones after the end."""
        for chunk in chunks(files, clock):
            yield self.take(chunk)
        yield self.end()

    def take(self, chunk: Chunk) -> Results:
        """Fold one chunk."""
        results = Results(read_bytes=chunk.read_bytes)
        rejects = list(chunk.rejects)
        self.counts["records"] += chunk.records
        for columns in self._in_step(chunk.columns):
            rejects += self._fold(columns, chunk.origin, results)
        self._refuse(chunk, rejects, results)
        return results

    def _fold(self, columns: Columns, origin: Origin, results: Results) -> list[Reject]:
        """Fold a slice of one kind; what of it can't be used."""
        rejects = []
        for stretch in self._cut_at_closings(list(self._parts(columns))):
            partials: list[CohortPartial] = []
            for number, part in stretch:
                outcome = self.partitions[number].fold(part, origin)
                partials += outcome.partials
                self._count(outcome)
                self._answer(number, outcome.findings, results)
                rejects += outcome.rejects(part)
            self._close(partials, results)
        return rejects

    def _in_step(self, kinds: Sequence[Columns]) -> Iterator[Columns]:
        """The kinds in turns, so that none runs ahead of the others by more than a slice of time.

        Rules that judge closed periods keep just a few for the kinds that lag.
        """
        pieces = []
        for columns in kinds:
            if len(columns):
                reached = np.maximum.accumulate(columns.time_ms)
                reached = np.maximum(reached, self._reached.get(columns.kind, 0))
                self._reached[columns.kind] = int(reached[-1])
                slices = self._slices_of(reached)
                cuts = [0, *(np.flatnonzero(np.diff(slices)) + 1).tolist(), len(slices)]
                pieces += [(int(slices[a]), columns, a, b) for a, b in pairwise(cuts)]
        for _, columns, start, end in sorted(pieces, key=lambda piece: piece[0]):
            whole = end - start == len(columns)
            yield columns if whole else columns.take(np.arange(start, end))

    def _slices_of(self, reached_ms: np.ndarray) -> np.ndarray:
        """Number of the slice of time that each watermark is in, shape (n,)."""
        return reached_ms // SLICE_MS

    def _count(self, outcome: Outcome) -> None:
        self.counts["events"] += outcome.counted
        self.counts["duplicates"] += outcome.duplicates
        self.counts["late"] += outcome.late

    def _cut_at_closings(
        self, parts: list[tuple[int, Columns]]
    ) -> Iterator[list[tuple[int, Columns]]]:
        """The parts again, cut around each event that closes a period anywhere.

        So the mean is known to every event that stands after it in the input, wherever chunks end.
        """
        firsts = [int(part.time_ms.min()) for _, part in parts]
        self._earliest_ms = earliest_ms = min([self._earliest_ms, *firsts])
        closing = {
            offset
            for number, part in parts
            for offset in self.partitions[number].closing_offsets(part, earliest_ms)
        }
        if not closing:
            yield parts
            return
        cuts = sorted(closing | {offset + 1 for offset in closing})
        for first, last in pairwise([None, *cuts, None]):
            stretch = []
            for number, part in parts:
                start = 0 if first is None else int(np.searchsorted(part.offset, first))
                end = len(part) if last is None else int(np.searchsorted(part.offset, last))
                if end > start:
                    stretch.append((number, part.take(np.arange(start, end))))
            yield stretch

    def end(self) -> Results:
        """Close every period that ended before the last event, and let time go on up to it."""
        results = Results()
        last_ms = max(max(p.watermark_ms.values(), default=0) for p in self.partitions)
        partials: list[CohortPartial] = []
        for number, partition in enumerate(self.partitions):
            outcome = partition.end(last_ms)
            partials += outcome.partials
            self._answer(number, outcome.findings, results)
        self._close(partials, results)
        self._let_time_pass(last_ms, results)
        return results

    def _let_time_pass(self, last_ms: int, results: Results) -> None:
        """What was answered after the last finding, and what is due by the end of the input."""
        left = [(heard[0].time_ms, key) for key, heard in self._heard.items() if heard]
        heapify(left)
        while left:
            time_ms, key = heappop(left)
            last_ms = max(last_ms, time_ms)
            self._tell(*key, time_ms + 1, results)
            if self._heard[key]:
                heappush(left, (self._heard[key][0].time_ms, key))
        for verdicts in self.verdicts:
            results.actions += verdicts.end(last_ms)

    def _parts(self, columns: Columns) -> Iterator[tuple[int, Columns]]:
        if len(self.partitions) == 1:
            yield 0, columns
        elif len(columns):
            for number, rows in _split(self._homes.of(columns)):
                yield number, columns.take(rows)

    def _answer(self, number: int, findings: list[Finding], results: Results) -> None:
        results.findings += findings
        verdicts = self.verdicts[number]
        verdicts.brake.customers = self.partitions[number].directory.size
        for finding in findings:
            for about in (EVERYBODY, finding.customer_id):
                self._tell(number, about, finding.known_ms, results)
            results.actions += verdicts.fold([finding], [self._answered[number]])
            self._answered[number] += 1

    def _tell(self, number: int, about: str, until_ms: int, results: Results) -> None:
        """Results and decisions about a customer from before a time."""
        heard, verdicts = self._heard.get((number, about), ()), self.verdicts[number]
        while heard and heard[0].time_ms < until_ms:
            record = heard.popleft()
            take = verdicts.decided if isinstance(record, Decision) else verdicts.result
            results.actions += take([record], [self._heard_count])
            self._heard_count += 1

    def _close(self, partials: list[CohortPartial], results: Results) -> None:
        for partial in partials:
            self.averages.add(partial)
        for average in self.averages.complete(len(self.partitions)):
            self.averages.freeze(average)
            for number, partition in enumerate(self.partitions):
                self._answer(number, partition.take_mean(average), results)

    def _refuse(self, chunk: Chunk, rejects: list[Reject], results: Results) -> None:
        self.reasons.update(reject.reason for reject in rejects)
        for reject in sorted(rejects, key=lambda reject: reject.record):
            line = chunk.first + reject.record - chunk.origin.first + 1
            raw = chunk.raw(reject.record)
            results.dead_letters.append(
                dead_letter(chunk.origin.name, 0, line, None, raw, reject.reason, reject.detail)
            )


class Homes:
    """The partition of each customer, worked out once for each."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._known = HashMap()

    def of(self, columns: Columns) -> np.ndarray:
        """Partition of each row's customer, shape (n,)."""
        place, new = self._known.claim(columns.customer_hash)
        if len(new):
            keys = columns.customer_id[new].tolist()
            self._known.values[place[new]] = partitions_of(keys, self._partitions)
        return self._known.values[place]


def _split(number: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of each partition, in order."""
    order = stable_order(number)
    ends = np.cumsum(np.bincount(number)).tolist()
    start = 0
    for partition, end in enumerate(ends):
        if end > start:
            yield partition, order[start:end]
        start = end
