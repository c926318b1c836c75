"""The names of Faust, mode and aiokafka that `streams/` reaches into, held to the pinned versions.

Each case names the file here that breaks when Faust changes what it leans on. After an upgrade that
fails here: read the new code, mend the file, and only then this test.
"""

import ast
import asyncio
import inspect
import tomllib
from collections import defaultdict
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import aiokafka
import faust
import mode
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.fetcher import (
    READ_UNCOMMITTED,
    Fetcher,
    FetchResult,
    MemoryRecords,
    PartitionRecords,
)
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from aiokafka.structs import RecordMetadata
from faust.events import Event
from faust.stores import STORES
from faust.stores.base import Store
from faust.streams import Stream
from faust.tables.base import Collection
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.transport.consumer import ThreadDelegateConsumer
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP
from faust.types.stores import StoreT
from faust.types.tuples import ConsumerMessage
from mode.supervisors import CrashingSupervisor
from mode.utils.queues import FlowControlEvent

from streams.broker.in_step import InStep
from streams.broker.lane import (
    BATCHES_AT_ONCE,
    BatchScheduler,
    FetchedBatch,
    LaneConsumer,
    LaneConsumerThread,
    LaneProducer,
    LaneTransport,
    PlainRecords,
)
from streams.checkpoints.tables import ColumnStore, ColumnTable
from streams.settings import WorkerSettings
from streams.worker import app as app_module
from streams.worker.app import READING_ORDER, create_app
from tests.support.paths import ROOT

PINNED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}
LANE, OUTBOX = "streams/broker/lane.py", "streams/broker/outbox.py"
TABLES, CHECKPOINT = "streams/checkpoints/tables.py", "streams/checkpoints/checkpoint.py"
APP, COHORTS, AGENTS = (f"streams/worker/{name}.py" for name in ("app", "cohort_feed", "agents"))
STATE, IDLE, CONSOLE, WORKER = (
    f"streams/worker/{name}.py" for name in ("status", "idle_clock", "http", "process")
)
USAGE = TP("usage.sms", 3)


@pytest.fixture
def app(tmp_path):
    """The app of a worker, built and never started; no broker is asked."""
    with asyncio.Runner() as runner:
        built = create_app(WorkerSettings(data_dir=str(tmp_path)))
        built.loop = runner.get_loop()
        built.finalize()
        built.run_here = runner.run
        yield built


# -- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("package", "pinned"), PINNED.items())
def test_the_installed_version_is_the_one_that_was_read(package, pinned):
    assert pinned == version(package), f"install {package}=={pinned}, or read the new one first"


@pytest.mark.parametrize(("package", "pinned"), PINNED.items())
def test_the_project_asks_for_this_version_and_no_other(package, pinned):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    remedy = f'write "{package}=={pinned}" into pyproject.toml'
    assert f"{package}=={pinned}" in project["dependencies"], remedy


# -- names and signatures -------------------------------------------------------------------------

