"""Records to be sent: collected, sent as whole batches, and every delivery awaited."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from streams.clock import Clock

Row = tuple[bytes | None, bytes, int]
"""Key, value and time of a record."""

WAITING_MAX = 256
"""Batches in flight; with more, `send` waits for their delivery."""


class Outbox:
    """Collects records by topic and partition and sends them with aiokafka's batch builder.

    `producer` is a started AIOKafkaProducer, None until the worker has taken over partitions.

    Parameters
    ----------
    clock
        Dates the records.
    """

    def __init__(self, clock: Clock) -> None:
        self.producer: Any = None
        self._clock = clock
        self._filling: dict[tuple[str, int], list[Row]] = {}
        self._in_flight: list[asyncio.Future[Any]] = []
        self._taken: Counter[tuple[str, int]] = Counter()
        self._delivered: dict[tuple[str, int], tuple[int, int]] = {}
        """Number of records delivered, and the offset after the last of them."""

    def put(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        timestamp_ms: int | None = None,
    ) -> None:
        """Collect a record; the next `send` sends it.

        Parameters
        ----------
        topic, partition
            Where the record goes.
        key, value
            The record; a key of None is none.
        timestamp_ms
            Its time, Unix; now if absent.
        """
        row = (key, value, self._clock() if timestamp_ms is None else timestamp_ms)
        self._filling.setdefault((topic, partition), []).append(row)
        self._taken[topic, partition] += 1

    async def send(self) -> None:
        """Hand all collected records to the producer; wait for no delivery, unless more than
        `WAITING_MAX` batches are in flight."""
        filled, self._filling = self._filling, {}
        for home, records in filled.items():
            for future, sent in await self.send_batches(*home, records):
                future.add_done_callback(partial(self._note_delivery, home, sent))
                self._in_flight.append(future)
        if len(self._in_flight) > WAITING_MAX:
            await self.delivered()

    def _note_delivery(
        self, home: tuple[str, int], records: int, future: asyncio.Future[Any]
    ) -> None:
        if not future.cancelled() and future.exception() is None:
            delivered, end = self._delivered.get(home, (0, 0))
            self._delivered[home] = delivered + records, max(end, future.result().offset + records)

    def take_in_flight(self) -> list[asyncio.Future[Any]]:
        """Hand over the deliveries in flight.

        Returns
        -------
        One future for each batch; the caller has to await them, for they raise what went wrong.
        """
        in_flight, self._in_flight = self._in_flight, []
        return in_flight

    async def delivered(self) -> None:
        """Wait until everything that was sent is delivered; raise what went wrong."""
        await asyncio.gather(*self.take_in_flight())

    def taken(self, topic: str, partition: int) -> int:
        """Count the records of a partition.

        Parameters
        ----------
        topic, partition
            The partition.

        Returns
        -------
        How many were put so far, sent or not.
        """
        return self._taken[topic, partition]

    def end_of(self, topic: str, partition: int, taken: int) -> int | None:
        """Tell where the first `taken` records end, once they are delivered.

        Parameters
        ----------
        topic, partition
            The partition.
        taken
            A number of records, as `taken()` returned it.

        Returns
        -------
        An offset after all of them, 0 if there are none; None while any of them is in flight.
        """
        delivered, end = self._delivered.get((topic, partition), (0, 0))
        return end if delivered >= taken else None

    async def send_batches(
        self, topic: str, partition: int, records: Iterable[Row]
    ) -> list[tuple[asyncio.Future[Any], int]]:
        """Send records of one partition in order.

        Parameters
        ----------
        topic, partition
            Where they go.
        records
            Key, value and Unix time in milliseconds of each.

        Returns
        -------
        For each batch a future of its delivery, and its number of records.
        """
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
