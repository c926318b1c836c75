"""One run: everything is measured on one broker and the same events, part after part."""

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.json as pj
import pyarrow.parquet as pq
from aiokafka.errors import KafkaError as AioKafkaError
from kafka.errors import KafkaError

from detectors.policies.editions import default_policy_path
from streams.broker.topics import TopicsError, create_topics
from streams.demo.embedded_broker import EmbeddedBrokerError, free_ports
from streams.files.parquet_events import arrow_schema
from tests.bench import latency, urgent
from tests.bench.brokers import Broker, started_broker
from tests.bench.children import Child, measured
from tests.bench.figures import BenchError, Figures, note
from tests.bench.plain_faust import TOPICS as PLAIN_TOPICS
from tests.bench.policies import EVERY, SIX, lowered, policy_of
from tests.bench.producing import publish
from tests.bench.scales import PARTITIONS, Scale
from tests.bench.traffic import Traffic, traffic
from tests.support.harness.kafka_cluster import KafkaClusterError

APP_ID = "bench-fairuse"
SEED, LOAD_SEED, BACKLOG_SEED = 1, 2, 3
PART_SECONDS_MAX = 120
REPLAYS = 3
"""Runs of a replay, whose middle one counts: what was just written to disk disturbs the first."""

FAULTS = (
    BenchError,
    EmbeddedBrokerError,
    KafkaClusterError,
    TopicsError,
    KafkaError,
    AioKafkaError,
)
"""What may go wrong outside this bench."""


