"""What each rule costs: its own time over the events that it reads, in one partition."""

from pathlib import Path
from time import perf_counter_ns
from typing import Any

import msgspec
import numpy as np

from detectors.fold.partition import Partition
from detectors.fold.provenance import Origin
from detectors.policies.editions import load_policy
from detectors.rules.registry import RULES
from schemas.columns import Columns
from schemas.decode import decode
from schemas.policy import Policy
from streams.settings import WorkerSettings
from streams.worker.collector import calm_collector
from tests.bench.children import say, told
from tests.bench.traffic import KINDS, traffic

AT_ONCE = 8_192
SEED = 3


class Timed:
    """A rule whose folds are timed."""

    def __init__(self, rule: Any) -> None:
        self.nanoseconds = 0
        self._fold = rule.fold
        rule.fold = self.fold

    def fold(self, *args: Any) -> Any:
        """One batch."""
        started = perf_counter_ns()
        hits = self._fold(*args)
        self.nanoseconds += perf_counter_ns() - started
        return hits


def batches(events: int, customers: int) -> dict[str, list[Columns]]:
    """Columns of each kind, as fetches would bring them."""
    made = traffic(SEED, events, customers)
    by_kind = {}
    for number, kind in enumerate(KINDS):
        values = [made.values[row] for row in np.flatnonzero(made.kind == number).tolist()]
        by_kind[kind] = [
            _decoded(values[start : start + AT_ONCE], start)
            for start in range(0, len(values), AT_ONCE)
        ]
    return by_kind


def _decoded(values: list[bytes], first: int) -> Columns:
    offsets = np.arange(first, first + len(values))
    (columns,), rejects = decode(values, offsets, np.full(len(values), 2**52))
    assert rejects == []
    return columns


def cost_of(rule: str, policy: Policy, by_kind: dict[str, list[Columns]]) -> dict[str, Any]:
    """Nanoseconds an event of one rule alone, and how many events it read."""
    alone = msgspec.structs.replace(policy, rules={rule: policy.rules[rule]})
    partition = Partition(0, alone, WorkerSettings().dedup_entries_max)
    timed = Timed(partition.state.rules[rule])
    events = findings = 0
    for kind in RULES[rule].reads:
        for columns in by_kind.get(kind, ()):
            findings += len(partition.fold(columns, Origin(f"usage.{kind}", 0)).findings)
            events += len(columns)
    return {
        "rule": rule,
        "events": events,
        "findings": findings,
        "ns": timed.nanoseconds / events if events else 0.0,
    }


def main(events: int, customers: int, policy: str) -> None:
    """Say what every rule costs."""
    calm_collector()
    loaded, by_kind = load_policy(Path(policy)), batches(events, customers)
    say(rules=[cost_of(rule, loaded, by_kind) for rule in loaded.rules])


if __name__ == "__main__":
    main(**told())