NAMES = [
    (LANE, driver.Consumer, "_add_gap", "async self tp offset_from offset_to"),
    (LANE, driver.Consumer, "_filter_tps_with_pending_acks", "self topics"),
    (LANE, driver.Consumer, "_filter_committable_offsets", "self tps"),
    (LANE, driver.Consumer, "_new_offset", "self tp"),
    (LANE, driver.Consumer, "_getmany", "async self active_partitions timeout"),
    (LANE, driver.Consumer, "_to_message", "self tp record"),
    (LANE, driver.Consumer, "ack", "self message"),
    (LANE, driver.Consumer, "stop_flow", "self"),
    (LANE, driver.Consumer, "on_partitions_revoked", "async self revoked"),
    (LANE, driver.Consumer, "assignment", "self"),
    (LANE, driver.Consumer, "highwaters", "async self *partitions"),
    (LANE, driver.Consumer, "position", "async self tp"),
    (LANE, driver.Producer, "_settings_extra", "self"),
    (LANE, driver.Producer, "_ensure_producer", "self"),
    (LANE, PartitionRecords, "_consumer_record", "self tp record"),
    (LANE, FetchResult, "has_more", "self"),
    (
        LANE,
        driver.AIOKafkaConsumerThread,
        "_fetch_records",
        "async self consumer active_partitions timeout max_records",
    ),
    (LANE, DefaultSchedulingStrategy, "iterate", "self records"),
    (LANE, faust.Schema, "loads_key", "self app message *, loads serializer"),
    (LANE, faust.Schema, "loads_value", "self app message *, loads serializer"),
    (LANE, FlowControlEvent, "suspend", "self"),
    (LANE, FlowControlEvent, "clear", "self"),
    (AGENTS, FlowControlEvent, "is_active", "self"),
    (AGENTS, Stream, "noack", "self"),
    (AGENTS, Stream, "events", "self"),
    (CHECKPOINT, Event, "ack", "self"),
    (CHECKPOINT, driver.Consumer, "commit", "async self topics start_new_transaction"),
    (CHECKPOINT, mode.Service, "sleep", "async self n"),
    (CHECKPOINT, mode.Service, "task", "fun"),
    (CONSOLE, mode.Service, "on_start", "async self"),
    (CONSOLE, mode.Service, "on_stop", "async self"),
    (STATE, driver.Consumer, "highwater", "self tp"),
    (IDLE, driver.Consumer, "highwater", "self tp"),
    (APP, faust.App, "service", "self cls"),
    (APP, faust.App, "on_init_extra_service", "async self service"),
    (TABLES, Store, "persisted_offset", "self tp"),
    (TABLES, Store, "set_persisted_offset", "self tp offset"),
    (TABLES, Store, "on_rebalance", "async self assigned revoked newly_assigned generation_id"),
    (TABLES, Store, "on_recovery_completed", "async self active_tps standby_tps"),
    (TABLES, StoreT, "apply_changelog_batch", "self batch to_key to_value"),
    (TABLES, StoreT, "reset_state", "self"),
    (TABLES, Table, "on_key_set", "self key value"),
    (TABLES, Table, "on_key_del", "self key"),
    (OUTBOX, AIOKafkaProducer, "create_batch", "self"),
    (OUTBOX, AIOKafkaProducer, "send_batch", "async self batch topic *, partition"),
    (OUTBOX, BatchBuilder, "append", "self *, timestamp key value headers"),
    (OUTBOX, BatchBuilder, "record_count", "self"),
    (COHORTS, AIOKafkaConsumer, "assign", "self partitions"),
    (COHORTS, AIOKafkaConsumer, "getmany", "async self *partitions timeout_ms max_records"),
    (LANE, driver.Producer, "on_start", "async self"),
    (WORKER, faust.Worker, "execute_from_commandline", "self"),
    (WORKER, faust.Worker, "start", "async self"),
]


@pytest.mark.parametrize(
    ("file", "owner", "name", "expected"),
    NAMES,
    ids=[f"{Path(file).stem}-{owner.__name__}.{name}" for file, owner, name, _ in NAMES],
)
def test_a_name_that_is_reached_into_is_there_and_takes_what_it_took(file, owner, name, expected):
    where = f"{owner.__module__}.{owner.__name__}.{name}"
    function = getattr(owner, name, None)
    assert function is not None, f"{where} is gone: {file} needs it"
    found = shape(function)
    assert expected == found, f"{where} was ({expected}), is now ({found}): look into {file}"


def shape(function):
    """Names of the parameters, `async` before them for a coroutine."""
    names, keyword_only = ["async"] if inspect.iscoroutinefunction(function) else [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names.append(f"*{parameter.name}")
            keyword_only = True
        elif parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            names += ["*,", parameter.name]
            keyword_only = True
        else:
            names.append(parameter.name)
    return " ".join(names)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (LANE, "_unacked_messages"),
        (LANE, "_committed_offset"),
        (LANE, "flow_active"),
        (LANE, "suspend_flow"),
        (LANE, "app"),
    ],
)
def test_a_consumer_has_what_is_used_of_it(app, file, name):
    assert hasattr(app.consumer, name), f"a consumer has no {name} any more: {file} needs it"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (LANE, "in_recovery"),
        (LANE, "rebalancing"),
        (LANE, "consumer_generation_id"),
        (LANE, "should_stop"),
        (LANE, "flow_control"),
        (APP, "on_partitions_assigned"),
        (APP, "on_before_shutdown"),
        (APP, "consumer"),
        (APP, "producer"),
        (APP, "transport"),
        (STATE, "assignor"),
    ],
)
def test_an_app_has_what_is_used_of_it(app, file, name):
    assert hasattr(app, name), f"an app has no {name} any more: {file} needs it"


