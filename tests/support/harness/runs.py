"""A partition that a test hands histories to, and what came of them."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import msgspec
import numpy as np

from detectors.fold.partition import Partition
from detectors.fold.provenance import Origin
from detectors.rules.registry import RULES
from schemas.decode import decode
from schemas.records import CohortAverage
from tests.support.reference import naive
from tests.support.strategies.drawing import ANNOUNCED

ORIGIN = Origin("usage.test", 0)
IDS_MAX = 1 << 16
WRITTEN_BYTES = 8


@dataclass
class Run:
    """A partition and what came of the events handed to it so far."""

    policy: object
    partition: Partition = None
    findings: list = field(default_factory=list)
    partials: list = field(default_factory=list)
    too_late: list = field(default_factory=list)
    uncorrectable: list = field(default_factory=list)
    duplicates: int = 0

    def __post_init__(self):
        self.partition = Partition(0, self.policy, IDS_MAX)
        self.partition.announce(ANNOUNCED)

    def take(self, history, start=0, stop=None):
        """Fold a stretch of a history; the means in it come between batches."""
        batch, numbers = [], []
        for number, record in list(enumerate(history))[start:stop]:
            if isinstance(record, CohortAverage):
                self.fold(batch, numbers)
                self.findings += self.partition.take_mean(record)
                batch, numbers = [], []
            else:
                batch.append(record)
                numbers.append(number)
        self.fold(batch, numbers)
        return self

    def fold(self, events, numbers):
        for columns in columns_of(events, numbers):
            outcome = self.partition.fold(columns, ORIGIN)
            self.findings += outcome.findings
            self.partials += outcome.partials
            self.too_late += columns.offset[outcome.too_late].tolist()
            self.uncorrectable += columns.offset[outcome.uncorrectable].tolist()
            self.duplicates += outcome.duplicates

    def end(self):
        """Close what ended before the last event."""
        outcome = self.partition.end(self.partition.newest_ms)
        self.findings += outcome.findings
        self.partials += outcome.partials
        return self

    def in_parts(self, history, cuts):
        for start, stop in stretches(history, cuts):
            self.take(history, start, stop)
        return self


def told(run, means):
    """What a run found and handed out by its end, the means last, but for where it was read."""
    run.end()
    for mean in means:
        run.findings += run.partition.take_mean(mean)
    findings = []
    for finding in run.findings:
        evidence = {name: said for name, said in finding.evidence.items() if name != "inputs"}
        findings.append(msgspec.json.encode(msgspec.structs.replace(finding, evidence=evidence)))
    return sorted(findings), sorted(map(msgspec.json.encode, run.partials))


def columns_of(events, numbers):
    values = [msgspec.json.encode(event) for event in events]
    arrived_ms = np.full(len(values), 2**52)
    columns, rejects = decode(values, np.array(numbers, np.int64), arrived_ms)
    assert rejects == []
    return columns


def stretches(history, cuts):
    """Start and end of each part when a history is cut at these places."""
    places = sorted({0, len(history), *(cut for cut in cuts if cut < len(history))})
    return list(itertools.pairwise(places))


def found(finding):
    return naive.Found(
        rule=finding.rule,
        customer_id=finding.customer_id,
        level=finding.level,
        kind=finding.window.kind,
        start_ms=finding.window.start_ms,
        event_time_ms=finding.event_time_ms,
        observed=finding.observed,
        limit=finding.limit,
    )


def by_rule(findings):
    """Each rule's findings to the last byte of evidence, in the order they were found.

    Kinds of event come in any order, so what rests on several is compared without its order, and
    without the positions that were read by then.
    """
    ordered = defaultdict(list)
    for finding in findings:
        if len(RULES[finding.rule].reads) > 1:
            evidence = {k: v for k, v in finding.evidence.items() if k != "inputs"}
            stripped = msgspec.structs.replace(finding, evidence=evidence)
            ordered[finding.rule].append(msgspec.json.encode(stripped))
        else:
            ordered[finding.rule].append(msgspec.json.encode(finding))
    return {
        rule: found if len(RULES[rule].reads) == 1 else sorted(found)
        for rule, found in ordered.items()
    }


def state_of(partition):
    """Rows that hold anything, and memory, in whatever order it lists customers."""
    memory = msgspec.msgpack.decode(partition.state.remember())
    rows = {
        key: value
        for keys, values in partition.state.changes(everything=True)
        for key, value in zip(keys, values, strict=True)
        if not key.startswith(b"#") and any(value[WRITTEN_BYTES:])
    }
    return rows, in_any_order(memory)


def in_any_order(memory):
    if isinstance(memory, dict):
        ordered = sorted(memory.items(), key=lambda item: repr(item[0]))
        return {name: in_any_order(value) for name, value in ordered}
    if isinstance(memory, list):
        return sorted(map(in_any_order, memory), key=repr)
    return memory


def checkpoint(partition, log):
    """Write a partition's changes to a compacted log: each key's newest value, as written."""
    for keys, values in partition.state.changes():
        for key, value in zip(keys, values, strict=True):
            log.pop(key, None)
            log[key] = value


def moved(policy, history, cuts):
    """A run that another partition goes on with after each part."""
    run, log = Run(policy), {}
    for start, stop in stretches(history, cuts):
        run.take(history, start, stop)
        checkpoint(run.partition, log)
        run.partition = run_of(policy, log, run.partition.state.remember()).partition
    return run


def run_of(policy, log, memory):
    """A run that goes on from what was stored."""
    run = Run(policy)
    run.partition = Partition(0, policy, IDS_MAX)
    run.partition.state.restore(list(log), list(log.values()))
    run.partition.state.recall(memory)
    return run


def kind_of(event):
    """The tag of an event."""
    return type(event).__name__.lower()
