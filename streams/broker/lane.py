"""The batch lane: one Faust event carries one fetched batch of one partition.

Faust 0.15.3 spends 60-120 us on each message before an agent sees it. Two public settings avoid
that: a `ConsumerScheduler` that hands on whole batches, and a `Schema` that passes them through.
The subclasses below close the faults that would lose or double events
(docs/decisions/0002-batch-lane.md names each); tests/streams/worker/test_contract_faust.py fails
when Faust changes a name used here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import faust
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP, Message

from streams.broker.in_step import InStep
from streams.errors import StartError


class FetchedBatch:
    """The records of one fetch of one partition, in the form of a single record."""

    __slots__ = (
        "checksum",
        "headers",
        "key",
        "offset",
        "partition",
        "serialized_key_size",
        "serialized_value_size",
        "timestamp",
        "timestamp_type",
        "topic",
        "value",
    )

    def __init__(self, tp: TP, records: list[Any]) -> None:
        last = records[-1]
        self.topic, self.partition, self.offset = tp.topic, tp.partition, last.offset
        self.timestamp, self.timestamp_type = last.timestamp, last.timestamp_type
        self.headers, self.key, self.value = (), None, records
        self.checksum = self.serialized_key_size = self.serialized_value_size = None


class BatchScheduler(DefaultSchedulingStrategy):
    """Hands on what was fetched, batch by batch, those of `urgent_topics` first."""

    urgent_topics: ClassVar[frozenset[str]] = frozenset()

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, FetchedBatch]]:
        """One batch of each partition that has any record."""
        filled = [(tp, fetched) for tp, fetched in records.items() if fetched]
        filled.sort(key=lambda each: each[0].topic not in self.urgent_topics)
        return ((tp, FetchedBatch(tp, fetched)) for tp, fetched in filled)


class PassThrough(faust.Schema):
    """Leaves a batch as it is; decoding is the agent's own work."""

    def loads_key(self, app: Any, message: Message, **kwargs: Any) -> Any:
        """No key: each record of the batch has its own."""
        return None

    def loads_value(self, app: Any, message: Message, **kwargs: Any) -> Any:
        """The list of records."""
        return message.value


FETCH_WAIT_MS_MAX = 50
"""How long the broker may hold a fetch that finds nothing.

aiokafka has one fetch under way per broker, and it names only the partitions that were drained when
it left. Faust lets it wait 1,500 ms, so idle partitions keep the busy ones waiting.
"""


REBALANCE_POLL_SECONDS = 0.05

BATCHES_AT_ONCE = 4
"""Batches handed on before what is urgent is looked for again, those that wait longest first."""


