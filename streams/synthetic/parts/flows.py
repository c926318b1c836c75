"""Parts in connections of the fixed line."""

from typing import NamedTuple

import numpy as np

from schemas.events import Event
from schemas.units import HOUR_MS, MB, MINUTE_MS, SECOND_MS
from streams.synthetic.parts.scene import HOSTS, SYN, Scene

SCANNED_PORTS = (22, 23, 445, 3389)
SLOWLY_SCANNED_PORT = 8080
SMTP, SUBMISSION, SSH, REMOTE_DESKTOP = 25, 587, 22, 3389
BROWSED_HOSTS = 300
KNOWN_HOSTS = HOSTS[100:157]
DEAD_HOSTS = HOSTS[:3]
"""Too few for the sequential test, which needs 19 failing first contacts."""

VICTIM = HOSTS[-1]
FLOOD_MINUTES, FLOOD_FLOWS = 8, 20
"""20 flows of 80,000 packets or more in a minute: 27,000 packets a second."""


class Scan(NamedTuple):
    """A way to scan: many ports of one host (vertical) or many hosts, how many, and how fast."""

    is_vertical: bool
    targets_min: int
    targets_max: int
    length_ms: int


SCANS = (
    Scan(True, 40, 120, MINUTE_MS),
    Scan(False, 40, 120, MINUTE_MS),
    Scan(True, 15, 18, 4 * MINUTE_MS),
    Scan(False, 25, 28, 4 * MINUTE_MS),
)
"""Fast scans, and slow ones that are just fast enough to be found."""


def portscan(scene: Scene) -> list[Event]:
    """A scan of the ports of one host, or of one port of many hosts."""
    scan = SCANS[(scene.player.rank + scene.act) % len(SCANS)]
    number = int(scene.rng.integers(scan.targets_min, scan.targets_max + 1))
    start_ms = scene.at(1) + int(scene.rng.integers(0, 21 * HOUR_MS))
    times = start_ms + np.arange(number) * scan.length_ms // number
    if scan.is_vertical:
        ports = int(scene.rng.integers(1, 1_000)) + np.arange(number)
        return scene.failed(times, scene.hosts(1)[0], ports)
    return scene.failed(times, scene.hosts(number), int(scene.rng.choice(SCANNED_PORTS)))


def portscan_slow(scene: Scene) -> list[Event]:
    """One host every two to six minutes, for hours."""
    steps_ms = scene.rng.integers(2 * MINUTE_MS, 6 * MINUTE_MS, 120)
    return scene.failed(scene.at(8) + np.cumsum(steps_ms), scene.hosts(120), SLOWLY_SCANNED_PORT)


def keen_browser(scene: Scene) -> list[Event]:
    """Hundreds of hosts on one port within ten minutes, which all answer."""
    times = scene.within(20, 10 * MINUTE_MS, BROWSED_HOSTS)
    return scene.flow(times, scene.hosts(BROWSED_HOSTS), 443)


def link_checker(scene: Scene) -> list[Event]:
    """The same sixty links every day, of which three are dead."""
    hosts = [
        host for first in range(3) for host in (*KNOWN_HOSTS[first * 19 :][:19], DEAD_HOSTS[first])
    ]
    times = scene.within(6, 12 * HOUR_MS, len(hosts))
    dead = np.arange(len(hosts)) % 20 == 19
    alive, lost = np.flatnonzero(~dead).tolist(), np.flatnonzero(dead).tolist()
    return [
        *scene.flow(times[alive], [hosts[link] for link in alive], 443),
        *scene.failed(times[lost], [hosts[link] for link in lost], 443),
    ]


def ddos(scene: Scene) -> list[Event]:
    """A botnet: all players flood the same victim for eight minutes."""
    times, sizes = _flood(scene)
    nothing = {"state": "unanswered", "duration_ms": 50 * SECOND_MS}
    return scene.failed(times, VICTIM, 80, packets=sizes, bytes=60 * sizes, **nothing)


def speed_tester(scene: Scene) -> list[Event]:
    """A gigabyte over eight connections, within twenty seconds."""
    times = scene.at(19) + 5 * SECOND_MS + np.arange(8)
    size = {"packets": 90_000, "bytes": 125 * MB, "duration_ms": 20 * SECOND_MS}
    return scene.flow(times, scene.hosts(1)[0], 443, **size)


