"""Detection without a broker: files in, findings and actions out, with the ids of the worker."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from detectors.ladder.assumed_enforcement import AssumedEnforcement
from detectors.policies.editions import Edition, decode_edition
from schemas.decode import AHEAD, AHEAD_MS_MAX, Reject
from schemas.policy import Policy
from schemas.records import Action, Customer, DeadLetter, Finding
from streams.clock import Clock, wall_clock
from streams.dead_letters import POLICY_REASON, dead_letter
from streams.files.sources import Chunk, chunks, numbered_records, read_lines
from streams.replay.answers import ASSUMED, Ladders, ResultOrDecision
from streams.replay.order import InStep
from streams.replay.usage import Found, MeansOfPartitions, Usage

CUSTOMERS_AT_ONCE = 65_536


@dataclass(slots=True)
class Results:
    """What a stretch of input led to, in order."""

    findings: list[Finding] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    read_bytes: int = 0


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
        self.usage = Usage(policy, partitions, dedup_entries_max, MeansOfPartitions())
        self.ladders = Ladders(policy, partitions, enforcement)
        self.counts = self.usage.counts
        self.reasons: Counter[str] = Counter()
        self._in_step = InStep()

    def announce(self, customers: Iterable[Customer]) -> None:
        """Take in who has which plan, before any use.

        Parameters
        ----------
        customers
            Customers of any partition.
        """
        left = iter(customers)
        while some := list(islice(left, CUSTOMERS_AT_ONCE)):
            self.usage.announce(some)

    def announce_policies(self, file: Path) -> Results:
        """Take in the policies of a file, before any use.

        Parameters
        ----------
        file
            Policy records as NDJSON.

        Returns
        -------
        A dead letter for each line that can't be used.
        """
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
        """Take in a policy that holds from its time on.

        Parameters
        ----------
        edition
            The policy and its time.
        """
        self.usage.announce_policy(edition)
        self.ladders.announce_policy(edition)

    def hear(self, answers: Iterable[ResultOrDecision]) -> None:
        """Take in results and decisions; each is told before its customer's later findings.

        Parameters
        ----------
        answers
            Results and decisions, in any order.
        """
        self.ladders.hear(answers)

    def hear_files(self, files: Iterable[tuple[Path, Any]], clock: Clock = wall_clock) -> Results:
        """Take in the results and decisions of files.

        Parameters
        ----------
        files
            Files, each with the decoder of its records.
        clock
            Records whose time is too far ahead of it are refused.

        Returns
        -------
        A dead letter for each record that was refused.
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
        """Read files to their end.

        Parameters
        ----------
        files
            Files of usage events, in the order to read them in.
        clock
            Events whose time is too far ahead of it are refused.

        Returns
        -------
        The results of each chunk, and last those of the end.
        """
        for chunk in chunks(files, clock):
            yield self.take(chunk)
        yield self.end()

    def take(self, chunk: Chunk) -> Results:
        """Fold one chunk.

        Parameters
        ----------
        chunk
            The events.

        Returns
        -------
        What they led to.
        """
        results = Results(read_bytes=chunk.read_bytes)
        rejects = list(chunk.rejects)
        self.counts["records"] += chunk.records
        for columns in self._in_step.slices(chunk.columns):
            for found in self.usage.fold(columns, chunk.origin):
                rejects += found.rejects
                self._act_on(found, results)
        self._refuse(chunk, rejects, results)
        return results

    def end(self) -> Results:
        """Close every period that ended before the last event, and let time pass up to it.

        Returns
        -------
        What that led to.
        """
        results = Results()
        last_ms = max(partition.newest_ms for partition in self.usage.partitions)
        for found in self.usage.end(last_ms):
            self._act_on(found, results)
        results.actions += self.ladders.end(last_ms)
        return results

    def _act_on(self, found: Found, results: Results) -> None:
        """Hand findings to the ladder of their partition."""
        results.findings += found.findings
        customers = self.usage.partitions[found.partition].customer_count
        results.actions += self.ladders.fold(found.partition, found.findings, customers)

    def _refuse(self, chunk: Chunk, rejects: list[Reject], results: Results) -> None:
        self.reasons.update(reject.reason for reject in rejects)
        for reject in sorted(rejects, key=lambda reject: reject.record):
            line = chunk.first + reject.record - chunk.origin.first + 1
            raw = chunk.raw(reject.record)
            results.dead_letters.append(
                dead_letter(chunk.origin.name, 0, line, None, raw, reject.reason, reject.detail)
            )
