"""The batch lane: one Faust event carries one fetched batch of one partition.

Faust 0.15.3 spends 60-120 us on each message before an agent sees it. Two public settings avoid
that: a `ConsumerScheduler` that hands on whole batches, and a `Schema` that does not decode them.
The subclasses below close Faust's faults that would lose events or count them twice
(docs/decisions/0002-batch-lane.md lists them); tests/streams/worker/test_contract_faust.py fails
when Faust changes a name used here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import faust
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP, Message

from streams.broker.in_step import InStep
from streams.errors import StartError


@dataclass(frozen=True, slots=True)
class ReadingOrder:
    """Which topics are read before others; the app holds it as `reading_order`."""

    leading: frozenset[str] = frozenset()
    """Read to the end that they have at the assignment before any other topic is read, so that a
    customer's plan is known before the customer's use."""
    urgent: frozenset[str] = frozenset()
    """Handed to the agents before the batches of other topics."""
    paced: frozenset[str] = frozenset()
    """Read in step: no partition runs far ahead of another in event time."""


class FetchedBatch:
    """The records of one fetch of one partition, in the form of a single record.

    Parameters
    ----------
    tp
        Topic and partition.
    records
        At least one record, in the order of their offsets.
    """

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
    """Hands on one batch for each partition with records, those of urgent topics first.

    Parameters
    ----------
    urgent
        Names of the urgent topics.
    """

    def __init__(self, urgent: frozenset[str] = frozenset()) -> None:
        self.urgent = urgent

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, FetchedBatch]]:
        """One batch of each partition that has any record."""
        filled = [(tp, fetched) for tp, fetched in records.items() if fetched]
        filled.sort(key=lambda each: each[0].topic not in self.urgent)
        return ((tp, FetchedBatch(tp, fetched)) for tp, fetched in filled)


class PassThrough(faust.Schema):
    """Leaves a batch undecoded; the agents decode the records."""

    def loads_key(self, app: Any, message: Message, **kwargs: Any) -> Any:
        """No key: each record of the batch has its own."""
        return None

    def loads_value(self, app: Any, message: Message, **kwargs: Any) -> Any:
        """The list of records."""
        return message.value


FETCH_WAIT_MS_MAX = 50
"""Longest time the broker waits before it answers a fetch that found nothing.

