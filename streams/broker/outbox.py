"""Records on their way out, sent as whole batches, every delivery awaited."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from streams.clock import Clock

Row = tuple[bytes | None, bytes, int]
"""Key, value and time of a record."""

WAITING_MAX = 256
"""Batches under way; past it the sender waits."""


class Outbox:
    """Collects records by topic and partition and sends them with aiokafka's batch builder.

    Parameters
    ----------
    producer
        A started AIOKafkaProducer; None until the worker runs.
    clock
        Time of the records.
    """

    def __init__(self, clock: Clock) -> None:
        self.producer: Any = None
        self._clock = clock
        self._filling: dict[tuple[str, int], list[Row]] = {}
        self._waiting: list[asyncio.Future[Any]] = []
        self._taken: Counter[tuple[str, int]] = Counter()
        self._arrived: dict[tuple[str, int], tuple[int, int]] = {}
        """Records that were delivered, and the offset after the last of them."""

    def put(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        timestamp_ms: int | None = None,
    ) -> None:
        """Take a record; it leaves with the next `send`, dated now unless told otherwise."""
        row = (key, value, self._clock() if timestamp_ms is None else timestamp_ms)
        self._filling.setdefault((topic, partition), []).append(row)
        self._taken[topic, partition] += 1

    async def send(self) -> None:
        """Hand everything to the producer, without waiting for delivery."""
        filled, self._filling = self._filling, {}
        for home, records in filled.items():
            for future, sent in await self.send_batches(*home, records):
                future.add_done_callback(partial(self._arrive, home, sent))
                self._waiting.append(future)
        if len(self._waiting) > WAITING_MAX:
            await self.delivered()

    def _arrive(self, home: tuple[str, int], records: int, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            arrived, end = self._arrived.get(home, (0, 0))
            self._arrived[home] = arrived + records, max(end, future.result().offset + records)

    def take_waiting(self) -> list[asyncio.Future[Any]]:
        """The deliveries under way; whoever takes them has to await them."""
        waiting, self._waiting = self._waiting, []
        return waiting

    async def delivered(self) -> None:
        """Wait until everything that was sent is delivered; raise what went wrong."""
        await asyncio.gather(*self.take_waiting())

    def taken(self, topic: str, partition: int) -> int:
        """How many records of a partition were put so far."""
        return self._taken[topic, partition]

    def end_of(self, topic: str, partition: int, taken: int) -> int | None:
        """An offset that so many records lie before, 0 for none; None while some are under way."""
        arrived, end = self._arrived.get((topic, partition), (0, 0))
        return end if arrived >= taken else None

    async def send_batches(
        self, topic: str, partition: int, records: Iterable[Row]
    ) -> list[tuple[asyncio.Future[Any], int]]:
        """Send records of one partition in order; the delivery and size of each batch."""
        sent = []
        batch = self.producer.create_batch()
        for key, value, timestamp_ms in records:
            if batch.append(key=key, value=value, timestamp=timestamp_ms) is None:
                sent.append(await self._submit(batch, topic, partition))
                batch = self.producer.create_batch()
                batch.append(key=key, value=value, timestamp=timestamp_ms)
        if batch.record_count():
            sent.append(await self._submit(batch, topic, partition))
        return sent

    async def _submit(
        self, batch: Any, topic: str, partition: int
    ) -> tuple[asyncio.Future[Any], int]:
        records = batch.record_count()
        return await self.producer.send_batch(batch, topic, partition=partition), records