def attack(scene: Scene) -> list[Event]:
    """Three hundred short logins within ten minutes, at one host or at sixty hosts."""
    times = scene.within(int(scene.rng.integers(0, 23)), 10 * MINUTE_MS, 300)
    hosts, port = (
        (scene.hosts(1), SSH) if scene.player.rank % 2 else (scene.hosts(60), REMOTE_DESKTOP)
    )
    size = {"packets": 14, "bytes": 2_800, "duration_ms": 1_500}
    return scene.flow(times, hosts * (300 // len(hosts)), port, **size)


def administrator(scene: Scene) -> list[Event]:
    """Two long logins a day at each of six servers."""
    times = scene.within(8, 9 * HOUR_MS, 12)
    size = {"packets": 9_000, "bytes": 6 * MB, "duration_ms": 25 * MINUTE_MS}
    return scene.flow(times, HOSTS[50:56] * 2, SSH, **size)


def mail_spam(scene: Scene) -> list[Event]:
    """Sixty mail servers within a minute, or 260 within an hour."""
    hour = int(scene.rng.integers(0, 23))
    number, length_ms = (260, 55 * MINUTE_MS) if scene.player.rank % 2 else (60, 50 * SECOND_MS)
    times = scene.at(hour) + np.arange(number) * length_ms // number
    return scene.flow(times, scene.hosts(number), SMTP, bytes=4_000)


def club_mail_list(scene: Scene) -> list[Event]:
    """Mails to the servers of 150 club members within an hour; half of them answer."""
    hosts = scene.hosts(150)
    answers = scene.within(21, HOUR_MS, 75)
    inbound = {"source_address": hosts[::2], "direction": "inbound"}
    return [
        *scene.flow(scene.at(19) + 23 * SECOND_MS * np.arange(150), hosts, SMTP),
        *scene.flow(answers, scene.player.address, SMTP, **inbound),
    ]


def mail_bomb(scene: Scene) -> list[Event]:
    """Forty mails of 20 MB to one server within a quarter of an hour."""
    times = scene.within(int(scene.rng.integers(0, 23)), 15 * MINUTE_MS, 40)
    size = scene.rng.integers(18 * MB, 24 * MB, 40)
    of_size = {"packets": size // 1_400, "bytes": size, "duration_ms": 12 * SECOND_MS}
    return scene.flow(times, scene.hosts(1)[0], SMTP, **of_size)


def photographer(scene: Scene) -> list[Event]:
    """Four large mails a day over the provider's own mail server."""
    times = scene.at(10) + 2 * HOUR_MS * np.arange(4)
    size = {"packets": 11_000, "bytes": 15 * MB, "duration_ms": 20 * SECOND_MS}
    return scene.flow(times, HOSTS[60], SUBMISSION, **size)


def inbound_abuse(scene: Scene) -> list[Event]:
    """Somebody outside scans sixty ports of the customer, or floods one port."""
    source = f"203.0.113.{1 + scene.player.rank % 250}"
    inbound = {"source_address": source, "direction": "inbound"}
    if scene.player.rank % 2 == 0:
        times = scene.within(3, MINUTE_MS, 60)
        return scene.failed(times, scene.player.address, 1 + np.arange(60), **inbound)
    times, sizes = _flood(scene)
    nothing = {"state": "unanswered", "duration_ms": 50 * SECOND_MS, "tcp_flags": SYN}
    size = {"packets": sizes, "bytes": 60 * sizes}
    return scene.failed(times, scene.player.address, 443, **size, **nothing, **inbound)


def probed(scene: Scene) -> list[Event]:
    """The usual noise of the Internet: eight ports a day, each from another source."""
    sources = [f"203.0.113.{last}" for last in scene.rng.integers(1, 250, 8).tolist()]
    times = scene.within(0, 23 * HOUR_MS, 8)
    ports = scene.rng.permutation(1_000)[:8]
    inbound = {"source_address": sources, "direction": "inbound"}
    return scene.failed(times, scene.player.address, ports, **inbound)


def _flood(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Times (ms) and packets of a flood that begins at nine in the evening, both (n,)."""
    number = FLOOD_MINUTES * FLOOD_FLOWS
    times = scene.at(21) + np.arange(number) * (FLOOD_MINUTES * MINUTE_MS // number)
    return times, scene.rng.integers(80_000, 120_000, number)
