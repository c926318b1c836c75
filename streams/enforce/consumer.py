"""`fairuse enforce`: reads actions from Kafka, has them carried out, and reports the results."""

import logging
import signal
import sqlite3
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import FencedInstanceIdError, KafkaError
from kafka.structs import TopicPartition

from schemas.topics import ACTIONS
from streams.broker.topics import TopicsError, check_topics
from streams.clock import Clock, wall_clock
from streams.enforce.adapters.dry_run import DryRun
from streams.enforce.adapters.registry import adapter_of
from streams.enforce.enforcer import Enforcer
from streams.enforce.errors import EnforceError
from streams.enforce.member import Member
from streams.enforce.metrics import EnforcementMetrics
from streams.enforce.reports import KafkaReports, NoReports, Reports
from streams.enforce.store import Store
from streams.settings import EnforcementSettings

logger = logging.getLogger(__name__)

POLL_MS_MAX = 500
"""Longest wait of a poll, ms, and so for a stop to be noticed between two instructions."""

RECORDS_AT_ONCE = 500
INSTRUCTIONS_AT_ONCE = 16
"""Most instructions between two polls."""

REQUESTS_MAX = 4
"""How often an adapter waits for an answer, at most, while it carries out one instruction."""

SESSION_MS = 10_000
TIDY_SECONDS = 1


