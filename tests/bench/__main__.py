"""`python -m tests.bench [worker|rules|ladder|curves|targets] [--quick] [--embedded]`."""

import argparse
import logging
import signal
import sys
import tempfile
from pathlib import Path

from tests.bench.curves import run_curves
from tests.bench.figures import TARGETS, note
from tests.bench.scales import FULL, QUICK
from tests.bench.suite import run_suite


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Figures as JSON lines on standard output."
    )
    parser.add_argument(
        "part",
        nargs="?",
        choices=("worker", "rules", "ladder", "curves", "targets"),
        default="worker",
        help="worker by default",
    )
    parser.add_argument("--quick", action="store_true", help="small enough for a minute")
    parser.add_argument("--embedded", action="store_true", help="on the embedded broker")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    if asked.part == "targets":
        for figure, target in TARGETS.items():
            print(f"{figure} {'>=' if target.at_least else '<='} {target.value}")
        return 0
    if asked.part == "curves":
        return run_curves(quick=asked.quick)
    # A new topic has no leader yet, and the producer says so while it tries again.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # A kill cleans up as Ctrl-C does, which a shell turns off for what runs in the background.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="fairuse-bench-") as folder:
        try:
            scale = QUICK if asked.quick else FULL
            return run_suite(scale, part=asked.part, embedded=asked.embedded, folder=Path(folder))
        except KeyboardInterrupt:
            note("stopped")
            return 130


if __name__ == "__main__":
    sys.exit(main())