class Suite:
    """A run of one scale; `failed` tells whether any part could not be measured.

    Measured is `part`: the worker with the six rules that plain Faust has too, or all rules, or the
    ladder alone.
    """

    def __init__(self, scale: Scale, *, part: str, embedded: bool, folder: Path) -> None:
        self.scale = scale
        self.embedded = embedded
        self.folder = folder
        self.port = free_ports(1)[0]
        self.failed = False
        self.rates: dict[str, float] = {}
        self.part = part
        self.every_rule = part == "rules"
        self.policy = policy_of(EVERY if self.every_rule else SIX, folder)
        context = {"rules": "all"} if self.every_rule else {}
        self.figures = Figures(
            events=scale.events, partitions=PARTITIONS, quick=scale.quick, **context
        )

    def run(self) -> None:
        """Measure every part; one that fails is told on standard error and left out."""
        if self.part == "ladder":
            self.attempt("ladder", self.ladder)
            return
        note(f"making {self.scale.events} events")
        self.events = traffic(SEED, self.scale.events, self.scale.customers)
        size = sum(map(len, self.events.values)) / self.scale.events
        self.figures.context |= {"customers": self.scale.customers, "event_bytes": round(size)}
        if self.every_rule:
            self.attempt("rules", self.rules)
        self.attempt("replay", self.replays)
        self.attempt("state", self.state)
        self.attempt("broker", self.on_broker)

    def attempt(self, part: str, measure: Callable[[], None]) -> None:
        """Measure one part."""
        note(part)
        try:
            measure()
        except FAULTS as error:
            self.failed = True
            note(f"{part}: {error}")

    def child(self, module: str, **told: Any) -> dict[str, Any]:
        """What a program of this bench measured."""
        return measured(module, told, self.log(module), PART_SECONDS_MAX)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    # -- without a broker -----------------------------------------------------------------------

    def rules(self) -> None:
        asked = {"events": self.scale.events, "customers": self.scale.customers}
        found = self.child("rule_costs", **asked, policy=str(self.policy))
        for each in found["rules"]:
            self.figures.put(
                "rule_ns_per_event",
                each["ns"],
                "ns",
                "numpy",
                rule=each["rule"],
                events=each["events"],
                findings=each["findings"],
            )

    def replays(self) -> None:
        ndjson, parquet = self.folder / "events.ndjson", self.folder / "events.parquet"
        ndjson.write_bytes(b"\n".join(self.events.values) + b"\n")
        as_columns = pj.ParseOptions(explicit_schema=arrow_schema())
        pq.write_table(pj.read_json(ndjson, parse_options=as_columns), parquet)
        for path in (ndjson, parquet):
            runs = [self._replayed(path) for _ in range(REPLAYS)]
            rates = [round(self.scale.events / run["seconds"]) for run in runs]
            self.figures.put(
                "replay_events_per_s",
                median(rates),
                "events/s",
                "msgspec",
                "numpy",
                "pyarrow",
                format=runs[0]["format"],
                findings=runs[0]["findings"],
                runs=rates,
            )
            path.unlink()

    def _replayed(self, path: Path) -> dict[str, Any]:
        found = self.child("replays", path=str(path), policy=str(self.policy))
        if found["events"] != self.scale.events:
            raise BenchError(f"{found['format']}: only {found['events']} events counted")
        return found

    def state(self) -> None:
        found = self.child(
            "state_size", customers=self.scale.state_customers, policy=str(self.policy)
        )
        rows, customers = found["rows"], found["customers"]
        self.figures.put("row_bytes", sum(rows.values()), "bytes", groups=rows)
        self.figures.put(
            "rss_bytes_per_customer",
            found["rss_bytes"] / customers,
            "bytes",
            "numpy",
            customers=customers,
            events=4 * customers,
        )

    def ladder(self) -> None:
        cases, measured = self.scale.cases, self.scale.cases // 20
        policy = str(default_policy_path())
        found = self.child("ladder_rate", customers=cases, measured=measured, policy=policy)
        if (found["restricted"], found["unmatched"]) != (measured, 0):
            raise BenchError(f"not every case went its way: {found}")
        for what, seconds in found["seconds"].items():
            self.figures.put(
                "ladder_per_s",
                measured / seconds,
                "records/s",
                "msgspec",
                what=what,
                events=measured,
                cases=found["cases"],
            )

    # -- with a broker --------------------------------------------------------------------------

    def on_broker(self) -> None:
        with started_broker(self.folder, embedded=self.embedded, quick=self.scale.quick) as broker:
            self.figures.context["broker"] = broker.name
            note("publishing")
            create_topics(broker.bootstrap, PARTITIONS, 1, APP_ID)
            asyncio.run(publish(broker.bootstrap, self.events))
            parts = [self.plain_faust, self.bare_aiokafka, self.librdkafka, self.worker]
            for part in [self.plain_faust, self.worker] if self.every_rule else parts:
                self.attempt(part.__name__, lambda part=part: part(broker))
            if "worker" in self.rates:
                self.attempt("ratios", self.ratios)
                self.attempt("restarted worker", lambda: self.restarted(broker))

    def rate(self, name: str, events: int, seconds: float, *packages: str, **context: Any) -> None:
        self.rates[name] = events / seconds
        self.figures.put(f"{name}_events_per_s", events / seconds, "events/s", *packages, **context)

    def plain_faust(self, broker: Broker) -> None:
        broker.create(PLAIN_TOPICS)
        found = self.child(
            "plain_faust",
            bootstrap=broker.bootstrap,
            settings={"datadir": str(self.folder / "plain"), **broker.faust_settings},
            warm_seconds=self.scale.warm_seconds,
            seconds=self.scale.plain_seconds,
        )
        count, seconds = found["events"], found["seconds"]
        self.rate("plain_faust", count, seconds, "faust-streaming", "aiokafka", sampled=count)

    def bare_aiokafka(self, broker: Broker) -> None:
        found = self.child("bare_aiokafka", bootstrap=broker.bootstrap, events=self.scale.events)
        self.rate("bare_aiokafka", self.scale.events, found["seconds"], "aiokafka")

    def librdkafka(self, broker: Broker) -> None:
        if importlib.util.find_spec("confluent_kafka") is None:
            note("librdkafka is left out: run `pip install 'fairuse[bench]'`")
            return
        found = self.child("bare_librdkafka", bootstrap=broker.bootstrap, events=self.scale.events)
        self.rate(
            "librdkafka",
            self.scale.events,
            found["seconds"],
            "confluent-kafka",
            librdkafka=found["librdkafka"],
        )

    def started_worker(self, broker: Broker, name: str, events: int, **more: Any) -> Child:
        """A worker of this run's consumer group, with an empty data folder."""
        settings = {
            "broker": broker.bootstrap,
            "app_id": APP_ID,
            "instance_id": "bench-1",
            "data_dir": str(self.folder / name),
            "port": self.port,
            "policy": str(self.policy),
            **broker.worker_settings,
            **more,
        }
        told = {"settings": settings, "events": events}
        return Child("measured_worker", told, self.log(name))

    def worker(self, broker: Broker) -> None:
        with self.started_worker(broker, "worker", self.scale.events) as child:
            child.says(PART_SECONDS_MAX)
            found = child.says(PART_SECONDS_MAX)
            self.check_committed(broker)
            child.stop()
        self.rate(
            "worker",
            self.scale.events,
            found["seconds"],
            "faust-streaming",
            "aiokafka",
            "msgspec",
            "numpy",
            checkpoints=found["checkpoints"],
            seconds_from_ready=found["seconds_from_ready"],
            seconds_from_first_batch=found["seconds_from_first_batch"],
        )

    def check_committed(self, broker: Broker) -> None:
        """All events are committed; the broker is not asked for ends, the embedded one errs."""
        committed = broker.committed(APP_ID)
        wanted = {(topic, n): len(rows) for topic, n, rows in self.events.queues()}
        behind = {tp: end for tp, end in wanted.items() if committed.get(tp) != end}
        if behind:
            raise BenchError(f"committed is {committed}, and should be {behind}")

    def ratios(self) -> None:
        for name in ("plain_faust", "bare_aiokafka", "librdkafka"):
            if name in self.rates:
                ratio = self.rates["worker"] / self.rates[name]
                self.figures.put(f"worker_vs_{name}_ratio", ratio, "ratio")

    def restarted(self, broker: Broker) -> None:
        """Recovery from the changelog, and then, in the worker that it made ready, latency."""
        note("making the load")
        per_s = min(int(self.rates["worker"] / 2), self.scale.loaded_per_s_max)
        load = traffic(
            LOAD_SEED,
            round(per_s * self.scale.latency_seconds),
            self.scale.customers,
            start_ms=latency.LOAD_START_MS,
            breaching=False,
        )
        policy = str(lowered(self.policy))
        with self.started_worker(broker, "restarted", -1, policy=policy) as child:
            found = child.says(PART_SECONDS_MAX)
            self.figures.put(
                "recovery_rows_per_s",
                found["rows"] / found["seconds"],
                "rows/s",
                "faust-streaming",
                "numpy",
                rows=found["rows"],
                seconds=found["seconds"],
                seconds_applying=found["seconds_applying"],
            )
            note("latency")
            self.latencies(broker, load, per_s)
            if self.every_rule:
                note("urgent")
                self.urgent(broker)

    def latencies(self, broker: Broker, load: Traffic, per_s: int) -> None:
        seconds = self.scale.latency_seconds
        measured = asyncio.run(latency.measure(broker.bootstrap, load, seconds))
        for percent in (50, 99):
            self.figures.put(
                f"latency_p{percent}_ms",
                measured.percentile_ms(percent),
                "ms",
                "faust-streaming",
                events=len(load),
                wanted_events_per_s=per_s,
                loaded_events_per_s=round(measured.loaded_per_s),
                actions=len(measured.seconds),
            )

    def urgent(self, broker: Broker) -> None:
        """A flood among everything else that has to be caught up with."""
        customers, start_ms = self.scale.customers, urgent.BACKLOG_START_MS
        backlog = traffic(
            BACKLOG_SEED, self.scale.events, customers, start_ms=start_ms, breaching=False
        )
        measured = asyncio.run(urgent.measure(broker.bootstrap, backlog))
        for percent in (50, 99):
            self.figures.put(
                f"ddos_latency_p{percent}_ms",
                measured.percentile_ms(percent),
                "ms",
                "faust-streaming",
                backlog_events=len(backlog),
                floods=len(measured.seconds),
            )


def run_suite(scale: Scale, *, part: str, embedded: bool, folder: Path) -> int:
    """Exit code of a run."""
    suite = Suite(scale, part=part, embedded=embedded, folder=folder)
    suite.run()
    return 1 if suite.failed else 0
