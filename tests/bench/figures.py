"""Figures on standard output, one JSON object a line; notes go to standard error."""

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from time import perf_counter
from typing import Any

import msgspec

STARTED = perf_counter()


class BenchError(Exception):
    """A part that could not be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is meant to reach, from below or from above."""

    value: float
    at_least: bool = True

    def reached(self, value: float) -> bool:
        return value >= self.value if self.at_least else value <= self.value


TARGETS = {
    "worker_vs_plain_faust_ratio": Target(40),
    "worker_vs_bare_aiokafka_ratio": Target(0.4),
    "latency_p99_ms": Target(1000, at_least=False),
    "rss_bytes_per_customer": Target(600, at_least=False),
    "recovery_rows_per_s": Target(100_000),
    "replay_events_per_s parquet": Target(500_000),
    "worker_vs_plain_faust_ratio all": Target(30),
    "replay_events_per_s parquet all": Target(300_000),
    "ladder_per_s": Target(20_000),
}
"""By figure, then by format and by the rules measured, where it is not the six."""


class Figures:
    """Prints figures, each with what it was measured on."""

    def __init__(self, **context: Any) -> None:
        cores = len(os.sched_getaffinity(0))
        self.context = {**context, "cores": cores, "python": platform.python_version()}

    def put(self, figure: str, value: float, unit: str, *packages: str, **context: Any) -> None:
        """Print a figure; `packages` are those whose version matters to it."""
        line: dict[str, Any] = {"figure": figure, "value": rounded(value), "unit": unit}
        what = (figure, context.get("format"), self.context.get("rules"))
        target = TARGETS.get(" ".join(filter(None, what)))
        if target is not None:
            line |= {"target": target.value, "reached": target.reached(value)}
        versions = {package: version(package) for package in packages}
        print(msgspec.json.encode(line | self.context | context | versions).decode(), flush=True)


def rounded(value: float) -> float:
    """Four digits are more than a measurement is good for."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")


def note(text: str) -> None:
    """Say on standard error what goes on."""
    print(f"bench {perf_counter() - STARTED:.1f} s: {text}", file=sys.stderr, flush=True)
