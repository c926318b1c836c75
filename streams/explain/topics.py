"""Reads actions, findings, customers, policies and usage from the topics."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import merge
from itertools import pairwise
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from kafka import KafkaConsumer
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import TopicPartition

from detectors.fold.provenance import Origin
from schemas.decode import decode
from schemas.records import Action, Customer, Finding
from schemas.topics import ACTIONS, CUSTOMERS, FINDINGS, POLICIES, USAGE_PREFIX
from schemas.units import DAY_MS
from streams.broker.partitioner import partition_of
from streams.broker.topics import ANSWER_MS_MAX, TopicsError
from streams.explain.grounds import Records
from streams.explain.spans import InputGone, TopicSpan
from streams.files.sources import Chunk

RECORDS_AT_ONCE = 10_000
POLL_MS = 500
POLLS_WITHOUT_RECORDS_MAX = 60
"""A partition that should have more records is given up after this many empty polls in a row."""


@dataclass(frozen=True, slots=True)
class Topics(Records):
    """Records on the topics of a broker.

    Parameters
    ----------
    bootstrap
        The broker's address.
    """

    bootstrap: str

    def actions(self) -> Iterator[Action]:
        """Read every action, one partition after the other."""
        with _consumer(self.bootstrap) as consumer:
            for partition in range(_partitions(consumer, ACTIONS)):
                yield from _decoded(consumer, TopicPartition(ACTIONS, partition), Action)

    def findings(self, customer_id: str) -> Iterator[Finding]:
        """Read the findings of the customer's partition."""
        return self._of_partition(FINDINGS, customer_id, Finding)

    def customers(self, customer_id: str) -> Iterator[Customer]:
        """Read the customers of the customer's partition."""
        return self._of_partition(CUSTOMERS, customer_id, Customer)

    def policies(self) -> Iterator[bytes]:
        """Read the records that the policies' topic still has."""
        with _consumer(self.bootstrap) as consumer:
            _partitions(consumer, POLICIES)
            for record in _kept(consumer, TopicPartition(POLICIES, 0)):
                yield record.value or b""

    def _of_partition(self, topic: str, customer_id: str, kind: type[Any]) -> Iterator[Any]:
        with _consumer(self.bootstrap) as consumer:
            partition = partition_of(customer_id.encode(), _partitions(consumer, topic))
            yield from _decoded(consumer, TopicPartition(topic, partition), kind)


def read_topics(spans: Sequence[TopicSpan], bootstrap: str) -> Iterator[Chunk]:
    """Read the named offsets of usage topics, one day of every kind after the other.

    Parameters
    ----------
    spans
        Topics and offsets, as the evidence names them.
    bootstrap
        The broker's address.

    Returns
    -------
    The events, in chunks of one kind and one day of its watermark.
    """
    streams = [_by_day(span, bootstrap) for span in spans]
    yield from (chunk for _, chunk in merge(*streams, key=itemgetter(0)))


def _by_day(span: TopicSpan, bootstrap: str) -> Iterator[tuple[int, Chunk]]:
    """A span's events cut where the watermark enters another day, with the number of that day."""
    kind, reached_ms = span.topic.removeprefix(USAGE_PREFIX), 0
    origin = Origin(span.topic, span.partition)
    for records in _span(span, bootstrap):
        columns, _ = decode(
            [record.value for record in records],
            np.array([record.offset for record in records], np.int64),
            np.array([record.timestamp for record in records], np.int64),
            [record.key for record in records],
            kind,
        )
        for events in columns:
            reached = np.maximum(np.maximum.accumulate(events.time_ms), reached_ms)
            reached_ms = int(reached[-1])
            days = reached // DAY_MS
            cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
            for start, end in pairwise(cuts):
                part = events.take(np.arange(start, end))
                first = int(part.offset[0])
                yield int(days[start]), Chunk(origin, [part], [], _no_rejects, first, len(part), 0)


def _no_rejects(record: int) -> bytes:
    raise LookupError("an explanation leaves out records that can't be used")


def _span(span: TopicSpan, bootstrap: str) -> Iterator[list[Any]]:
    """The records of a span, in batches."""
    with _consumer(bootstrap) as consumer:
        part = TopicPartition(span.topic, span.partition)
        if span.partition >= _partitions(consumer, span.topic):
            raise InputGone("missing", str(span))
        if span.first_offset < consumer.beginning_offsets([part])[part]:
            raise InputGone("expired", str(span))
        if span.last_offset >= consumer.end_offsets([part])[part]:
            raise InputGone("missing", str(span))
        try:
            yield from _batches(consumer, part, span.first_offset, span.last_offset + 1)
        except OffsetOutOfRangeError:
            raise InputGone("expired", str(span)) from None


@contextmanager
def _consumer(bootstrap: str) -> Iterator[KafkaConsumer]:
    """A consumer; its failures become `TopicsError`s."""
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            bootstrap_timeout_ms=ANSWER_MS_MAX,  # pyright: ignore[reportCallIssue] - new in kafka 3
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_poll_records=RECORDS_AT_ONCE,
        )
    except (KafkaError, ValueError) as error:
        raise TopicsError(
            f"No Kafka broker answers at {bootstrap}: check the address, or start the broker."
        ) from error
    try:
        yield consumer
    except KafkaError as error:
        raise TopicsError(
            f"Kafka at {bootstrap} failed ({type(error).__name__}): "
            "look into the broker's log and try again."
        ) from error
    finally:
        consumer.close()


def _partitions(consumer: KafkaConsumer, topic: str) -> int:
    partitions = consumer.partitions_for_topic(topic)
    if not partitions:
        raise TopicsError(f"Topic {topic} is not there: check the broker's address.")
    return len(partitions)


def _decoded(consumer: KafkaConsumer, part: TopicPartition, kind: type[Any]) -> Iterator[Any]:
    """The records of a partition up to now, but those without a value (a removed customer)."""
    decoder = msgspec.json.Decoder(kind)
    for record in _kept(consumer, part):
        try:
            if record.value:
                yield decoder.decode(record.value)
        except (ValueError, UnicodeError):
            # The worker made it a dead letter, or another program wrote it.
            continue


def _kept(consumer: KafkaConsumer, part: TopicPartition) -> Iterator[Any]:
    """The records that a partition still has, up to now."""
    first = consumer.beginning_offsets([part])[part]
    for records in _batches(consumer, part, first, consumer.end_offsets([part])[part]):
        yield from records


def _batches(
    consumer: KafkaConsumer, part: TopicPartition, first: int, end: int
) -> Iterator[list[Any]]:
    """The records of a partition from offset `first` up to, but not including, `end`."""
    consumer.assign([part])
    consumer.seek(part, first)
    empty = 0
    while (consumer.position(part) or 0) < end:
        polled = consumer.poll(timeout_ms=POLL_MS).get(part, [])
        empty = 0 if polled else empty + 1
        if empty > POLLS_WITHOUT_RECORDS_MAX:
            raise TopicsError(f"{part.topic}-{part.partition} gives no records: try again.")
        if records := [record for record in polled if record.offset < end]:
            yield records
