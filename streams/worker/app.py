"""The Faust app of a worker: its topics, tables, agents and services."""

import secrets
from functools import partial
from pathlib import Path
from typing import Any, cast

import faust
from faust.stores import STORES
from faust.transport.drivers import TRANSPORTS
from mode.supervisors import CrashingSupervisor

from detectors.fold.partition import Partition
from detectors.ladder.assumed_enforcement import AssumedEnforcement
from detectors.ladder.ladder import Ladder
from detectors.policies.editions import load_policy
from schemas.topics import CUSTOMERS, USAGE_PREFIX, USAGE_TOPICS
from streams.broker.lane import (
    BatchScheduler,
    LaneConsumer,
    LaneProducer,
    ReadingOrder,
    lane_topic,
)
from streams.broker.outbox import Outbox
from streams.broker.topics import CHANGELOG_BYTES_MAX
from streams.checkpoints.checkpoint import Checkpointer
from streams.checkpoints.snapshots import Snapshots
from streams.checkpoints.tables import ColumnTable
from streams.clock import wall_clock
from streams.metrics import Metrics
from streams.settings import WorkerSettings
from streams.worker.agents import (
    CUSTOMERS_KIND,
    LADDER_TOPICS,
    BatchAgent,
    DetectAgent,
    LadderAgent,
)
from streams.worker.cohort_feed import CohortFeed
from streams.worker.collector import calm_collector
from streams.worker.http import HttpServer
from streams.worker.idle_clock import IdleClock
from streams.worker.ladder_clock import LadderClock
from streams.worker.policy_feed import PolicyFeed
from streams.worker.status import WorkerStatus

FLOWS = USAGE_PREFIX + "flow"

TRANSPORTS.aliases["lane"] = "streams.broker.lane:LaneTransport"
STORES.aliases["columns"] = "streams.checkpoints.tables:ColumnStore"

READING_ORDER = ReadingOrder(
    leading=frozenset({CUSTOMERS}),
    urgent=frozenset({*LADDER_TOPICS, FLOWS}),
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
    metrics, outbox, snapshots = Metrics(), Outbox(wall_clock), Snapshots(settings)
    app.checkpointer = checkpointer = Checkpointer(app, outbox, settings, metrics, snapshots)

    # Called when Faust has recovered a table, and before any usage is read.
    async def taken_over(table: ColumnTable, partitions: list[int]) -> None:
        outbox.producer = cast(LaneProducer, app.producer).batches
        await policies.catch_up()
        policies.hand_over(table, partitions)
        if table is detect_table:
            cohorts.hand_over(partitions, table.partition_count())

    def new_partition(number: int) -> Partition:
        return Partition(number, policy, settings.dedup_entries_max)

    def new_ladder(number: int) -> Ladder:
        return Ladder(number, policy, enforcement)

    enforcement = AssumedEnforcement() if settings.assume_enforcement else None
    common = {
        "writer": secrets.randbits(32),
        "on_take_over": taken_over,
        "load_snapshot": snapshots.load,
    }
    make_table: Any = app.Table
    detect_table = make_table("detect", new_processor=new_partition, **common)
    ladder_table = make_table("ladder", new_processor=new_ladder, **common)
    usage = {topic.removeprefix(USAGE_PREFIX): topic for topic in USAGE_TOPICS}
    checkpointer.add_table(detect_table, usage | {CUSTOMERS_KIND: CUSTOMERS})
    checkpointer.add_table(ladder_table, {topic: topic for topic in LADDER_TOPICS})

    detect = DetectAgent(detect_table, checkpointer, outbox, metrics, wall_clock)
    ladder = LadderAgent(ladder_table, checkpointer, outbox, metrics, wall_clock)
    _add_agent(app, "detect", detect, *USAGE_TOPICS, CUSTOMERS)
    _add_agent(app, "ladder", ladder, *LADDER_TOPICS)

    tables = (detect_table, ladder_table)
    cohorts = CohortFeed(settings.broker, detect_table, checkpointer, detect.report)
    policies = PolicyFeed(settings.broker, policy, *tables, checkpointer, detect)
    idle = IdleClock(app, detect_table, detect, checkpointer, settings)
    ladder_clock = LadderClock(app, *tables, ladder, idle, cohorts)
    status = WorkerStatus(app, *tables, checkpointer, metrics)
    http = HttpServer(status, settings.host, settings.port)
    add_service: Any = app.service
    for service in (checkpointer, cohorts, policies, http, idle, ladder_clock):
        add_service(service)
    _checkpoint_before_release(app, checkpointer)
    calm_collector()
    return app


def _add_agent(app: FairUse, name: str, agent: BatchAgent, *topics: str) -> None:
    @app.agent(lane_topic(app, *topics), name=name)
    async def run(stream: Any) -> None:
        await agent.run(stream)


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


def _checkpoint_before_release(app: FairUse, checkpointer: Checkpointer) -> None:
    """Let a checkpoint be written before partitions are given up, and before the worker stops."""

    async def assigned(*args: Any, **kwargs: Any) -> None:
        cast(LaneConsumer, app.consumer).before_revoke = checkpointer.drain

    async def stopping(*args: Any, **kwargs: Any) -> None:
        await checkpointer.close()

    on_assigned: Any = app.on_partitions_assigned
    on_assigned.connect(assigned)
    on_shutdown: Any = app.on_before_shutdown
    on_shutdown.connect(stopping)