def test_every_setting_the_app_is_given_is_one_that_faust_knows(app):
    """Faust takes a misspelt setting without a word."""
    known = set(app.conf.SETTINGS) | {"id"}
    (call,) = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(app_module)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "FairUse"
    ]
    given = {keyword.arg for keyword in call.keywords}
    assert len(given) > 15
    assert set() == given - known, f"{APP} gives settings that Faust has no more"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Table", ColumnTable),
        ("agent_supervisor", CrashingSupervisor),
        ("web_enabled", False),
        ("topic_allow_declare", False),
        ("topic_disable_leader", True),
        ("table_standby_replicas", 1),
        ("stream_recovery_delay", 0.0),
        ("processing_guarantee", "at_least_once"),
    ],
)
def test_a_setting_arrives_where_faust_reads_it(app, name, expected):
    found = getattr(app.conf, name)
    assert expected == getattr(found, "value", found), f"{APP} sets {name}"


# -- the lane -------------------------------------------------------------------------------------


def record(offset, value=b"{}"):
    """A record as aiokafka hands it over, as far as the lane looks."""
    return SimpleNamespace(offset=offset, timestamp=1_000, timestamp_type=0, value=value, key=b"7")


def test_the_scheme_of_the_broker_leads_to_the_lane(app):
    assert TRANSPORTS.by_url("lane://localhost") is LaneTransport, f"aliases: {APP}"
    assert isinstance(app.transport, LaneTransport)
    assert isinstance(app.consumer, LaneConsumer), f"Transport.Consumer: {LANE}"
    assert isinstance(app.producer, LaneProducer), f"Transport.Producer: {LANE}"
    assert isinstance(app.consumer.scheduler, BatchScheduler), f"ConsumerScheduler: {APP}"
    assert app.consumer.scheduler.urgent == READING_ORDER.urgent, f"ConsumerScheduler: {APP}"
    assert app.consumer._new_consumer_thread().order is READING_ORDER, LANE


def test_the_fetcher_makes_its_records_by_the_name_that_is_replaced():
    assert "PartitionRecords" in Fetcher._proc_fetch_request.__code__.co_names, LANE


def test_a_record_comes_as_it_was_parsed():
    builder = BatchBuilder(1 << 20, 0)
    for number in range(3):
        builder.append(timestamp=1_000 + number, key=b"7", value=b"%d" % number)
    batch = MemoryRecords(bytes(builder._build()))
    records = list(PlainRecords(USAGE, batch, [], 1, None, None, True, READ_UNCOMMITTED))
    assert [(r.offset, r.timestamp, r.key, r.value) for r in records] == [
        (1, 1_001, b"7", b"1"),
        (2, 1_002, b"7", b"2"),
    ]
    assert records[-1].timestamp_type == 0


def test_a_fetch_goes_on_as_one_batch_of_each_partition():
    other = TP("usage.data", 0)
    fetched = {USAGE: [record(7), record(9)], other: [record(1)], TP("customers", 0): []}
    batches = dict(BatchScheduler().iterate(fetched))
    assert {USAGE, other} == set(batches)
    assert (9, fetched[USAGE]) == (batches[USAGE].offset, batches[USAGE].value)


def test_what_is_urgent_goes_first():
    finding, other = TP("findings", 3), TP("usage.data", 0)
    fetched = {USAGE: [record(7)], finding: [record(0)], other: [record(1)]}
    scheduler = BatchScheduler(frozenset({"findings"}))
    assert [finding, USAGE, other] == [tp for tp, _ in scheduler.iterate(fetched)]


def test_a_few_batches_are_taken_at_once_and_all_that_is_urgent(app, monkeypatch):
    """`_fetch_records` names the partitions; those that were fetched first stand first."""
    asked = []

    async def fetch(self, consumer, active_partitions, **options):
        asked.append(active_partitions)
        return {}

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetch)
    finding, lost = TP("findings", 3), TP("usage.sms", 0)
    waiting = [TP("usage.data", n) for n in range(9)]
    fetched = dict.fromkeys([lost, *waiting, finding])
    thread = lane_thread(READING_ORDER)
    active = {*waiting, finding}
    for held in (fetched, {}):
        consumer = SimpleNamespace(
            _fetcher=SimpleNamespace(_records=held),
            _subscription=SimpleNamespace(subscription=None),
        )
        app.run_here(thread._fetch_records(consumer, active, timeout=1.0))
    assert [{finding, *waiting[:BATCHES_AT_ONCE]}, active] == asked, LANE


