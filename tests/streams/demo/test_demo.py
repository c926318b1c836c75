"""The demo: found what was planted, clean at any moment, a clear word when a port is taken."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detectors.rules.registry import RULES
from streams.demo.embedded_broker import free_ports

pytestmark = pytest.mark.broker

SMALL = ("--customers", "400", "--days", "40")


def demo(*flags: str, **kwargs) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streams", "demo", *SMALL]
    port, broker_port = free_ports(2)
    command += ["--port", str(port), "--broker-port", str(broker_port), *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs
    )


def processes_of(session: int) -> list[str]:
    """Command lines of processes whose environment carries the test's mark."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                mark = f"FAIRUSE_TEST_MARK={session}".encode()
                marked = mark in (folder / "environ").read_bytes()
                running = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
            except OSError:
                continue
            if marked and running:
                found.append(f"{folder.name} {(folder / 'cmdline').read_bytes()!r}")
    return found


def test_the_demo_finds_every_planted_abuser_and_nobody_else():
    process = demo()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    rows = [line.split() for line in out.splitlines()]
    summary = [row for row in rows if len(row) == 6 and row[0] in RULES]
    assert {row[0] for row in summary} == set(RULES), out
    assert all(row[1] == row[2] and row[3] == row[4] == "0" for row in summary), out
    assert "events/s" in out
    told = re.search(
        r"([\d,]+) customers are in breach within the hour; ([\d,]+) notices went out, "
        r"then the brake stopped voice_daily: it holds ([\d,]+) actions",
        " ".join(out.split()),
    )
    assert told, out
    breaching, let_out, held = (int(number.replace(",", "")) for number in told.groups())
    assert breaching > 390
    assert held > 0
    assert let_out <= 400 - held


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.long)])
def test_ctrl_c_at_any_moment_leaves_nothing_running(times, chance):
    """From one second on: before that it may be Python itself that is still starting."""
    for _ in range(times):
        mark = chance.randrange(10**9)
        process = demo(env=os.environ | {"FAIRUSE_TEST_MARK": str(mark)}, start_new_session=True)
        time.sleep(chance.uniform(1, 14))
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 1)
        assert "Traceback" not in err, err
        time.sleep(0.3)
        assert processes_of(mark) == []


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = demo("--port", str(port))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert str(port) in err
    assert err.count("\n") == 1