class Loop:
    """Polls, carries out actions and reports, until it is stopped.

    Parameters
    ----------
    consumer
        Reads the actions.
    enforcer
        Carries them out.
    reports
        Where results go.
    waiting_max
        While more actions than this wait, no new one is read; the number is checked once a second.
    clock
        The time.
    """

    def __init__(
        self,
        consumer: KafkaConsumer,
        enforcer: Enforcer,
        reports: Reports,
        waiting_max: int,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._enforcer = enforcer
        self._reports = reports
        self._waiting_max = waiting_max
        self._clock = clock
        self._tidy_at = 0.0
        self._full = False

    def run(self, stop: threading.Event) -> None:
        """Run until a stop, then report everything that was done.

        Parameters
        ----------
        stop
            Set to end the loop.
        """
        # An instruction that a crash interrupted may have reached the network. So it is finished
        # before a new action can call it off.
        self._work(stop)
        while not stop.is_set():
            self._tidy()
            # Results can't pile up: nothing new is begun before the last ones have arrived.
            delivered = self._reports.flush()
            # The commit fails if another process took over.
            self._reports.commit()
            self._take_in(delivered)
            if delivered:
                self._work(stop)
        self._reports.flush()
        self._reports.commit()

    def _tidy(self) -> None:
        if monotonic() >= self._tidy_at:
            self._full = self._enforcer.tidy() >= self._waiting_max
            self._tidy_at = monotonic() + TIDY_SECONDS

    def _take_in(self, delivered: bool) -> None:
        is_open = delivered and not self._full
        (self._consumer.resume if is_open else self._consumer.pause)(*self._consumer.assignment())
        wake_ms = self._enforcer.store.wake_ms()
        wait_ms = POLL_MS_MAX
        if delivered and wake_ms is not None:
            wait_ms = min(max(wake_ms - self._clock(), 0), POLL_MS_MAX)
        for records in self._poll(wait_ms).values():
            self._enforcer.take_in(records)

    def _poll(self, wait_ms: int) -> dict[TopicPartition, list[Any]]:
        """New records; none while the broker does not answer."""
        try:
            return self._consumer.poll(timeout_ms=wait_ms, max_records=RECORDS_AT_ONCE)
        except KafkaError as error:
            if not error.retriable:
                raise
            logger.warning("actions can't be read yet (%s)", type(error).__name__)
            sleep(POLL_MS_MAX / 1_000)
            return {}

    def _work(self, stop: threading.Event) -> None:
        for customer_id, partition in self._enforcer.due(INSTRUCTIONS_AT_ONCE):
            if stop.is_set():
                return
            self._enforcer.attend(customer_id, partition)


def run_enforce(settings: EnforcementSettings, dry_run: bool) -> None:
    """Carry out actions until the process gets SIGINT or SIGTERM.

    Parameters
    ----------
    settings
        The broker, the adapter and their limits.
    dry_run
        Print what would be done: work on a copy of the state, keep nothing and report nothing.

    Raises
    ------
    TopicsError
        The broker does not answer, or lacks topics.
    EnforceError
        The state file can't be written, another process took over, or Kafka failed.
    """
    adapter = adapter_of(settings, wall_clock)
    if problems := check_topics(settings.broker, settings.app_id):
        raise TopicsError("; ".join(problems))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    path = Path(settings.data_dir) / f"enforce-{settings.adapter}.sqlite"
    metrics = EnforcementMetrics()
    try:
        with _opened(path, dry_run) as store:
            enforcer = Enforcer(
                store,
                DryRun(adapter) if dry_run else adapter,
                wall_clock,
                attempts_max=settings.enforce_attempts_max,
                customers_max=settings.enforce_customers_max,
                metrics=metrics,
            )
            if dry_run:
                _rehearse(settings, enforcer, stop)
            else:
                serve_metrics(metrics, settings)
                _enforce(settings, enforcer, stop)
    except sqlite3.Error as error:
        raise EnforceError(
            f"{path} can't be written ({error}): make room or mend the disk, and start again."
        ) from error
    except FencedInstanceIdError:
        raise EnforceError(
            "another `fairuse enforce` with this adapter has taken over: run only one of them"
        ) from None
    except KafkaError as error:
        raise EnforceError(
            f"Kafka at {settings.broker} failed ({error}): "
            "look into the broker's log and start again"
        ) from error


def _opened(path: Path, dry_run: bool) -> Store:
    if not dry_run:
        return Store(path)
    if not path.exists():
        return Store(None)
    with Store(path) as store:
        return store.copy()


def serve_metrics(metrics: EnforcementMetrics, settings: EnforcementSettings) -> None:
    """Answer `/metrics`.

    Parameters
    ----------
    metrics
        The metrics.
    settings
        Host and port.

    Raises
    ------
    EnforceError
        The port is taken.
    """
    try:
        metrics.serve(settings.host, settings.port)
    except OSError as error:
        raise EnforceError(
            f"port {settings.port} of {settings.host} can't be used for /metrics "
            f"({error.strerror}): choose another --port"
        ) from None


def _enforce(settings: EnforcementSettings, enforcer: Enforcer, stop: threading.Event) -> None:
    name = f"{settings.app_id}-enforce-{settings.adapter}"
    seconds_max = INSTRUCTIONS_AT_ONCE * REQUESTS_MAX * settings.enforce_timeout_seconds
    consumer = Member(
        bootstrap_servers=settings.broker,
        group_id=name,
        # With a fixed instance id a restart gets its partitions back at once; a second process with
        # the same id takes them over, and the first one learns it at its next commit.
        group_instance_id=name,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_MS,
        max_poll_interval_ms=60_000 + int(seconds_max * 1_000),
    )
    reports = KafkaReports(settings, enforcer.store, consumer)
    try:
        _refuse_other_topic(consumer, enforcer.store)
        consumer.join(ACTIONS)
        logger.info("enforcing by %s, Ctrl-C ends it", settings.adapter)
        Loop(consumer, enforcer, reports, settings.enforce_waiting_max, wall_clock).run(stop)
        logger.info("ended; everything that was done is reported")
    finally:
        reports.close()
        consumer.close(autocommit=False)


def _rehearse(settings: EnforcementSettings, enforcer: Enforcer, stop: threading.Event) -> None:
    """Read outside of the consumer group, which belongs to the process that enforces."""
    consumer = KafkaConsumer(
        bootstrap_servers=settings.broker, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        _refuse_other_topic(consumer, enforcer.store)
        consumer.assign(_partitions(consumer))
        reports = NoReports(enforcer.store)
        Loop(consumer, enforcer, reports, settings.enforce_waiting_max, wall_clock).run(stop)
    finally:
        consumer.close()


def _partitions(consumer: KafkaConsumer) -> list[TopicPartition]:
    return [TopicPartition(ACTIONS, number) for number in consumer.partitions_for_topic(ACTIONS)]


def _refuse_other_topic(consumer: KafkaConsumer, store: Store) -> None:
    """Raise `EnforceError` if the stored position lies beyond the end: it is of another topic."""
    for part, end in consumer.end_offsets(_partitions(consumer)).items():
        if (store.position(part.partition) or 0) > end:
            raise EnforceError(
                f"partition {part.partition} of {ACTIONS} ends at {end}, before what was taken in: "
                f"if the topic was made anew, move {store.path} away and start again"
            )
