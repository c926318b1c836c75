"""What the synthetic operator's customers do by habit on one day: columns first, then the events.

Ordinary customers never break a rule, not even by chance: their use is spread evenly over the days,
and their failing connections all go to the same few dead hosts.
"""

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from schemas.events import Data, Event, Flow, Sms, Storage, Stream, Voice
from schemas.units import GB, HOUR_MS, MB, MINUTE_MS, Floats, Ints
from streams.synthetic.local_day import LocalDay
from streams.synthetic.parts.scene import FIRST_LIVING_HOST, HOSTS, SYN, TCP, UDP, WHOLE_CONNECTION
from streams.synthetic.population import FRIENDS, Habits, Population, address_of, friends

WEEKEND_SMS, WEEKEND_CALLS = 1.2, 0.6
"""Use on a day of the weekend, relative to a working day."""

CALL_MS_MIN, CALL_MS_MEDIAN, CALL_MS_MAX, CALL_SIGMA = 5_000, 90_000, 8 * MINUTE_MS, 0.8
CALL_STEPS = 512
GOLDEN = 0.618_033_988_749_895
GROUP_TEXT_EVERY = 50
AWAY_EVERY = 20
"""On one day out of this many, a household watches television at its other address."""

SNAPSHOT_EVERY = 2
WRITTEN_BYTES_MIN, WRITTEN_BYTES_MAX = 14 * MB, 26 * MB
OTHER_CELLS = np.array([0, 0, 0, 0, 0, 0, 3, 3, 3, 5])
"""Distances from the home cell, drawn at random: six in ten are at home, three at work."""

NETWORKS_ABROAD = ("20801", "26201", "22210")
PORTS, PORT_SHARES = np.array([443, 80, 53, 123]), (0.70, 0.08, 0.18, 0.04)
UDP_PORTS = (53, 123)
STATES, STATE_SHARES = ("established", "rejected", "unanswered"), (0.93, 0.04, 0.03)
ESTABLISHED = 0
Direction = Literal["mo", "mt"]


class Today(NamedTuple):
    """A day: who is abroad (mask, (customers,)), and whose habits rest, by kind of event."""

    day: LocalDay
    people: Population
    is_abroad: np.ndarray
    resting: dict[str, list[int]]


class Due(NamedTuple):
    """How often each customer does something today, and how often before, both of shape (n,)."""

    times: Ints
    before: Ints


Habit = Callable[[np.random.Generator, Today], list[Event]]
"""Makes the events of a habit on one day, from that day's random generator."""


def today(day: LocalDay, people: Population) -> Today:
    """Find out what the parts of a day mean for the habits.

    Parameters
    ----------
    day
        The day.
    people
        All customers, and who plays which part on which day.

    Returns
    -------
    The day, with who is abroad and whose habits rest.
    """
    is_abroad = np.zeros(len(people.ids), bool)
    resting: dict[str, list[int]] = {}
    for role in people.stage[day.index]:
        is_abroad[role.customer] |= role.part.is_abroad
        for kind in role.part.mutes:
            resting.setdefault(kind, []).append(role.customer)
    return Today(day, people, is_abroad, resting)


def _due(now: Today, kind: str, habit: str, weekend: float = 1.0) -> Due:
    """How often each customer follows a habit today.

    It is spread evenly over the days, so that a month has the habit's number of times, one more or
    less. On a day of the weekend it is `weekend` times as often as on a working day.
    """
    phase = now.people.phases[habit]
    rate = getattr(now.people.habits, habit)
    past = now.day.index + (weekend - 1) * now.day.weekend_days_before
    before = np.floor(phase + rate * past).astype(np.int64)
    after = np.floor(phase + rate * (past + (weekend if now.day.is_weekend else 1.0)))
    count = after.astype(np.int64) - before
    count[now.resting.get(kind, [])] = 0
    return Due(count, before)