def test_a_kind_that_is_ahead_is_held_back_and_a_batch_is_cut_where_it_runs_ahead(app):
    """`FetchResult.getall` hands on as many as it is asked for, and keeps the rest."""
    day_ms = 86_400_000
    sms, voice, data = (TP(f"usage.{kind}", 0) for kind in ("sms", "voice", "data"))
    states = app.run_here(at_their_start({sms, voice, data}))
    states[data].highwater = 0
    assignment = SimpleNamespace(active=True, state_value=states.__getitem__, tps=set(states))
    times = {sms: (5 * day_ms,), voice: (0, day_ms, 3 * day_ms)}
    consumer = SimpleNamespace(
        _closed=False,
        _fetcher=object.__new__(Fetcher),
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)),
    )
    consumer._fetcher._closed = False
    consumer._fetcher._subscriptions = SimpleNamespace(
        fetch_context=nullcontext, reassignment_in_progress=False, is_assigned=states.__contains__
    )
    consumer._fetcher._wait_consume_future = None
    consumer._fetcher._records = {
        tp: FetchResult(tp, assignment=assignment, partition_records=parsed(tp, of_tp), backoff=0)
        for tp, of_tp in times.items()
    }
    thread = lane_thread(READING_ORDER)
    thread.consumer = SimpleNamespace(flow_active=True)

    def fetch():
        records = app.run_here(thread._fetch_records(consumer, set(states), timeout=0.0))
        return {tp.topic: [record.offset for record in of_tp] for tp, of_tp in records.items()}

    assert fetch() == {"usage.voice": [0, 1]}, LANE
    assert (states[voice].position, states[sms].position) == (2, 0)
    assert fetch() == {"usage.voice": [2]}
    states[voice].highwater = 9
    assert fetch() == {}
    states[voice].highwater = 3
    assert fetch() == {"usage.sms": [0]}


def test_of_what_comes_while_more_is_to_come_one_record_is_handed_on(app, monkeypatch):
    """The rest is looked at first: it may be far ahead of what is not there yet."""
    asked = []

    async def fetch(self, consumer, active_partitions, **options):
        asked.append(options)
        return {}

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetch)
    sms, voice = TP("usage.sms", 0), TP("usage.voice", 0)
    states = app.run_here(at_their_start({sms, voice}))
    assignment = SimpleNamespace(state_value=states.get)
    consumer = SimpleNamespace(
        _fetcher=SimpleNamespace(_records={}),
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)),
    )
    thread = lane_thread(READING_ORDER)
    for highwater in (None, 5, 0):
        states[sms].highwater, states[voice].highwater = highwater, 0
        app.run_here(thread._fetch_records(consumer, set(states), timeout=1.0))
    one = {"timeout": 1.0, "max_records": 1}
    assert asked == [one, one, {"timeout": 1.0}]


async def at_their_start(tps):
    """The states of partitions of which nothing was read."""
    states = {tp: TopicPartitionState(None) for tp in tps}
    for state in states.values():
        state.reset_to(0)
    return states


def lane_thread(order):
    """A consumer's thread that never runs."""
    thread = object.__new__(LaneConsumerThread)
    thread.order = order
    thread.pace = InStep()
    return thread


def parsed(tp, times):
    """What a fetch brought of a partition: one event at each of these times, from offset 0 on."""
    builder = BatchBuilder(1 << 20, 0)
    for time_ms in times:
        builder.append(timestamp=0, key=b"7", value=b'{"event_time_ms":%d}' % time_ms)
    batch = MemoryRecords(bytes(builder._build()))
    return PlainRecords(tp, batch, [], 0, None, None, True, READ_UNCOMMITTED)


def test_a_fetcher_keeps_what_it_fetched_by_partition_in_the_order_it_came():
    names = Fetcher.fetched_records.__code__.co_names
    assert "_records" in names, LANE
    assert "self._records = collections.OrderedDict()" in inspect.getsource(Fetcher), LANE


