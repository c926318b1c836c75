"""What enforcement tells the broker: results, and committed offsets."""

import logging
from time import monotonic
from typing import Protocol

import msgspec
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import FencedInstanceIdError, KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition

from schemas.records import EnforcementResult
from schemas.topics import ACTIONS, ENFORCEMENT_RESULTS
from streams.enforce.store import Store
from streams.settings import EnforcementSettings

logger = logging.getLogger(__name__)

RESULTS_AT_ONCE = 1_000
CHECK_SECONDS = 3
"""Time between commits, s, by which a process notices that another one took over."""

SEND_SECONDS_MAX = 10
"""Results that are not delivered within this time, s, are sent again later."""


class Reports(Protocol):
    """Where results go."""

    def flush(self) -> bool:
        """Deliver unsent results.

        Returns
        -------
        Whether none is left.
        """
        ...

    def commit(self) -> None:
        """Commit the offsets before which every action is done."""
        ...

    def close(self) -> None:
        """End the connection to the broker."""
        ...


class KafkaReports(Reports):
    """Sends results to `enforcement.results` and commits offsets of `actions`.

    Parameters
    ----------
    settings
        The broker, and whether the producer is idempotent.
    store
        Holds the unsent results.
    consumer
        Reads the actions.
    """

    def __init__(
        self, settings: EnforcementSettings, store: Store, consumer: KafkaConsumer
    ) -> None:
        self._store = store
        self._consumer = consumer
        self._committed: dict[int, int] = {}
        self._check_at = 0.0
        self._producer = KafkaProducer(
            bootstrap_servers=settings.broker,
            acks="all",
            enable_idempotence=settings.idempotence,
            max_block_ms=SEND_SECONDS_MAX * 1_000,
            delivery_timeout_ms=SEND_SECONDS_MAX * 1_000,
            request_timeout_ms=SEND_SECONDS_MAX * 500,
        )

    def flush(self) -> bool:
        """Deliver unsent results.

        If one does not arrive, it is sent again together with all results after it, so that the
        last result of an action stays the last.
        """
        rows = self._store.unsent(RESULTS_AT_ONCE)
        arrived = None
        try:
            deliveries = [(number, self._send(result)) for number, result in rows]
            for number, delivery in deliveries:
                delivery.get(timeout=SEND_SECONDS_MAX)
                arrived = number
        except KafkaError as error:
            logger.warning("results can't be sent yet (%s)", type(error).__name__)
        if arrived is not None:
            with self._store.transaction():
                self._store.sent(arrived)
        return len(rows) < RESULTS_AT_ONCE and (not rows or arrived == rows[-1][0])

    def _send(self, result: EnforcementResult):
        return self._producer.send(
            ENFORCEMENT_RESULTS,
            key=result.customer_id.encode(),
            value=msgspec.json.encode(result),
        )

    def commit(self) -> None:
        """Commit up to the oldest action without a final result.

        A start continues from the position in the store. Commits show the lag to monitoring, and
        serve a start without the file; also, only a commit tells that another process took over.

        Raises
        ------
        FencedInstanceIdError
            Another process took over.
        """
        finished = self._store.finished()
        is_time = monotonic() >= self._check_at
        if not self._consumer.assignment() or not (is_time or finished != self._committed):
            return
        offsets = {
            TopicPartition(ACTIONS, number): OffsetAndMetadata(offset, "", -1)
            for number, offset in finished.items()
        }
        try:
            self._consumer.commit(offsets, timeout_ms=SEND_SECONDS_MAX * 1_000)
        except FencedInstanceIdError:
            raise
        except KafkaError as error:
            logger.warning("offsets can't be committed yet (%s)", type(error).__name__)
        else:
            self._committed = finished
            self._check_at = monotonic() + CHECK_SECONDS

    def close(self) -> None:
        """End the connection to the broker."""
        self._producer.close(timeout=SEND_SECONDS_MAX)


class NoReports(Reports):
    """Drops the results of a dry run.

    Parameters
    ----------
    store
        Holds the unsent results.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def flush(self) -> bool:
        """Drop unsent results."""
        rows = self._store.unsent(RESULTS_AT_ONCE)
        if rows:
            self._store.sent(rows[-1][0])
        return len(rows) < RESULTS_AT_ONCE

    def commit(self) -> None:
        """Commit nothing: a dry run leaves no trace."""

    def close(self) -> None:
        """Do nothing: no connection was opened."""