def texts(rng: np.random.Generator, now: Today) -> list[Event]:
    """Text messages, sent and received."""
    sent = _due(now, "sms", "sms_sent_per_day", WEEKEND_SMS).times
    received = _due(now, "sms", "sms_received_per_day", WEEKEND_SMS).times
    customer = np.concatenate((_each(sent), _each(received)))
    columns = zip(
        *_mobile(rng, now, customer),
        now.day.moments_ms(rng, len(customer)).tolist(),
        _picked(now.people.ids, _friends(rng, customer, len(now.people.ids))),
        _directions(int(sent.sum()), int(received.sum())),
        strict=True,
    )
    prefix = f"s{now.day.index}-"
    return [
        Sms(
            event_id=f"{prefix}{i}",
            customer_id=c,
            served_imei=imei,
            cell_id=cell,
            visited_plmn=plmn,
            event_time_ms=t,
            recipient=r,
            direction=d,
            message_reference=None if i % GROUP_TEXT_EVERY else f"{prefix}{i}",
        )
        for i, (c, imei, cell, plmn, t, r, d) in enumerate(columns)
    ]


def calls(rng: np.random.Generator, now: Today) -> list[Event]:
    """Calls, made and received."""
    made = _due(now, "voice", "calls_made_per_day", WEEKEND_CALLS)
    received = _due(now, "voice", "calls_received_per_day", WEEKEND_CALLS)
    customer = np.concatenate((_each(made.times), _each(received.times)))
    duration_ms = np.concatenate((_durations_ms(now, made), _durations_ms(now, received)))
    columns = zip(
        *_mobile(rng, now, customer),
        now.day.moments_ms(rng, len(customer)).tolist(),
        _picked(now.people.ids, _friends(rng, customer, len(now.people.ids))),
        duration_ms.tolist(),
        _directions(int(made.times.sum()), int(received.times.sum())),
        strict=True,
    )
    prefix = f"v{now.day.index}-"
    return [
        Voice(
            event_id=f"{prefix}{i}",
            customer_id=c,
            served_imei=imei,
            cell_id=cell,
            visited_plmn=plmn,
            event_time_ms=t,
            other_party=o,
            duration_ms=ms,
            direction=d,
            call_reference=f"{prefix}{i}",
        )
        for i, (c, imei, cell, plmn, t, o, ms, d) in enumerate(columns)
    ]


def _call_durations_ms() -> Ints:
    """Durations of calls from the shortest to the longest: half are shorter than 90 s."""
    normal = NormalDist()
    quantiles = [normal.inv_cdf((step + 0.5) / CALL_STEPS) for step in range(CALL_STEPS)]
    durations_ms = CALL_MS_MEDIAN * np.exp(CALL_SIGMA * np.array(quantiles))
    return durations_ms.clip(CALL_MS_MIN, CALL_MS_MAX).astype(np.int64)


CALL_DURATIONS_MS = _call_durations_ms()


def _durations_ms(now: Today, due: Due) -> Ints:
    """Durations by steps of the golden ratio, so that already a few calls have the usual mean."""
    caller = _each(due.times)
    turn = due.before[caller] + np.arange(len(caller))
    turn -= (np.cumsum(due.times) - due.times)[caller]
    step = (now.people.phases["calls_made_per_day"][caller] + GOLDEN * turn) % 1 * CALL_STEPS
    return CALL_DURATIONS_MS[step.astype(np.int64)]


def sessions(rng: np.random.Generator, now: Today) -> list[Event]:
    """Mobile data sessions: at least one a day for each customer who uses data."""
    level = now.people.habits.data_bytes_per_day
    volume_bytes = level * rng.uniform(0.6, 1.4, len(level))
    customer = _each(_due(now, "data", "sessions_per_day").times * (level > 0))
    session_bytes = _shared(volume_bytes, customer, rng.exponential(1.0, len(customer)) + 0.1)
    uplink = (session_bytes * rng.uniform(0.03, 0.15, len(customer))).astype(np.int64)
    columns = zip(
        *_mobile(rng, now, customer),
        now.day.moments_ms(rng, len(customer)).tolist(),
        uplink.tolist(),
        (session_bytes - uplink).tolist(),
        rng.integers(MINUTE_MS, 2 * HOUR_MS, len(customer)).tolist(),
        _picked(now.people.fingerprints, customer),
        strict=True,
    )
    prefix = f"d{now.day.index}-"
    return [
        Data(
            event_id=f"{prefix}{i}",
            customer_id=c,
            served_imei=imei,
            cell_id=cell,
            visited_plmn=plmn,
            event_time_ms=t,
            bytes_uplink=up,
            bytes_downlink=down,
            duration_ms=ms,
            device_fingerprint=device,
        )
        for i, (c, imei, cell, plmn, t, up, down, ms, device) in enumerate(columns)
    ]