aiokafka has one fetch in flight per broker, which asks only for partitions whose earlier records
were all handed on. With Faust's 1,500 ms, idle partitions would delay the busy ones.
"""

REBALANCE_POLL_SECONDS = 0.05

BATCHES_AT_ONCE = 4
"""Batches of other topics handed on before urgent ones are looked for again, oldest first."""


class PlainRecords(fetcher.PartitionRecords):
    """Hands on each record as the parser made it: offset, timestamp, key, value and headers.

    aiokafka copies every record into a dataclass of eleven fields, which takes longer than parsing
    it. Records can also be looked at before they are handed on.

    Parameters
    ----------
    args
        The parameters of the base class.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._parsed: list[Any] | None = None
        self._handed_on = 0

    def _consumer_record(self, tp: TP, record: Any) -> Any:
        return record

    def to_come(self) -> list[Any]:
        """Look at the records that were not handed on yet.

        Returns
        -------
        Records, in the order of their offsets.
        """
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
    """Faust's consumer thread, but records are not copied, idle partitions delay no others, and
    paced topics are read in step.

    Parameters
    ----------
    order
        Which topics are urgent, and which paced.
    args, kwargs
        The parameters of the base class.
    """

    def __init__(self, order: ReadingOrder, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order = order
        self.pace = InStep()
        self._is_behind = False
        """Whether a paced partition has records on the broker and none fetched. The next fetch may
        bring others that are far ahead of them, so that one record is handed on and the rest
        looked at first."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        # aiokafka's fetcher looks this class up by name; it has no parameter for it.
        fetcher.PartitionRecords = PlainRecords
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS_MAX
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, *args: Any, **options: Any
    ) -> Any:
        if active_partitions is None:
            every: Any = None
            return await super()._fetch_records(consumer, every, *args, **options)
        fetched = [tp for tp in consumer._fetcher._records if tp in active_partitions]
        urgent = {tp for tp in fetched if tp.topic in self.order.urgent}
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
        self.pace.handed_on({tp: r for tp, r in records.items() if tp.topic in self.order.paced})
        return records

    def _in_step(
        self, consumer: Any, fetched: set[TP], active_partitions: set[TP]
    ) -> dict[TP, int | None]:
        """How many records of each paced partition may be handed on now; None for all of them."""
        paced = {tp for tp in active_partitions if tp.topic in self.order.paced}
        self.pace.forget_all_but(paced)
        at_hand = {}
        for tp in fetched & paced:
            result = consumer._fetcher._records[tp]
            if isinstance(result, fetcher.FetchResult) and result.has_more():
                records: Any = result._partition_records
                at_hand[tp] = records.to_come()
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
    """Whether the broker holds records that were not fetched, by the newest end offset known."""
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
    """Commits exactly what a checkpoint covers, and lets a checkpoint be written before it gives up
    partitions; leading topics are read first.

    Parameters
    ----------
    args, kwargs
        The parameters of the base class; the app has a `reading_order`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.covered: dict[TP, int] = {}
        self.before_revoke: Callable[[], Awaitable[None]] | None = None
        """Writes the checkpoint before partitions are given up."""
        self._leading: dict[TP, int] = {}
        """End offset of each leading partition that is not read to its end yet."""
        self._led_generation: int | None = None

    @property
    def order(self) -> ReadingOrder:
        """Which topics are read before others; the base class asks for it while it is built."""
        app: Any = self.app
        return app.reading_order

    def _new_consumer_thread(self) -> LaneConsumerThread:
        return LaneConsumerThread(self.order, self, loop=self.loop, beacon=self.beacon)

    def cover(self, offsets: Mapping[TP, int]) -> None:
        """Note what a finished checkpoint covers; the next commit names just this.

        Parameters
        ----------
        offsets
            Next offset to read of each partition.
        """
        self.covered.update(offsets)

    def ack(self, message: Message) -> bool:
        """Release a batch; `cover` alone decides what is committed."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: `cover` needs no bookkeeping of gaps."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self.covered if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.covered.get(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Checkpoint and commit, and only then let Faust forget the partitions."""
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
            # Faust resumes the flow before a rebalance is over, and would lose what is read now.
            await asyncio.sleep(REBALANCE_POLL_SECONDS)
            return {}
        await self._follow_leaders()
        if self._leading and active_partitions is not None:
            active_partitions = {tp for tp in active_partitions if tp in self._leading}
        return await super()._getmany(active_partitions, timeout)

    async def _follow_leaders(self) -> None:
        """Bring `_leading` up to date, after an assignment and as positions advance."""
        generation = self.app.consumer_generation_id
        if generation != self._led_generation:
            leaders = [tp for tp in self.assignment() if tp.topic in self.order.leading]
            self._leading = dict(await self.highwaters(*leaders)) if leaders else {}
            self._led_generation = generation
        for tp, end in list(self._leading.items()):
            position = await self.position(tp)
            if position is not None and position >= end:
                del self._leading[tp]


class LaneProducer(driver.Producer):
    """An idempotent producer: a retry after a lost connection writes no record twice."""

    @property
    def _is_idempotent(self) -> bool:
        app: Any = self.app
        return app.idempotence

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": self._is_idempotent}

    async def on_start(self) -> None:
        """Connect; raise `StartError` if the broker supports no idempotent producers."""
        try:
            await super().on_start()
        except KafkaError as error:
            if not self._is_idempotent or isinstance(error, KafkaConnectionError):
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
    """Faust's aiokafka transport, with the consumer and the producer above."""

    Consumer: ClassVar[Any] = LaneConsumer
    Producer: ClassVar[Any] = LaneProducer


def lane_topic(app: faust.App, *names: str) -> Any:
    """Topics whose batches an agent receives whole and undecoded.

    Parameters
    ----------
    app
        The app of the agent.
    names
        Names of the topics.

    Returns
    -------
    One Faust topic over all the names.
    """
    return app.topic(*names, schema=raw_schema(), internal=False)


def raw_schema() -> PassThrough:
    """Make the schema of topics whose batches stay undecoded.

    Returns
    -------
    A schema for one topic or table.
    """
    return PassThrough(
        key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )
