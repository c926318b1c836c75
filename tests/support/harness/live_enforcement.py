"""Driving a real `fairuse enforce`."""

import os
import signal
import subprocess
import sys
import time
from typing import ClassVar

from streams.demo.embedded_broker import free_ports

FINAL = {"delivered", "applied", "failed", "expired"}


class Enforcement:
    """A `fairuse enforce` process; all of them are ended with the test."""

    started: ClassVar[list] = []

    def __init__(self, bootstrap, folder, adapter, *flags, **settings):
        self.command = [
            *(sys.executable, "-m", "streams", "enforce", "--adapter", adapter),
            *("--broker", bootstrap, "--port", str(free_ports(1)[0])),
            *("--data-dir", str(folder), *flags),
        ]
        settings = {f"FAIRUSE_{name.upper()}": str(value) for name, value in settings.items()}
        self.environment = os.environ | settings
        self.log = folder / "enforce.log"
        self.output = folder / "enforce.out"

    def start(self):
        with self.log.open("ab") as log, self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdout=output, stderr=log, env=self.environment
            )
        self.started.append(self.process)
        return self

    def wait_for(self, words, seconds_max=120):
        deadline = time.monotonic() + seconds_max
        while words not in self.said():
            assert time.monotonic() < deadline, self.said()[-3000:]
            time.sleep(0.05)

    def said(self):
        return self.log.read_text() + self.output.read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(120)