class PlainRecords(fetcher.PartitionRecords):
    """Hands on each record as it was parsed: offset, timestamp, key, value and headers.

    aiokafka copies every record into a dataclass of eleven fields, which takes longer than parsing
    it did. What is still to be handed on can be looked at.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._parsed: list[Any] | None = None
        self._handed_on = 0

    def _consumer_record(self, tp: TP, record: Any) -> Any:
        return record

    def to_come(self) -> list[Any]:
        """The records that are still to be handed on."""
        if self._parsed is None:
            first = self.next_fetch_offset
            self._parsed = list(self)
            end, self.next_fetch_offset = self.next_fetch_offset, first
            self._records_iterator = self._again(self._parsed, end)
        return self._parsed[self._handed_on :] if self._handed_on else self._parsed

    def _again(self, records: list[Any], end: int) -> Iterator[Any]:
        for record in records:
            self.next_fetch_offset = record.offset + 1
            self._handed_on += 1
            yield record
        self.next_fetch_offset = end


class LaneConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a consumer that copies nothing and never waits for idle
    partitions; `paced_topics` are read in step."""

    paced_topics: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pace = InStep()
        self._is_behind = False
        """Whether there is more to read than was fetched: what comes first may be far ahead of it,
        so that just a record of it is handed on before it is looked at."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        # The fetcher makes these by name and offers no other way.
        fetcher.PartitionRecords = PlainRecords
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS_MAX
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[TP] | None, **options: Any
    ) -> Any:
        if active_partitions is None:
            return await super()._fetch_records(consumer, None, **options)
        fetched = [tp for tp in consumer._fetcher._records if tp in active_partitions]
        urgent = {tp for tp in fetched if tp.topic in BatchScheduler.urgent_topics}
        parts = self._in_step(consumer, set(fetched), active_partitions)
        others = [tp for tp in fetched if tp not in urgent and parts.get(tp) != 0][:BATCHES_AT_ONCE]
        whole = urgent | {tp for tp in others if parts.get(tp) is None}
        records = {}
        for tp in set(others) - whole:
            part = options | {"timeout": 0.0, "max_records": parts[tp]}
            records |= await super()._fetch_records(consumer, {tp}, **part)
        if whole:
            records |= await super()._fetch_records(consumer, whole, **options)
        elif not records:
            held_back = {tp for tp, part in parts.items() if part == 0}
            first = options | {"max_records": 1} if self._is_behind else options
            records = await super()._fetch_records(consumer, active_partitions - held_back, **first)
        self.pace.handed_on({tp: r for tp, r in records.items() if tp.topic in self.paced_topics})
        return records

    def _in_step(
        self, consumer: Any, fetched: set[TP], active_partitions: set[TP]
    ) -> dict[TP, int | None]:
        """How many records may be handed on of each paced partition, None for all of them."""
        paced = {tp for tp in active_partitions if tp.topic in self.paced_topics}
        self.pace.forget_all_but(paced)
        at_hand = {}
        for tp in fetched & paced:
            result = consumer._fetcher._records[tp]
            if isinstance(result, fetcher.FetchResult) and result.has_more():
                at_hand[tp] = result._partition_records.to_come()
        at_hand = {tp: records for tp, records in at_hand.items() if records}
        awaited = {tp for tp in paced - fetched if _has_more(consumer, tp)}
        self._is_behind = bool(awaited)
        if not at_hand:
            return {}
        counts = self.pace.in_step(at_hand, awaited)
        return {
            tp: None if counts.get(tp, 0) == len(records) else counts.get(tp, 0)
            for tp, records in at_hand.items()
        }


def _has_more(consumer: Any, tp: TP) -> bool:
    """Whether the broker holds records that were not fetched yet, as far as is known."""
    subscription = consumer._subscription.subscription
    if subscription is None or subscription.assignment is None:
        return False
    state = subscription.assignment.state_value(tp)
    if state is None:
        return False
    if state.highwater is None or not state.has_valid_position:
        return True
    return state.position < state.highwater


class LaneConsumer(driver.Consumer):
    """Commits what a checkpoint covers and nothing else, and checkpoints before it lets go.

    `leading_topics` are read to the end that they have at the assignment before any other topic is
    read, so that a customer's plan is known before the customer's use.
    """

    leading_topics: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.covered: dict[TP, int] = {}
        self.before_revoke: Callable[[], Awaitable[None]] | None = None
        self._leading: dict[TP, int] = {}
        self._led_generation: int | None = None

    def _new_consumer_thread(self) -> LaneConsumerThread:
        return LaneConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def cover(self, offsets: Mapping[TP, int]) -> None:
        """Note the next offset of each partition that a finished checkpoint covers."""
        self.covered.update(offsets)

    def ack(self, message: Message) -> bool:
        """Let go of a batch; what may be committed is `cover`'s matter."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets between two batches need no bookkeeping."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self.covered if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.covered.get(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Checkpoint and commit what was worked on, and only then let Faust forget it."""
        if self.before_revoke is not None and not self.app.should_stop:
            self.stop_flow()
            self.app.flow_control.suspend()
            self.app.flow_control.clear()
            await self.before_revoke()
        await super().on_partitions_revoked(revoked)
        self.covered = {tp: offset for tp, offset in self.covered.items() if tp not in revoked}

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        if self.app.in_recovery:
            return await super()._getmany(active_partitions, timeout)
        if self.app.rebalancing:
            # Faust lets the flow go on a moment before it is done; leaders come first even then.
            await asyncio.sleep(REBALANCE_POLL_SECONDS)
            return {}
        await self._follow_leaders()
        if self._leading and active_partitions is not None:
            active_partitions = {tp for tp in active_partitions if tp in self._leading}
        return await super()._getmany(active_partitions, timeout)

    async def _follow_leaders(self) -> None:
        """Keep in `_leading` the leading partitions that are not read to their end yet."""
        generation = self.app.consumer_generation_id
        if generation != self._led_generation:
            leaders = [tp for tp in self.assignment() if tp.topic in self.leading_topics]
            self._leading = dict(await self.highwaters(*leaders)) if leaders else {}
            self._led_generation = generation
        for tp, end in list(self._leading.items()):
            position = await self.position(tp)
            if position is not None and position >= end:
                del self._leading[tp]


class LaneProducer(driver.Producer):
    """An idempotent producer: a retry by the broker connection doubles nothing."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": self.app.idempotence}

    async def on_start(self) -> None:
        """Begin to send; a broker may know no idempotent producers."""
        try:
            await super().on_start()
        except KafkaError as error:
            if not self.app.idempotence or isinstance(error, KafkaConnectionError):
                raise
            raise StartError(
                f"The broker takes no idempotent producer ({type(error).__name__}): have it allow "
                "IdempotentWrite, or set FAIRUSE_IDEMPOTENCE=false if a retry may double a record."
            ) from error

    @property
    def batches(self) -> Any:
        """The aiokafka producer, for whole batches."""
        return self._ensure_producer()


class LaneTransport(driver.Transport):
    """Faust's aiokafka transport with the lane's consumer and producer."""

    Consumer: ClassVar[Any] = LaneConsumer
    Producer: ClassVar[Any] = LaneProducer


def lane_topic(app: faust.App, *names: str) -> Any:
    """Topics whose batches an agent gets whole."""
    return app.topic(
        *names,
        schema=PassThrough(
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        ),
        internal=False,
    )


def batches_of(messages: Iterable[Any]) -> list[Any]:
    """All records of several batches, in order."""
    return [record for message in messages for record in message.value]