def test_faust_makes_a_message_of_a_batch(app):
    """`_to_message` reads nothing but what a FetchedBatch has."""
    records = [record(7), record(9)]
    message = app.consumer._to_message(USAGE, FetchedBatch(USAGE, records))
    assert (message.tp, message.offset, message.timestamp) == (USAGE, 9, 1.0), LANE
    assert records is message.value


def test_an_agent_gets_the_batch_as_it_was_fetched(app):
    """From message to event no codec touches the list."""
    records = [record(7), record(9)]
    topic = app.agents["detect"].channel
    message = app.consumer._to_message(USAGE, FetchedBatch(USAGE, records))
    event = app.run_here(topic.decode(message))
    assert records is event.value, f"Schema.loads_value: {LANE}"
    assert event.key is None


def test_only_what_a_checkpoint_covered_is_committed():
    """Acks say nothing: `cover` alone names offsets, and an older one is not committed again."""
    consumer = object.__new__(LaneConsumer)
    consumer.covered, consumer._committed_offset = {}, defaultdict(lambda: None)
    consumer._acked = {USAGE: [0, 1, 2]}

    def committable(topics=None):
        tps = consumer._filter_tps_with_pending_acks(topics)
        return consumer._filter_committable_offsets(tps)

    assert committable() == {}
    consumer.cover({USAGE: 2, TP("customers", 3): 0})
    assert {USAGE: 2, TP("customers", 3): 0} == committable()
    assert committable({"usage.sms"}) == {USAGE: 2}
    consumer._committed_offset[USAGE] = 2
    assert USAGE not in committable()
    consumer.cover({USAGE: 5})
    assert committable()[USAGE] == 5, f"_filter_committable_offsets: {LANE}"


def test_a_commit_asks_for_the_covered_offsets_and_those_only(app):
    """`commit` goes through `_filter_tps_with_pending_acks` and `_new_offset`, as overridden."""
    consumer, asked = app.consumer, []

    async def commit_offsets(offsets, start_new_transaction=True):
        asked.append(dict(offsets))
        return True

    consumer._commit_offsets = commit_offsets
    consumer.ack(message_of(app, 41))
    assert app.run_here(consumer.commit()) is False
    consumer.cover({USAGE: 40})
    assert app.run_here(consumer.commit()) is True, f"commit: {CHECKPOINT}"
    assert asked == [{USAGE: 40}], LANE


def test_a_gap_between_batches_is_not_counted_as_acked(app):
    app.run_here(app.consumer._add_gap(USAGE, 100, 299))
    assert dict(app.consumer._gap) == {}, LANE


def message_of(app, offset):
    return app.consumer._to_message(USAGE, FetchedBatch(USAGE, [record(offset)]))


def test_an_event_that_is_acked_reaches_the_consumer(app):
    """`event.ack()` -> `Message.ack` -> `Consumer.ack`, with the last reference only."""
    consumer, message = app.consumer, message_of(app, 41)
    assert isinstance(message, ConsumerMessage)
    message.incref(2)
    consumer._unacked_messages.add(message)
    event = Event(app, None, [], None, message)

    assert event.ack() is False
    assert event.ack() is True, f"Consumer.ack: {LANE}"

    assert message.acked
    assert set() == set(consumer._unacked_messages)
    assert consumer.ack(message) is False


def test_partitions_are_given_up_after_a_checkpoint_and_not_before(app):
    """What the consumer knows of them is still there when `before_revoke` runs."""
    consumer, order = app.consumer, []

    async def before_revoke():
        order.append(("checkpoint", consumer.flow_active, consumer._committed_offset[USAGE]))
        consumer.cover({USAGE: 9})

    async def told(revoked):
        order.append(("revoked", USAGE in consumer._committed_offset, dict(consumer.covered)))

    consumer.before_revoke, consumer._on_partitions_revoked = before_revoke, told
    consumer._committed_offset[USAGE] = 7
    app.run_here(consumer.on_partitions_revoked({USAGE}))
    assert order == [("checkpoint", False, 7), ("revoked", False, {USAGE: 9})], LANE
    assert consumer.covered == {}


def test_the_consumers_thread_asks_the_overridden_method():
    """The broker's callback arrives in another thread and is handed on to this very method."""
    source = inspect.getsource(ThreadDelegateConsumer.threadsafe_partitions_revoked)
    assert "self.on_partitions_revoked" in source, LANE