def flows(rng: np.random.Generator, now: Today) -> list[Event]:
    """Connections of the fixed line: mostly the web and name lookups; a few in a hundred fail."""
    customer = _each(_due(now, "flow", "flows_per_day").times)
    count = len(customer)
    state = rng.choice(len(STATES), size=count, p=STATE_SHARES)
    answered = state == ESTABLISHED
    host = rng.integers(FIRST_LIVING_HOST, len(HOSTS), count)
    port = np.where(answered, rng.choice(PORTS, size=count, p=PORT_SHARES), 443)
    is_udp = np.isin(port, UDP_PORTS)
    size = np.where(answered, rng.lognormal(9.5, 1.5, count).astype(np.int64) + 200, 60)
    columns = zip(
        customer.tolist(),
        now.day.moments_ms(rng, count).tolist(),
        _picked(HOSTS, np.where(answered, host, host % FIRST_LIVING_HOST)),
        port.tolist(),
        rng.integers(32_768, 61_000, count).tolist(),
        _picked(STATES, state),
        np.where(is_udp, UDP, TCP).tolist(),
        np.where(is_udp, 0, np.where(answered, WHOLE_CONNECTION, SYN)).tolist(),
        size.tolist(),
        np.where(answered, 20 + size // 50, 0).tolist(),
        strict=True,
    )
    prefix, ids = f"f{now.day.index}-", now.people.ids
    return [
        Flow(
            event_id=f"{prefix}{i}",
            customer_id=ids[c],
            event_time_ms=t,
            source_address=address_of(c),
            destination_address=host,
            source_port=source,
            destination_port=port,
            protocol=protocol,
            packets=1 + size_bytes // 900,
            bytes=size_bytes,
            tcp_flags=flags,
            duration_ms=ms,
            state=state,
        )
        for i, (c, t, host, port, source, state, protocol, flags, size_bytes, ms) in enumerate(
            columns
        )
    ]


def snapshots(rng: np.random.Generator, now: Today) -> list[Event]:
    """Snapshots of cloud storage, every other day."""
    level = now.people.habits.storage_used_bytes
    is_due = (level > 0) & ((np.arange(len(level)) + now.day.index) % SNAPSHOT_EVERY == 0)
    is_due[now.resting.get("storage", [])] = False
    customer = np.flatnonzero(is_due)
    days = len(now.people.stage)
    used = (level[customer] * (0.85 + 0.15 * now.day.index / days)).astype(np.int64)
    columns = zip(
        _picked(now.people.ids, customer),
        now.day.moments_ms(rng, len(customer)).tolist(),
        used.tolist(),
        np.minimum(used // 10, 3 * GB // 2).tolist(),
        (50 + customer * 37 % 1_500).tolist(),
        (customer * 53 % 2_000).tolist(),
        (customer * 17 % 40).tolist(),
        rng.integers(WRITTEN_BYTES_MIN, WRITTEN_BYTES_MAX, len(customer)).tolist(),
        strict=True,
    )
    prefix = f"c{now.day.index}-"
    return [
        Storage(
            event_id=f"{prefix}{i}",
            customer_id=c,
            event_time_ms=t,
            used_bytes=used_bytes,
            largest_file_bytes=largest,
            contacts=contacts,
            linked_items=linked,
            shared_items=shared,
            written_bytes=written,
        )
        for i, (c, t, used_bytes, largest, contacts, linked, shared, written) in enumerate(columns)
    ]


def viewings(rng: np.random.Generator, now: Today) -> list[Event]:
    """Television on one of the household's three devices, over before midnight."""
    customer = _each(_due(now, "stream", "viewings_per_day").times)
    time_ms = now.day.moments_ms(rng, len(customer))
    duration_ms = rng.integers(20 * MINUTE_MS, 150 * MINUTE_MS, len(customer))
    columns = zip(
        _picked(now.people.ids, customer),
        time_ms.tolist(),
        np.minimum(duration_ms, now.day.end_ms - time_ms).tolist(),
        rng.integers(1, 4, len(customer)).tolist(),
        ((customer * 7 + now.day.index) % AWAY_EVERY != 0).tolist(),
        strict=True,
    )
    prefix = f"t{now.day.index}-"
    return [
        Stream(
            event_id=f"{prefix}{i}",
            customer_id=c,
            event_time_ms=t,
            device_id=f"{c}-tv{device}",
            duration_ms=ms,
            address_id=f"{c}-home" if at_home else f"{c}-away",
            at_home=at_home,
        )
        for i, (c, t, ms, device, at_home) in enumerate(columns)
    ]


HABITS: tuple[Habit, ...] = (texts, calls, sessions, flows, snapshots, viewings)


def events_per_day(habits: Habits) -> float:
    """Estimate the number of events on a day.

    Parameters
    ----------
    habits
        The habits of all customers.

    Returns
    -------
    Events a day.
    """
    rates = (
        habits.sms_sent_per_day,
        habits.sms_received_per_day,
        habits.calls_made_per_day,
        habits.calls_received_per_day,
        habits.sessions_per_day,
        habits.flows_per_day,
        habits.viewings_per_day,
        (habits.storage_used_bytes > 0) / SNAPSHOT_EVERY,
    )
    return sum(float(rate.sum()) for rate in rates)


def _mobile(
    rng: np.random.Generator, now: Today, customer: Ints
) -> tuple[list[str], list[str], list[str], list[str | None]]:
    """Customer ids, telephones, cells, and networks abroad (None at home), each of n rows."""
    people = now.people
    other = OTHER_CELLS[rng.integers(0, len(OTHER_CELLS), len(customer))]
    cells = _picked(people.cells, (customer + other) % len(people.cells))
    networks: list[str | None] = [None] * len(customer)
    for row in np.flatnonzero(now.is_abroad[customer]).tolist():
        networks[row] = network_abroad(int(customer[row]))
        cells[row] = f"{networks[row]}-{row % 40}"
    return _picked(people.ids, customer), _picked(people.imeis, customer), cells, networks


def network_abroad(customer: int) -> str:
    """Choose the network that a customer uses abroad.

    Parameters
    ----------
    customer
        Number of the customer.

    Returns
    -------
    Its PLMN: country code and network code.
    """
    return NETWORKS_ABROAD[customer % len(NETWORKS_ABROAD)]


def _each(count: Ints) -> Ints:
    """Number of each customer, repeated as often as `count` says."""
    return np.repeat(np.arange(len(count)), count)


def _directions(sent: int, received: int) -> list[Direction]:
    outgoing: list[Direction] = ["mo"]
    incoming: list[Direction] = ["mt"]
    return outgoing * sent + incoming * received


def _picked(pool: Sequence[str], index: Ints) -> list[str]:
    return list(map(pool.__getitem__, index.tolist()))


def _friends(rng: np.random.Generator, customer: Ints, count: int) -> Ints:
    """The other party of each row: most often the customer's first friend."""
    return friends(customer, rng.geometric(0.3, len(customer)).clip(1, FRIENDS), count)


def _shared(total: Ints | Floats, owner: Ints, weight: Floats) -> Ints:
    """Split each owner's total over their rows by weight, rounded down."""
    share = weight / np.bincount(owner, weight)[owner]
    return (total[owner] * share).astype(np.int64)
