"""What the customers of the synthetic operator do on one day: columns first, then the events.

Ordinary customers never break a rule, not even by chance: their amounts are cut off below every
limit, and what fails of their connections fails at a few dead hosts.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from schemas.events import Data, Event, Flow, Sms, Storage, Stream, Voice
from streams.local_day import LocalDay
from streams.population import (
    GB,
    HOUR_MS,
    MINUTE_MS,
    SCANS,
    Integers,
    Numbers,
    Population,
    Scan,
    Script,
)

WEEKEND_SMS, WEEKEND_CALLS = 1.2, 0.6
"""The use on a day of the weekend, compared with a day of the week."""

CONTACTS_MAX = 60
SMS_SENT_MAX = 60
CALLS_MADE_MAX = 6
CALL_MS_MIN, CALL_MS_MAX = 5_000, 28 * MINUTE_MS
"""Even if a day's calls all run past midnight, the two days' calls together stay below 6 h."""

SCRIPTED_CALL_MS = 25 * MINUTE_MS
EXTRA_SESSIONS_PER_DAY = 0.5
DATA_SESSIONS_PER_DAY = 1 + EXTRA_SESSIONS_PER_DAY
BROWSED_HOSTS_PER_DAY = 300

HOSTS = [f"198.18.{block}.{last}" for block in range(16) for last in range(1, 251)]
"""Where flows go: the range set aside for benchmarks (RFC 2544), without broadcast addresses."""

DEAD_HOSTS = 8
"""The only ones at which ordinary customers fail, so that nobody fails at many."""

PORTS, PORT_SHARES = np.array([443, 80, 53, 123]), (0.70, 0.08, 0.18, 0.04)
UDP_PORTS = (53, 123)
SCANNED_PORTS = np.array([22, 23, 445, 3389])
TCP, UDP = 6, 17
SYN, WHOLE_CONNECTION = 0x02, 0x1B

STATES, STATE_SHARES = ("established", "rejected", "unanswered"), (0.93, 0.04, 0.03)
ESTABLISHED, REJECTED, UNANSWERED = range(3)


class Calls(NamedTuple):
    """Columns of calls, each of shape (n,)."""

    customer: Integers
    time_ms: Integers
    duration_ms: Integers


class Connections(NamedTuple):
    """Columns of flows, each of shape (n,); `host` indexes `HOSTS`, `state` indexes `STATES`."""

    customer: Integers
    time_ms: Integers
    host: Integers
    port: Integers
    state: Integers


def texts(rng: np.random.Generator, day: LocalDay, people: Population) -> list[Event]:
    """Text messages, sent and received."""
    habits = people.habits
    eagerness = WEEKEND_SMS if day.is_weekend else 1.0
    sent = np.minimum(rng.poisson(habits.sms_sent_per_day * eagerness), SMS_SENT_MAX)
    scripted, amount = people.texts.today(day.index)
    sent[scripted] = amount
    received = rng.poisson(habits.sms_received_per_day * eagerness)
    customer = np.concatenate((_each(sent), _each(received)))
    columns = zip(
        _picked(people.ids, customer),
        day.moments_ms(rng, len(customer)).tolist(),
        _picked(people.ids, _contacts(rng, customer, len(people.ids))),
        _directions(int(sent.sum()), int(received.sum())),
        strict=True,
    )
    prefix = f"s{day.index}-"
    return [
        Sms(event_id=f"{prefix}{i}", customer_id=c, event_time_ms=t, recipient=r, direction=d)
        for i, (c, t, r, d) in enumerate(columns)
    ]


def calls(rng: np.random.Generator, day: LocalDay, people: Population) -> list[Event]:
    """Calls, made and received."""
    habits = people.habits
    eagerness = WEEKEND_CALLS if day.is_weekend else 1.0
    made = np.minimum(rng.poisson(habits.calls_made_per_day * eagerness), CALLS_MADE_MAX)
    made[people.calls_ms.today(day.index)[0]] = 0
    received = rng.poisson(habits.calls_received_per_day * eagerness)
    scripted = _scripted_calls(rng, day, people.calls_ms)
    usual = _usual_calls(rng, day, np.concatenate((_each(made), _each(received))))
    customer, time_ms, duration_ms = map(np.concatenate, zip(scripted, usual, strict=True))
    columns = zip(
        _picked(people.ids, customer),
        time_ms.tolist(),
        _picked(people.ids, _contacts(rng, customer, len(people.ids))),
        duration_ms.tolist(),
        _directions(len(scripted.customer) + int(made.sum()), int(received.sum())),
        strict=True,
    )
    prefix = f"v{day.index}-"
    return [
        Voice(
            event_id=f"{prefix}{i}",
            customer_id=c,
            event_time_ms=t,
            other_party=o,
            duration_ms=ms,
            direction=d,
        )
        for i, (c, t, o, ms, d) in enumerate(columns)
    ]


def _usual_calls(rng: np.random.Generator, day: LocalDay, customer: Integers) -> Calls:
    """Calls by habit, half of them shorter than 90 s."""
    duration_ms = rng.lognormal(np.log(90_000), 1.1, len(customer)).astype(np.int64)
    time_ms = day.moments_ms(rng, len(customer))
    return Calls(customer, time_ms, duration_ms.clip(CALL_MS_MIN, CALL_MS_MAX))


def _scripted_calls(rng: np.random.Generator, day: LocalDay, script: Script) -> Calls:
    """Calls from eight o'clock on that add up to what the script says, with pauses between them.

    The longest day, 9 h in 22 calls with pauses of 10 min, is over before midnight.
    """
    people, total_ms = script.today(day.index)
    people, total_ms = people[total_ms > 0], total_ms[total_ms > 0]
    count = -(-total_ms // SCRIPTED_CALL_MS)
    caller = np.repeat(np.arange(len(people)), count)
    duration_ms = _shared(total_ms, caller, rng.uniform(0.5, 1.5, len(caller)))
    step_ms = duration_ms + rng.integers(2 * MINUTE_MS, 10 * MINUTE_MS, len(caller))
    since_ms = np.cumsum(step_ms) - step_ms
    since_ms -= since_ms[np.cumsum(count) - count][caller]
    return Calls(people[caller], day.start_ms + 8 * HOUR_MS + since_ms, duration_ms)


def sessions(rng: np.random.Generator, day: LocalDay, people: Population) -> list[Event]:
    """Mobile data sessions: at least one a day of everybody who uses data at all."""
    level = people.habits.data_bytes_per_day
    volume_bytes = level * rng.uniform(0.6, 1.4, len(level))
    customer = _each((level > 0) * (1 + rng.poisson(EXTRA_SESSIONS_PER_DAY, len(level))))
    session_bytes = _shared(volume_bytes, customer, rng.exponential(1.0, len(customer)) + 0.1)
    uplink = (session_bytes * rng.uniform(0.03, 0.15, len(customer))).astype(np.int64)
    columns = zip(
        _picked(people.ids, customer),
        day.moments_ms(rng, len(customer)).tolist(),
        uplink.tolist(),
        (session_bytes - uplink).tolist(),
        rng.integers(MINUTE_MS, 2 * HOUR_MS, len(customer)).tolist(),
        strict=True,
    )
    prefix = f"d{day.index}-"
    return [
        Data(
            event_id=f"{prefix}{i}",
            customer_id=c,
            event_time_ms=t,
            bytes_uplink=up,
            bytes_downlink=down,
            duration_ms=ms,
        )
        for i, (c, t, up, down, ms) in enumerate(columns)
    ]


def flows(rng: np.random.Generator, day: LocalDay, people: Population) -> list[Event]:
    """Connections of the fixed line: ordinary ones, a browser's many, and scans."""
    scanners, scans = people.scans.today(day.index)
    parts = [
        _usual_flows(rng, day, _each(rng.poisson(people.habits.flows_per_day))),
        *(_browsed(rng, day, c) for c in people.parts["keen_browser"].tolist()),
        *(
            _scanned(rng, day, c, SCANS[scan])
            for c, scan in zip(scanners.tolist(), scans.tolist(), strict=True)
        ),
    ]
    joined = Connections(*map(np.concatenate, zip(*parts, strict=True)))
    return _flow_events(rng, f"f{day.index}-", joined, people.ids)


