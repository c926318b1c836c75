"""The Faust app: topics, tables, agents, and the services beside them.

`create_app` builds it for a worker; `streams/app.py` does for `faust -A streams.app worker`.
"""

import secrets
from functools import partial
from pathlib import Path
from typing import Any

import faust
from faust.stores import STORES
from faust.transport.drivers import TRANSPORTS
from mode.supervisors import CrashingSupervisor

from detectors.fold.partition import Partition
from detectors.ladder.assumed_enforcement import AssumedEnforcement
from detectors.ladder.ladder import Ladder
from detectors.policies.editions import load_policy
from schemas.topics import (
    CUSTOMERS,
    DECISIONS,
    ENFORCEMENT_RESULTS,
    FINDINGS,
    USAGE_PREFIX,
    USAGE_TOPICS,
)
from streams.broker.lane import BatchScheduler, ReadingOrder, lane_topic
from streams.broker.outbox import Outbox
from streams.broker.partitioner import partition_of
from streams.broker.topics import CHANGELOG_BYTES_MAX
from streams.checkpoints.checkpoint import Checkpointer
from streams.checkpoints.snapshots import Snapshots
from streams.checkpoints.tables import ColumnTable
from streams.clock import wall_clock
from streams.metrics import Metrics
from streams.settings import WorkerSettings
from streams.worker.agents import CUSTOMERS_KIND, DetectAgent, LadderAgent
from streams.worker.cohort_feed import CohortFeed
from streams.worker.collector import calm_collector
from streams.worker.http import HttpServer
from streams.worker.idle_clock import IdleClock
from streams.worker.ladder_clock import LadderClock
from streams.worker.policy_feed import PolicyFeed
from streams.worker.status import WorkerStatus

VERDICT_TOPICS = (FINDINGS, ENFORCEMENT_RESULTS, DECISIONS)
FLOWS = USAGE_PREFIX + "flow"

TRANSPORTS.aliases["lane"] = "streams.broker.lane:LaneTransport"
STORES.aliases["columns"] = "streams.checkpoints.tables:ColumnStore"


READING_ORDER = ReadingOrder(
    leading=frozenset({CUSTOMERS}),
    urgent=frozenset({*VERDICT_TOPICS, FLOWS}),
    paced=frozenset(USAGE_TOPICS) - {FLOWS},
)


class FairUse(faust.App):
    """A Faust app, with what the batch lane and the checkpoints need."""

    idempotence: bool
    """Whether the producer is idempotent."""
    reading_order: ReadingOrder
    checkpointer: Checkpointer


def create_app(settings: WorkerSettings) -> FairUse:
    """Build the app of one worker; it connects when it is started.

    Parameters
    ----------
    settings
        The worker's settings.

    Returns
    -------
    The app, with its agents, tables and services.

    Raises
    ------
    PolicyError
        The policy file cannot be used.
    """
    policy = load_policy(Path(settings.policy) if settings.policy else None)
    app = _faust_app(settings)
    metrics, outbox = Metrics(), Outbox(wall_clock)
    snapshots = Snapshots(settings)
    checkpointer = Checkpointer(app, outbox, settings, metrics, snapshots)
    writer = secrets.randbits(32)

    async def taken_over(table: ColumnTable, partitions: list[int]) -> None:
        outbox.producer = app.producer.batches
        await policies.catch_up()
        policies.hand_over(table, partitions)
        if table is detect_table:
            cohorts.partitions = table.partition_count()
            cohorts.hand_over(partitions)

    def table(name: str, new_processor: Any) -> ColumnTable:
        return app.Table(
            name,
            new_processor=new_processor,
            writer=writer,
            on_take_over=taken_over,
            load_snapshot=snapshots.load,
        )

    detect_table = table(
        "detect", lambda number: Partition(number, policy, settings.dedup_entries_max)
    )
    enforcement = AssumedEnforcement() if settings.assume_enforcement else None
    verdict_table = table("verdict", lambda number: Ladder(number, policy, enforcement))
    usage = {topic.removeprefix(USAGE_PREFIX): topic for topic in USAGE_TOPICS}
    checkpointer.add_table(detect_table, usage | {CUSTOMERS_KIND: CUSTOMERS})
    checkpointer.add_table(verdict_table, {topic: topic for topic in VERDICT_TOPICS})

    parts = (checkpointer, outbox, metrics, wall_clock)
    detect = DetectAgent(detect_table, *parts)
    judge = LadderAgent(verdict_table, *parts)

    @app.agent(lane_topic(app, *USAGE_TOPICS, CUSTOMERS), name="detect")
    async def detect_agent(stream: Any) -> None:
        await detect.run(stream)

    @app.agent(lane_topic(app, *VERDICT_TOPICS), name="verdict")
    async def verdict_agent(stream: Any) -> None:
        await judge.run(stream)

    cohorts = CohortFeed(settings.broker, detect_table, checkpointer, detect.report)
    policies = PolicyFeed(
        settings.broker, policy, detect_table, verdict_table, checkpointer, detect
    )
    app.checkpointer = checkpointer
    status = WorkerStatus(app, detect_table, verdict_table, checkpointer, metrics, partition_of)
    console = HttpServer(status, settings.host, settings.port)
    idle = IdleClock(app, detect_table, detect, checkpointer, settings)
    ticker = LadderClock(app, detect_table, verdict_table, judge, idle, cohorts)
    for service in (checkpointer, cohorts, policies, console, idle, ticker):
        app.service(service)
    _checkpoint_before_letting_go(app, checkpointer)
    calm_collector()
    return app


def _faust_app(settings: WorkerSettings) -> FairUse:
    brokers = [f"lane://{address.strip()}" for address in settings.broker.split(",")]
    app = FairUse(
        settings.app_id,
        broker=";".join(brokers),
        store="columns://",
        Table=ColumnTable,
        ConsumerScheduler=partial(BatchScheduler, READING_ORDER.urgent),
        agent_supervisor=CrashingSupervisor,
        web_enabled=False,
        canonical_url=f"http://{settings.host}:{settings.port}",
        datadir=settings.data_dir,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=settings.standbys,
        consumer_group_instance_id=settings.instance_id,
        consumer_max_fetch_size=settings.fetch_bytes_max,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=settings.session_timeout_seconds / 6,
        broker_rebalance_timeout=settings.rebalance_timeout_seconds,
        broker_request_timeout=max(90.0, settings.session_timeout_seconds),
        stream_buffer_maxsize=settings.queued_batches_max,
        stream_recovery_delay=0.0,
        producer_max_batch_size=settings.send_batch_bytes_max,
        producer_max_request_size=CHANGELOG_BYTES_MAX,
    )
    app.idempotence, app.reading_order = settings.idempotence, READING_ORDER
    return app


def _checkpoint_before_letting_go(app: FairUse, checkpointer: Checkpointer) -> None:
    @app.on_partitions_assigned.connect
    async def assigned(app: Any, assigned: Any, **kwargs: Any) -> None:
        app.consumer.before_revoke = checkpointer.drain

    @app.on_before_shutdown.connect
    async def stopping(app: Any, **kwargs: Any) -> None:
        await checkpointer.close()
