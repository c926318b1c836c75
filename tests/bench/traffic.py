"""Made-up usage of an operator, encoded: what the topics hold in every measurement."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from schemas.events import Data, Event, Flow, Sms, Storage, Voice
from schemas.units import Ints, Mask
from streams.broker.partitioner import partitions_of
from tests.bench.scales import PARTITIONS

encode = msgspec.json.Encoder().encode

SHARE = {"sms": 0.45, "voice": 0.20, "data": 0.20, "flow": 0.10, "storage": 0.05}
KINDS = tuple(SHARE)

START_MS = 1_773_097_200_000
"""2026-03-10, midnight in Brussels."""

SPAN_MS = 2 * 86_400_000
JITTER_MS = 600_000
"""Events come up to ten minutes out of order."""

HEAVY_SMS_SHARE, HEAVY_SMS_EACH = 0.04, 900
HEAVY_VOICE_SHARE, HEAVY_VOICE_EACH = 0.02, 24
HEAVY_CALL_MS = 5_400_000
SCAN_EVERY, SCAN_FLOWS = 1_000, 40
"""Of so many flows in a row, the first ones are one customer's scan."""

CAPACITY_BYTES = 1_000_000_000
"""What the default plan holds; two in a hundred snapshots show more."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Events in the order they come, encoded, with their keys (n); `kind` is an index of KINDS."""

    values: list[bytes]
    keys: list[bytes]
    kind: Ints
    partition: Ints

    def __len__(self) -> int:
        return len(self.values)

    def queues(
        self, start: int = 0, end: int | None = None
    ) -> Iterator[tuple[str, int, list[int]]]:
        """Topic, partition and rows of the events from `start` to before `end`."""
        queue = self.kind[start:end] * PARTITIONS + self.partition[start:end]
        order = np.argsort(queue, kind="stable")
        numbers, first = np.unique(queue[order], return_index=True)
        for number, rows in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
            kind, partition = divmod(number, PARTITIONS)
            yield f"usage.{KINDS[kind]}", partition, (rows + start).tolist()


@dataclass(frozen=True, slots=True)
class Draw:
    """The rows of one kind, whose events are still to be made."""

    rng: np.random.Generator
    rows: Ints
    ids: list[str]
    customer: Ints
    time_ms: Ints
    breaching: bool

    def __len__(self) -> int:
        return len(self.rows)

    def numbers(self, low: int, high: int) -> list[int]:
        """A number for each row."""
        return self.rng.integers(low, high, len(self)).tolist()

    def favour(self, share: float, each: int) -> Mask:
        """Give a share of the rows to a few customers, about `each` to each; tell which rows."""
        chosen = self.rng.random(len(self)) < share * self.breaching
        few = max(1, int(chosen.sum()) // each)
        self.customer[self.rows[chosen]] = self.rng.integers(0, few, int(chosen.sum()))
        return chosen

    def common(self) -> Iterator[dict[str, Any]]:
        """What every event carries."""
        customers, times = self.customer[self.rows].tolist(), self.time_ms[self.rows].tolist()
        for row, customer, time_ms in zip(self.rows.tolist(), customers, times, strict=True):
            yield {
                "event_id": self.ids[row],
                "customer_id": customer_id(customer),
                "event_time_ms": time_ms,
            }


def traffic(
    seed: int, events: int, customers: int, *, start_ms: int = START_MS, breaching: bool = True
) -> Traffic:
    """Usage of two days; some customers breach each limit, or nobody does."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(len(KINDS), events, p=list(SHARE.values()))
    even_ms = start_ms + np.arange(events) * SPAN_MS // events
    time_ms = even_ms + rng.integers(0, JITTER_MS, events)
    customer = rng.integers(0, customers, events)
    ids = event_ids(rng, events)
    values: list[bytes] = [b""] * events
    for number, name in enumerate(KINDS):
        rows = np.flatnonzero(kind == number)
        made = MAKERS[name](Draw(rng, rows, ids, customer, time_ms, breaching))
        for row, event in zip(rows.tolist(), made, strict=True):
            values[row] = encode(event)
    keys = [customer_id(number).encode() for number in customer.tolist()]
    return Traffic(values, keys, kind, partitions_of(keys, PARTITIONS))


def customer_id(number: int) -> str:
    """A telephone number."""
    return str(32_470_000_000 + number)


def event_ids(rng: np.random.Generator, count: int) -> list[str]:
    """Random ids of 16 digits."""
    digits = rng.bytes(8 * count).hex()
    return [digits[at : at + 16] for at in range(0, 16 * count, 16)]


def _texts(draw: Draw) -> Iterator[Event]:
    draw.favour(HEAVY_SMS_SHARE, HEAVY_SMS_EACH)
    others = draw.numbers(0, 10**6)
    for common, other in zip(draw.common(), others, strict=True):
        yield Sms(**common, recipient=customer_id(other))


def _calls(draw: Draw) -> Iterator[Event]:
    heavy = draw.favour(HEAVY_VOICE_SHARE, HEAVY_VOICE_EACH)
    lengths = np.where(heavy, HEAVY_CALL_MS, draw.numbers(1_000, 600_000)).tolist()
    others = draw.numbers(0, 10**6)
    for common, other, length in zip(draw.common(), others, lengths, strict=True):
        yield Voice(**common, other_party=customer_id(other), duration_ms=length)


def _sessions(draw: Draw) -> Iterator[Event]:
    up, down = draw.numbers(1_000, 10**6), draw.numbers(10_000, 10**8)
    for common, sent, received in zip(draw.common(), up, down, strict=True):
        yield Data(**common, bytes_uplink=sent, bytes_downlink=received)


def _flows(draw: Draw) -> Iterator[Event]:
    number = np.arange(len(draw))
    place = number % SCAN_EVERY
    scans = (place < SCAN_FLOWS) & draw.breaching
    draw.customer[draw.rows[scans]] = number[scans] // SCAN_EVERY
    refused = scans | (draw.rng.random(len(draw)) < 0.1)
    ports = np.where(scans, 1_000 + place, draw.rng.choice([53, 80, 443], len(draw))).tolist()
    hosts = np.where(scans, 7, draw.numbers(1, 255)).tolist()
    for common, port, host, failed in zip(
        draw.common(), ports, hosts, refused.tolist(), strict=True
    ):
        yield Flow(
            **common,
            source_address="10.0.0.1",
            destination_address=f"192.0.2.{host}",
            protocol=6,
            destination_port=port,
            state="rejected" if failed else "established",
        )


def _snapshots(draw: Draw) -> Iterator[Event]:
    most = CAPACITY_BYTES * (1.02 if draw.breaching else 1)
    for common, used in zip(draw.common(), draw.numbers(0, int(most)), strict=True):
        yield Storage(**common, used_bytes=used)


MAKERS: dict[str, Callable[[Draw], Iterator[Event]]] = {
    "sms": _texts,
    "voice": _calls,
    "data": _sessions,
    "flow": _flows,
    "storage": _snapshots,
}
