"""Programs of this bench that run in a process of their own and say what they measured."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from streams.demo.embedded_broker import ends_with_parent
from tests.bench.figures import BenchError
from tests.support.harness.kafka_cluster import ROOT

STOP_SECONDS_MAX = 20
LOG_BYTES_SHOWN = 3_000


class Child:
    """A module of this package as a process; on leaving it is killed if it still runs.

    Parameters
    ----------
    module
        The program, beside this file.
    told
        What it is told, as JSON in its only argument.
    log
        Where its standard error goes.
    """

    def __init__(self, module: str, told: dict[str, Any], log: Path) -> None:
        self.name = module
        self.log = log
        self._read = b""
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"tests.bench.{module}", json.dumps(told)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                bufsize=0,
                start_new_session=True,
                preexec_fn=ends_with_parent(),  # noqa: PLW1509 - two system calls, no locks
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def says(self, seconds_max: float) -> dict[str, Any]:
        """Its next line; what Faust itself prints is passed over."""
        deadline = time.monotonic() + seconds_max
        while True:
            line, found, rest = self._read.partition(b"\n")
            if not found:
                self._read += self._more(deadline)
                continue
            self._read = rest
            if line.startswith(b"{"):
                return msgspec.json.decode(line)

    def _more(self, deadline: float) -> bytes:
        left = max(0.0, deadline - time.monotonic())
        if not select.select([self._process.stdout], [], [], left)[0]:
            raise self.fault("says nothing any more")
        if read := self._process.stdout.read(65_536):
            return read
        raise self.fault(f"ended with {self._process.wait()}")

    def stop(self) -> None:
        """Ask it to end in good order."""
        self._process.terminate()
        try:
            code = self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise self.fault(f"did not stop within {STOP_SECONDS_MAX} s") from None
        if code:
            raise self.fault(f"ended with {code}")

    def fault(self, what: str) -> BenchError:
        """What went wrong, with the end of its log."""
        tail = self.log.read_bytes()[-LOG_BYTES_SHOWN:].decode(errors="replace")
        return BenchError(f"{self.name} {what}\n{tail}".rstrip())


def measured(module: str, told: dict[str, Any], log: Path, seconds_max: float) -> dict[str, Any]:
    """Run a program until it said its one line."""
    with Child(module, told, log) as child:
        return child.says(seconds_max)


def say(**line: Any) -> None:
    """In the child: say one line, past Faust, which makes log lines of what is printed.

    Faust also leaves a line of its own without an end.
    """
    os.write(1, b"\n" + msgspec.json.encode(line) + b"\n")


def told() -> dict[str, Any]:
    """In the child: what it was told."""
    return msgspec.json.decode(sys.argv[1])