def test_fetching_stops_with_the_flow(app):
    app.consumer.resume_flow()
    app.consumer.stop_flow()
    assert app.consumer.flow_active is False
    assert app.consumer.suspend_flow.is_set(), f"stop_flow: {LANE}"


def test_customers_are_read_to_their_end_before_any_use(app, monkeypatch):
    """`_getmany` gets the leading partitions only, until their position is at their end."""
    consumer, leader = app.consumer, TP("customers", 3)
    positions, asked = {leader: 0}, []

    async def getmany(self, active_partitions, timeout):
        asked.append(active_partitions)
        return {}

    async def highwaters(*tps):
        return dict.fromkeys(tps, 5)

    async def position(tp):
        return positions[tp]

    monkeypatch.setattr(driver.Consumer, "_getmany", getmany)
    consumer.assignment = lambda: {USAGE, leader}
    consumer.highwaters, consumer.position = highwaters, position
    app.consumer_generation_id = 1
    for positions[leader] in (0, 4, 5):
        app.run_here(consumer._getmany({USAGE, leader}, 1.0))
    assert [{leader}, {leader}, {USAGE, leader}] == asked, LANE


@pytest.mark.parametrize("idempotence", [True, False])
def test_the_producer_asks_for_every_replica_and_for_idempotence(app, idempotence):
    """`_settings_extra` goes over the defaults when the aiokafka producer is made."""

    class Shown(LaneProducer):
        _producer_type = property(lambda self: lambda **settings: settings)

    app.idempotence = idempotence
    settings = Shown(app.transport)._new_producer()
    assert ("all", idempotence) == (settings["acks"], settings["enable_idempotence"]), LANE
    assert settings["max_batch_size"] == app.conf.producer_max_batch_size, OUTBOX
    assert settings["transactional_id"] is None


def test_a_producer_that_did_not_start_has_no_batches(app):
    with pytest.raises(Exception, match="not yet started"):
        _ = app.producer.batches


# -- tables ---------------------------------------------------------------------------------------


def test_the_scheme_of_the_store_leads_to_the_columns(app):
    assert STORES.by_url("columns://") is ColumnStore, f"aliases: {APP}"
    for name in ("detect", "ladder"):
        assert isinstance(app.tables[name], ColumnTable)
        assert isinstance(app.tables[name].data, ColumnStore), TABLES


def test_a_store_has_no_other_duties_than_the_ones_it_has_now():
    duties = {
        "__init__",
        "apply_changelog_batch",
        "backup_partition",
        "need_active_standby_for",
        "on_rebalance",
        "on_recovery_completed",
        "persisted_offset",
        "reset_state",
        "restore_backup",
        "set_persisted_offset",
    }
    own = {name for name in StoreT.__abstractmethods__ if name in vars(StoreT)}
    assert duties == own, f"the duties of a store changed: {TABLES}"
    assert frozenset() == ColumnStore.__abstractmethods__, TABLES


@pytest.mark.parametrize(
    "name", ["schema", "key_type", "value_type", "recovery_buffer_size", "name"]
)
def test_a_table_takes_the_parameter(name):
    taken = inspect.signature(Collection.__init__).parameters
    assert name in taken, f"Table has no parameter {name} any more: {TABLES}"


def test_a_table_hands_its_changelog_to_the_store_untouched(app):
    """Its own schema reads the changelog, in buffers of two batches; 1 means something else."""
    table, applied = app.tables["detect"], []
    assert table.recovery_buffer_size == 2
    assert "recovery_buffer_size == 1" in inspect.getsource(Recovery), TABLES
    assert table.schema is table.changelog_topic.schema, TABLES
    assert table.changelog_topic_name == "fairuse-detect-changelog"
    table.data.apply_changelog_batch = lambda batch, **_: applied.append(batch)
    table.apply_changelog_batch(["event"])
    assert applied == [["event"]], TABLES


def test_recovery_asks_the_store_where_it_stands(app):
    """Faust reads the changelog from the offset after `persisted_offset`, or from the beginning."""
    table = app.tables["ladder"]
    place = TP(table.changelog_topic_name, 0)
    assert table.persisted_offset(place) is None
    table.hold(0).changelog.position = 17
    assert table.persisted_offset(place) == 17, TABLES