def _usual_flows(rng: np.random.Generator, day: LocalDay, customer: Integers) -> Connections:
    """Mostly the web and name lookups; a few in a hundred fail, at dead hosts."""
    count = len(customer)
    state = rng.choice(len(STATES), size=count, p=STATE_SHARES)
    host = rng.integers(DEAD_HOSTS, len(HOSTS), count)
    return Connections(
        customer=customer,
        time_ms=day.moments_ms(rng, count),
        host=np.where(state == ESTABLISHED, host, host % DEAD_HOSTS),
        port=rng.choice(PORTS, size=count, p=PORT_SHARES),
        state=state,
    )


def _browsed(rng: np.random.Generator, day: LocalDay, customer: int) -> Connections:
    """Hundreds of hosts on one port within ten minutes, yet all of them answer."""
    count = BROWSED_HOSTS_PER_DAY
    return Connections(
        customer=np.full(count, customer),
        time_ms=day.start_ms + 20 * HOUR_MS + rng.integers(0, 10 * MINUTE_MS, count),
        host=rng.permutation(len(HOSTS))[:count],
        port=np.full(count, 443),
        state=np.full(count, ESTABLISHED),
    )


def _scanned(rng: np.random.Generator, day: LocalDay, customer: int, scan: Scan) -> Connections:
    """One port after the other of one host, or one host after the other on one port."""
    count = int(rng.integers(scan.targets_min, scan.targets_max + 1))
    start_ms = day.start_ms + int(rng.integers(HOUR_MS, 22 * HOUR_MS))
    target = np.arange(count)
    first_host = int(rng.integers(DEAD_HOSTS, len(HOSTS) - count))
    if scan.is_vertical:
        host, port = np.full(count, first_host), rng.integers(1, 1_000) + target
    else:
        host, port = first_host + target, np.full(count, rng.choice(SCANNED_PORTS))
    return Connections(
        customer=np.full(count, customer),
        time_ms=start_ms + target * scan.length_ms // count,
        host=host,
        port=port,
        state=rng.choice((REJECTED, UNANSWERED), size=count),
    )


