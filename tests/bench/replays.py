"""Replay a file, and say how long it took."""

from pathlib import Path
from time import perf_counter
from typing import Any

from detectors.policies.editions import load_policy
from streams.replay.replay import Replay
from streams.settings import WorkerSettings
from streams.worker.collector import calm_collector
from tests.bench.children import say, told
from tests.bench.scales import PARTITIONS


def replayed(path: Path, policy: Path) -> dict[str, Any]:
    """Replay it from an empty state."""
    calm_collector()
    replay = Replay(load_policy(policy), PARTITIONS, WorkerSettings().dedup_entries_max)
    started = perf_counter()
    findings = sum(len(results.findings) for results in replay.run([path]))
    return {
        "format": path.suffix.removeprefix("."),
        "seconds": perf_counter() - started,
        "events": replay.counts["events"],
        "findings": findings,
    }


if __name__ == "__main__":
    asked = told()
    say(**replayed(Path(asked["path"]), Path(asked["policy"])))
