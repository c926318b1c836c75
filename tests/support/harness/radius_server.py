"""A real FreeRADIUS on loopback, for tests: its own folder and ports, ended by its process."""

import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

from streams.demo.embedded_broker import ends_with_parent, free_ports
from tests.support.paths import ROOT

CONFIGURATION = ROOT / "deploy/freeradius"
SECRET = "said on loopback only"

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
POLL_SECONDS = 0.05


class RadiusServerError(Exception):
    """The server did not do as asked; the message is one sentence that says what to do."""


def program(*names: str) -> str | None:
    """Path of the first of these programs that is there; Debian keeps servers out of the way."""
    folders = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    return next(filter(None, (shutil.which(name, path=folders) for name in names)), None)


def radius_available() -> str | None:
    """Why FreeRADIUS cannot run here, in one sentence, or None if it can."""
    if program("freeradius", "radiusd") is None:
        return "The RADIUS tests need FreeRADIUS 3: install freeradius."
    if program("radclient") is None:
        return "The RADIUS tests ask with radclient: install freeradius-utils."
    return None


class RadiusServer:
    """FreeRADIUS with the configuration of deploy/freeradius."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.auth_port, self.coa_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process on what it held before, if anything, and wait until it answers."""
        environment = os.environ | {
            "FAIRUSE_RADIUS_FOLDER": str(self.folder),
            "FAIRUSE_RADIUS_SECRET": SECRET,
            "FAIRUSE_RADIUS_SCHEMA": str(CONFIGURATION / "schema.sql"),
            "FAIRUSE_RADIUS_AUTH_PORT": str(self.auth_port),
            "FAIRUSE_RADIUS_COA_PORT": str(self.coa_port),
        }
        server = program("freeradius", "radiusd")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [server, "-f", "-x", "-l", "stdout", "-d", str(CONFIGURATION)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                preexec_fn=ends_with_parent(),  # noqa: PLW1509 - two system calls, no locks
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._client("status", {}).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                raise RadiusServerError(f"FreeRADIUS did not start: read {self.log}.")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def log_in(self, user_name: str) -> dict[str, str] | None:
        """What an Access-Request gets, None if it is rejected."""
        asked = self._client("auth", {"User-Name": user_name, "User-Password": "any"})
        if "Received Access-Reject" in asked.stdout:
            return None
        assert "Received Access-Accept" in asked.stdout, asked.stdout + asked.stderr
        reply = asked.stdout.partition("Received Access-Accept")[2].splitlines()[1:]
        given = (line.strip().partition(" = ") for line in reply if line.startswith("\t"))
        return {name: value.strip('"') for name, _, value in given}

    def held(self) -> dict[str, str]:
        """The filter that is held for each user."""
        return dict(self.rows("SELECT user_name, filter FROM restrictions"))

    def told(self, user_name: str) -> list[tuple[str, str]]:
        """Every packet about a user, and its filter, in order."""
        query = "SELECT packet, filter FROM told WHERE user_name = ? ORDER BY number"
        return self.rows(query, user_name)

    def connected(self) -> set[str]:
        """Who is connected."""
        return {name for (name,) in self.rows("SELECT user_name FROM sessions")}

    def rows(self, query: str, *values: object) -> list:
        """What the server's database says."""
        database = sqlite3.connect(f"file:{self.folder}/radius.sqlite?mode=ro", uri=True)
        try:
            return database.execute(query, values).fetchall()
        finally:
            database.close()

    def _client(self, what: str, attributes: dict[str, str]) -> subprocess.CompletedProcess[str]:
        lines = [f'{name} = "{value}"' for name, value in attributes.items()]
        command = [program("radclient"), "-x", "-r", "4", "-t", "0.5"]
        return subprocess.run(
            [*command, f"127.0.0.1:{self.auth_port}", what, SECRET],
            input="\n".join([*lines, "Message-Authenticator = 0x00", ""]),
            capture_output=True,
            text=True,
            check=False,
        )