def _flow_events(
    rng: np.random.Generator, prefix: str, flow: Connections, ids: list[str]
) -> list[Event]:
    """Add sizes and addresses to the connections; what failed is a few packets without data."""
    count = len(flow.customer)
    answered = flow.state == ESTABLISHED
    is_udp = np.isin(flow.port, UDP_PORTS)
    size = np.where(answered, rng.lognormal(9.5, 1.5, count).astype(np.int64) + 200, 60)
    columns = zip(
        flow.customer.tolist(),
        flow.time_ms.tolist(),
        _picked(HOSTS, flow.host),
        flow.port.tolist(),
        rng.integers(32_768, 61_000, count).tolist(),
        _picked(STATES, flow.state),
        np.where(is_udp, UDP, TCP).tolist(),
        np.where(is_udp, 0, np.where(answered, WHOLE_CONNECTION, SYN)).tolist(),
        size.tolist(),
        strict=True,
    )
    return [
        Flow(
            event_id=f"{prefix}{i}",
            customer_id=ids[c],
            event_time_ms=t,
            source_address=f"100.{64 + (c >> 16)}.{c >> 8 & 255}.{c & 255}",
            destination_address=host,
            source_port=source,
            destination_port=port,
            protocol=protocol,
            packets=1 + size_bytes // 900,
            bytes=size_bytes,
            tcp_flags=flags,
            state=state,
        )
        for i, (c, t, host, port, source, state, protocol, flags, size_bytes) in enumerate(columns)
    ]


def snapshots(rng: np.random.Generator, day: LocalDay, people: Population) -> list[Event]:
    """What is stored: weekly, a seventh of the customers each day; of those with a script daily."""
    level = people.habits.storage_used_bytes
    scripted, stored_bytes = people.stored_bytes.today(day.index)
    is_due = (level > 0) & ((np.arange(len(level)) + day.index) % 7 == 0)
    used = (level * (0.85 + 0.15 * day.index / people.stored_bytes.days)).astype(np.int64)
    is_due[scripted], used[scripted] = True, stored_bytes
    customer = np.flatnonzero(is_due)
    used = used[customer]
    columns = zip(
        _picked(people.ids, customer),
        day.moments_ms(rng, len(customer)).tolist(),
        used.tolist(),
        np.minimum(used // 10, 3 * GB // 2).tolist(),
        (50 + customer * 37 % 1_500).tolist(),
        (used * rng.uniform(0, 0.02, len(customer))).astype(np.int64).tolist(),
        strict=True,
    )
    prefix = f"c{day.index}-"
    return [
        Storage(
            event_id=f"{prefix}{i}",
            customer_id=c,
            event_time_ms=t,
            used_bytes=used_bytes,
            largest_file_bytes=largest,
            contacts=contacts,
            written_bytes=written,
        )
        for i, (c, t, used_bytes, largest, contacts, written) in enumerate(columns)
    ]


def viewings(rng: np.random.Generator, day: LocalDay, people: Population) -> list[Event]:
    """Television on one of the household's three devices, seldom away from home."""
    customer = _each(rng.poisson(people.habits.viewings_per_day))
    columns = zip(
        _picked(people.ids, customer),
        day.moments_ms(rng, len(customer)).tolist(),
        rng.integers(20 * MINUTE_MS, 150 * MINUTE_MS, len(customer)).tolist(),
        rng.integers(1, 4, len(customer)).tolist(),
        (rng.random(len(customer)) < 0.95).tolist(),
        strict=True,
    )
    prefix = f"t{day.index}-"
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


def _each(count: Integers) -> Integers:
    """Each customer as often as their count says."""
    return np.repeat(np.arange(len(count)), count)


def _directions(sent: int, received: int) -> list[Literal["mo", "mt"]]:
    directions: list[Literal["mo", "mt"]] = ["mo"] * sent
    directions += ["mt"] * received
    return directions


def _picked(pool: Sequence[str], index: Integers) -> list[str]:
    return [pool[i] for i in index.tolist()]


def _contacts(rng: np.random.Generator, customer: Integers, count: int) -> Integers:
    """Whom each customer reaches: always the same few, the first of them most often."""
    rank = rng.geometric(0.15, len(customer)).clip(1, CONTACTS_MAX)
    contact: Integers = (customer + 1 + (customer * 31 + rank * 101) % (count - 1)) % count
    return contact


def _shared(total: Integers | Numbers, owner: Integers, weight: Numbers) -> Integers:
    """Split each owner's total over their rows by weight, rounded down."""
    share = weight / np.bincount(owner, weight)[owner]
    return (total[owner] * share).astype(np.int64)
