"""What the console asks a worker."""

from collections import Counter
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from faust.types import TP

from detectors.fold.partition import Partition
from streams.checkpoints.checkpoint import Checkpointer
from streams.checkpoints.tables import ColumnTable
from streams.metrics import Metrics

EVERY_RULE = "every rule"

COUNTED = ("dropped", "retried", "drift", "unanswered", "unmatched")


class WorkerStatus:
    """One worker's tables and figures, for those who only look."""

    def __init__(
        self,
        app: Any,
        detect: ColumnTable,
        verdict: ColumnTable,
        checkpointer: Checkpointer,
        metrics: Metrics,
        partition_of: Callable[[bytes, int], int],
    ) -> None:
        self.app = app
        self.detect = detect
        self.verdict = verdict
        self.checkpointer = checkpointer
        self.metrics = metrics
        self.partition_of = partition_of

    @property
    def ready(self) -> bool:
        """Whether partitions are held and events flow."""
        return (
            bool(self.detect.active()) and not self.app.rebalancing and not self.checkpointer.closed
        )

    @property
    def braked(self) -> list[str]:
        """The rules whose actions the brake holds back somewhere."""
        engaged = (shard.state.alerts.engaged for shard in self.verdict.active().values())
        return sorted({rule or EVERY_RULE for rules in engaged for rule in rules})

    def standing(self, customer_id: str) -> dict[str, Any] | None:
        """Where a customer stands, if one of the partitions held here knows them."""
        for shard in self.detect.active().values():
            standing = shard.state.standing(customer_id)
            if standing is not None:
                return standing
        return None

    def holder_of(self, customer_id: str) -> str | None:
        """Address of the worker that holds the customer's partition, if it is another one."""
        number = self.partition_of(customer_id.encode(), self.detect.partition_count())
        for url, topics in self.app.assignor.tables_metadata().items():
            held = topics.get(self.detect.changelog_topic_name, ())
            if number in held and url != str(self.app.conf.canonical_url):
                return str(url).rstrip("/")
        return None

    def policies(self) -> list[dict[str, Any]]:
        """What holds in the partitions held here: since when, for whom, and in how many of them."""
        held = Counter(
            (policy.name, policy.version, since_ms, share)
            for shard in self.detect.active().values()
            for policy, since_ms, share in shard.state.policies_in_force()
        )
        names = ("name", "version", "since_ms", "share_percent", "partitions")
        return [dict(zip(names, (*of, n), strict=True)) for of, n in sorted(held.items())]

    def measure(self) -> None:
        """Bring the gauges up to date."""
        metrics = self.metrics
        metrics.commit_age.set(monotonic() - self.checkpointer.committed)
        shards = self.detect.active()
        states = [shard.state for shard in shards.values()]
        metrics.rows.labels("detect").set(sum(state.directory.size for state in states))
        columns = [
            column for s in states for g in s.groups.values() for column in g.columns.values()
        ]
        metrics.state_bytes.labels("detect").set(sum(column.nbytes for column in columns))
        metrics.policies.clear()
        for held in self.policies():
            labels = (held["name"], held["version"], held["share_percent"])
            metrics.policies.labels(*labels).inc(held["partitions"])
        self._measure_ladder()
        for what, count in evicted(states).items():
            metrics.evicted.labels(what).set(count)
        for rule, count in kept(states).items():
            metrics.kept.labels(rule).set(count)
        for number, shard in shards.items():
            for kind, watermark_ms in shard.state.watermark_ms.items():
                metrics.watermark.labels(kind, number).set(watermark_ms / 1000)
        for table, topics in self.checkpointer.tables.values():
            for number, shard in table.active().items():
                for kind, topic in topics.items():
                    self._measure_lag(TP(topic, number), shard.state.next_offset.get(kind, 0))

    def _measure_ladder(self) -> None:
        metrics = self.metrics
        states = [shard.state for shard in self.verdict.active().values()]
        alerts = [state.alerts for state in states]
        metrics.rows.labels("verdict").set(sum(len(state.cases) for state in states))
        engaged = Counter(rule or EVERY_RULE for each in alerts for rule in each.engaged)
        held: Counter[str] = Counter()
        for each in alerts:
            held.update(each.held)
        for gauge, by_rule in ((metrics.brake, engaged), (metrics.held, held)):
            gauge.clear()
            for rule, count in by_rule.items():
                gauge.labels(rule).set(count)
        for what in COUNTED:
            metrics.ladder.labels(what).set(sum(getattr(each, what) for each in alerts))

    def _measure_lag(self, tp: TP, next_offset: int) -> None:
        end = self.app.consumer.highwater(tp) if tp in self.app.consumer.assignment() else None
        if end is not None:
            self.metrics.lag.labels(tp.topic, tp.partition).set(max(0, end - next_offset))


def evicted(states: Iterable[Partition]) -> Counter[str]:
    """What partitions forgot early for lack of room: entries by what they are."""
    counts: Counter[str] = Counter()
    for state in states:
        counts["event ids"] += sum(held.evicted for held in state.duplicates.values())
        counts["correctable events"] += sum(held.evicted for held in state.ledgers.values())
        for name, rule in state.rules.items():
            counts[name] += getattr(rule, "evicted", 0)
    return counts


def kept(states: Iterable[Partition]) -> Counter[str]:
    """Corrected events that stay counted, by rule: too little was left of their siblings."""
    counts: Counter[str] = Counter()
    for state in states:
        counts.update({name: getattr(rule, "kept", 0) for name, rule in state.rules.items()})
    return counts