@pytest.mark.parametrize("name", ["on_rebalance", "on_recovery_completed"])
def test_a_table_passes_on_to_its_store(name):
    assert f"self.data.{name}(" in inspect.getsource(getattr(Collection, name)), TABLES


def test_recovery_names_actives_and_standbys_of_each_table():
    source = inspect.getsource(Recovery.on_recovery_completed)
    assert "self.actives_for_table[table]" in source, TABLES
    assert "self.standbys_for_table[table]" in source, TABLES


def test_the_assignor_tells_who_holds_what(app):
    app.assignor._assigned_actives = None
    assert app.assignor.tables_metadata() == {}, f"tables_metadata: {STATE}"
    signature = inspect.signature(app.assignor.assigned_actives)
    assert list(signature.parameters) == [], f"assigned_actives: {TABLES}"


# -- services and agents --------------------------------------------------------------------------


def test_the_app_starts_services_that_are_made_already(app):
    """`app.service` is meant for classes; the checkpointer and its kind come as they are."""
    assert app.checkpointer in app._extra_services
    started = app.run_here(app.on_init_extra_service(app.checkpointer))
    assert app.checkpointer is started, f"service: {APP}"


def test_a_fault_of_an_agent_reaches_the_app(app):
    """A supervisor that restarts the agent would let go of the batch that failed."""
    for agent in app.agents.values():
        assert CrashingSupervisor is (agent.supervisor_strategy or app.conf.agent_supervisor), APP


def test_an_agent_lets_go_of_batches_by_hand(app):
    stream = app.stream(app.channel())
    assert stream.enable_acks
    by_hand = stream.noack()
    assert by_hand.enable_acks is False, f"noack: {AGENTS}"
    assert stream._next is by_hand


def test_signals_are_sent_to_the_functions_connected(app):
    """The checkpointer is told before partitions go and before the worker stops."""
    app.run_here(app.on_partitions_assigned.send({USAGE}))
    assert app.consumer.before_revoke == app.checkpointer.drain, APP


def test_a_worker_takes_the_options_it_is_given():
    taken = inspect.signature(faust.Worker.__init__).parameters
    for name in ("loglevel", "console_port", "quiet"):
        assert name in taken or "kwargs" in taken, f"{name}: {WORKER}"


# -- batches of aiokafka --------------------------------------------------------------------------


def new_batch():
    return BatchBuilder(400, 0, is_transactional=False)


def test_a_full_batch_takes_no_more_and_says_so():
    batch = new_batch()
    taken = 0
    while batch.append(key=b"7", value=bytes(50), timestamp=1_000) is not None:
        taken += 1
        assert taken < 100, f"append never returns None: {OUTBOX}"
    assert taken > 1
    assert taken == batch.record_count(), OUTBOX


def test_an_empty_batch_counts_no_record():
    assert new_batch().record_count() == 0, OUTBOX


def test_a_delivered_batch_tells_the_offset_of_its_first_record():
    """Holes between checkpoints are seen by it (streams/checkpoints/changelog.py)."""

    async def deliver():
        builder = new_batch()
        for _ in range(3):
            builder.append(key=b"7", value=b"1", timestamp=1_000)
        assert builder.record_count() == 3
        batch = MessageBatch(aiokafka.TopicPartition("t", 0), builder, 10, 0)
        batch.done(base_offset=41, timestamp=1_000, log_start_offset=0)
        return await batch.future

    delivered = asyncio.run(deliver())
    assert isinstance(delivered, RecordMetadata)
    assert delivered.offset == 41, CHECKPOINT


def test_a_producer_makes_batches_of_the_size_it_was_told():
    async def batch_of():
        producer = AIOKafkaProducer(bootstrap_servers="localhost:1", max_batch_size=400)
        return producer.create_batch()

    batch = asyncio.run(batch_of())
    assert batch.append(key=b"7", value=bytes(200), timestamp=1_000) is not None
    assert batch.append(key=b"7", value=bytes(200), timestamp=1_000) is None, OUTBOX
    assert batch.record_count() == 1


def test_a_first_record_larger_than_a_batch_still_finds_room():
    """The outbox opens a new batch for it and does not look again."""
    batch = new_batch()
    assert batch.append(key=b"7", value=bytes(4_000), timestamp=1_000) is not None, OUTBOX
