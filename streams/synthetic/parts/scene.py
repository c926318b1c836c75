"""One day of a player: what a part knows of it, and how it makes the events."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from schemas.events import Data, Event, Flow, Sms, Storage, Stream, Voice
from schemas.units import HOUR_MS, MINUTE_MS, Ints
from streams.synthetic.local_day import LocalDay

TCP, UDP = 6, 17
SYN, WHOLE_CONNECTION = 0x02, 0x1B
HOSTS = [f"198.18.{block}.{last}" for block in range(16) for last in range(1, 251)]
"""Hosts that flows connect to, in the range for benchmarks (RFC 2544)."""

FIRST_LIVING_HOST = 3
"""Index into `HOSTS`; the hosts before it never answer."""


@dataclass(frozen=True, slots=True)
class Player:
    """A customer who plays a part; `rank` numbers the players of the same part.

    `friends` are customers too; `members` are outsiders: clients, or members of a club.
    """

    customer_id: str
    rank: int
    address: str
    imei: str
    cell: str
    friends: Sequence[str]
    members: Sequence[str]
    capacity_bytes: int
    bundle_bytes: int


class Scene:
    """One day of one player; its methods make the events.

    Their columns have shape (n,); a single value holds for all n events.

    Parameters
    ----------
    rng
        The day's random generator.
    day
        The day.
    player
        The player.
    prefix
        Event ids begin with it.
    act, acts
        Number of this day among the days of the part, and how many days these are.
    visited_plmn
        The network abroad; None at home.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        day: LocalDay,
        player: Player,
        prefix: str,
        act: int,
        acts: int,
        visited_plmn: str | None,
    ) -> None:
        self.rng, self.day, self.player = rng, day, player
        self.act, self.acts = act, acts
        self._ids = (f"{prefix}{number}" for number in count())
        self._mobile = {
            "served_imei": player.imei,
            "cell_id": player.cell,
            "visited_plmn": visited_plmn,
        }

    def at(self, hour: float) -> int:
        """Find a time of the day.

        Parameters
        ----------
        hour
            Twenty-fourths of the day, 0 to 24; so days of 23 or 25 hours have all of them.

        Returns
        -------
        The time, ms.
        """
        return self.day.start_ms + int(hour / 24 * (self.day.end_ms - self.day.start_ms))

    def within(self, hour: float, length_ms: int, number: int) -> Ints:
        """Draw times.

        Parameters
        ----------
        hour
            The earliest time, in twenty-fourths of the day.
        length_ms
            How long after it the last time can be, ms.
        number
            How many times.

        Returns
        -------
        Times in order, ms, shape (number,).
        """
        return self.at(hour) + np.sort(self.rng.integers(0, length_ms, number))

    def friends(self, number: int) -> list[str]:
        """Draw friends of the player, with repetition.

        Parameters
        ----------
        number
            How many.

        Returns
        -------
        Customer ids.
        """
        chosen = self.rng.integers(0, len(self.player.friends), number)
        return list(map(self.player.friends.__getitem__, chosen.tolist()))

    def strangers(self, number: int) -> list[str]:
        """Draw different telephone numbers that nobody else calls.

        Parameters
        ----------
        number
            How many.

        Returns
        -------
        Telephone numbers.
        """
        first = int(self.rng.integers(0, 10**7 - number))
        return [f"3249{first + other:07d}" for other in range(number)]

    def hosts(self, number: int) -> list[str]:
        """Draw different hosts with consecutive addresses.

        Parameters
        ----------
        number
            How many.

        Returns
        -------
        Addresses.
        """
        first = int(self.rng.integers(FIRST_LIVING_HOST, len(HOSTS) - number))
        return HOSTS[first : first + number]

    def sms(self, time_ms: Any, recipient: Any, **more: Any) -> list[Event]:
        """Make texts.

        Parameters
        ----------
        time_ms, recipient, **more
            Columns of the events.

        Returns
        -------
        The events.
        """
        return self._events(Sms, time_ms, recipient=recipient, **self._mobile | more)

    def voice(self, time_ms: Any, other_party: Any, duration_ms: Any, **more: Any) -> list[Event]:
        """Make calls.

        Parameters
        ----------
        time_ms, other_party, duration_ms, **more
            Columns of the events.

        Returns
        -------
        The events.
        """
        columns = {"other_party": other_party, "duration_ms": duration_ms}
        return self._events(Voice, time_ms, **columns, **self._mobile | more)

    def data(self, time_ms: Any, used_bytes: Any, duration_ms: Any, **more: Any) -> list[Event]:
        """Make data sessions; a tenth of their bytes is uplink.

        Parameters
        ----------
        time_ms, used_bytes, duration_ms, **more
            Columns of the events.

        Returns
        -------
        The events.
        """
        used_bytes = np.asarray(used_bytes, np.int64)
        columns = {
            "bytes_uplink": used_bytes // 10,
            "bytes_downlink": used_bytes - used_bytes // 10,
            "duration_ms": duration_ms,
            "device_fingerprint": self.player.imei[-8:],
        }
        return self._events(Data, time_ms, **columns | self._mobile | more)

    def flow(self, time_ms: Any, host: Any, port: Any, **more: Any) -> list[Event]:
        """Make TCP connections that are answered and carry some data.

        Parameters
        ----------
        time_ms, host, port, **more
            Columns of the events; `more` replaces the usual values.

        Returns
        -------
        The events.
        """
        size = len(np.atleast_1d(time_ms))
        columns = {
            "source_address": self.player.address,
            "destination_address": host,
            "source_port": self.rng.integers(32_768, 61_000, size),
            "destination_port": port,
            "protocol": TCP,
            "packets": 12,
            "bytes": 9_000,
            "tcp_flags": WHOLE_CONNECTION,
            "duration_ms": 900,
            "state": "established",
        }
        return self._events(Flow, time_ms, **columns | more)

    def failed(self, time_ms: Any, host: Any, port: Any, **more: Any) -> list[Event]:
        """Make connections of one packet that are refused or never answered.

        Parameters
        ----------
        time_ms, host, port, **more
            Columns of the events; `more` replaces the usual values.

        Returns
        -------
        The events.
        """
        size = len(np.atleast_1d(time_ms))
        state = self.rng.choice(("rejected", "unanswered"), size).tolist()
        nothing = {"packets": 1, "bytes": 60, "tcp_flags": SYN, "duration_ms": 0, "state": state}
        return self.flow(time_ms, host, port, **nothing | more)

    def storage(self, **quantities: Any) -> list[Event]:
        """Make the day's snapshot, at some time before noon.

        Parameters
        ----------
        **quantities
            Fields of the event; they replace the usual values.

        Returns
        -------
        The one event.
        """
        usual = {
            "used_bytes": self.player.capacity_bytes // 3,
            "largest_file_bytes": 100_000_000,
            "contacts": 400,
            "linked_items": 900,
            "shared_items": 12,
            "written_bytes": int(self.rng.integers(14_000_000, 26_000_000)),
        }
        time_ms = self.at(1) + int(self.rng.integers(0, 10 * HOUR_MS))
        return self._events(Storage, time_ms, **usual | quantities)

    def stream(self, time_ms: Any, device: Any, minutes: Any, address: Any) -> list[Event]:
        """Make viewings.

        Parameters
        ----------
        time_ms, device, minutes, address
            Times (ms), numbers of the player's devices, durations (min) and names of addresses.

        Returns
        -------
        The events.
        """
        size = len(np.atleast_1d(time_ms))
        name = self.player.customer_id
        addresses = _column(address, size)
        return self._events(
            Stream,
            time_ms,
            device_id=[f"{name}-tv{number}" for number in _column(device, size)],
            duration_ms=np.asarray(minutes, np.int64) * MINUTE_MS,
            address_id=[f"{name}-{place}" for place in addresses],
            at_home=[place == "home" for place in addresses],
        )

    def _events(self, kind: type[Event], time_ms: Any, **columns: Any) -> list[Event]:
        """Events of a kind; a column is one value for all of them, or a value for each."""
        times = np.atleast_1d(time_ms).tolist()
        each = {name: column for name, column in columns.items() if _is_column(column)}
        for_all = {name: _plain(value) for name, value in columns.items() if name not in each}
        make = partial(kind, customer_id=self.player.customer_id, **for_all)
        names = ("event_time_ms", *each)
        rows = zip(times, *map(_listed, each.values()), strict=True)
        return [make(event_id=next(self._ids), **dict(zip(names, row))) for row in rows]  # noqa: B905 - as long as the names


def _is_column(value: Any) -> bool:
    return isinstance(value, (np.ndarray, Sequence)) and not isinstance(value, str)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _listed(column: Any) -> Any:
    """A column as plain Python values."""
    return column.tolist() if isinstance(column, np.ndarray) else column


def _column(value: Any, size: int) -> Any:
    """A value for each of `size` rows."""
    return _listed(value) if _is_column(value) else [value] * size


def one_after_another(first_ms: int, duration_ms: Ints, gap_ms: Ints | int) -> Ints:
    """Compute the starts of calls that follow each other.

    Parameters
    ----------
    first_ms
        Start of the first call, ms.
    duration_ms
        Durations, ms, shape (n,).
    gap_ms
        Gap after each call, ms, shape (n,), or one for all.

    Returns
    -------
    Starts, ms, shape (n,).
    """
    steps_ms = duration_ms + gap_ms
    return first_ms + np.cumsum(steps_ms) - steps_ms
