"""Replay one file and say how long it took."""

from pathlib import Path
from time import perf_counter

from detectors.policies import load_policy
from streams.replay import Replay
from streams.settings import Settings
from tests.bench.children import say, told
from tests.bench.scales import PARTITIONS


def main(path: str) -> None:
    replay = Replay(load_policy(), PARTITIONS, Settings().dedup_entries_max)
    started = perf_counter()
    findings = sum(len(results.findings) for results in replay.run([Path(path)]))
    seconds = perf_counter() - started
    say(seconds=seconds, events=replay.counts["events"], findings=findings)


if __name__ == "__main__":
    main(**told())
