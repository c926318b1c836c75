"""What the console asks a worker."""

from collections import Counter
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from faust.types import TP

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
        engaged = (shard.processor.alerts.engaged for shard in self.verdict.active().values())
        return sorted({rule or EVERY_RULE for rules in engaged for rule in rules})

    def standing(self, customer_id: str) -> dict[str, Any] | None:
        """Where a customer stands, if one of the partitions held here knows them."""
        for shard in self.detect.active().values():
            standing = shard.processor.standing(customer_id)
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
            for policy, since_ms, share in shard.processor.policies_in_force()
        )
        names = ("name", "version", "since_ms", "share_percent", "partitions")
        return [dict(zip(names, (*of, n), strict=True)) for of, n in sorted(held.items())]

    def measure(self) -> None:
        """Bring the gauges up to date."""
        metrics = self.metrics
        metrics.commit_age.set(monotonic() - self.checkpointer.committed)
        shards = self.detect.active()
        gauges = {number: shard.processor.gauges for number, shard in shards.items()}
        metrics.rows.labels("detect").set(sum(each.customers for each in gauges.values()))
        metrics.state_bytes.labels("detect").set(sum(g.state_bytes for g in gauges.values()))
        metrics.policies.clear()
        for held in self.policies():
            labels = (held["name"], held["version"], held["share_percent"])
            metrics.policies.labels(*labels).inc(held["partitions"])
        self._measure_ladder()
        for what, count in _total(each.evicted for each in gauges.values()).items():
            metrics.evicted.labels(what).set(count)
        for rule, count in _total(each.kept for each in gauges.values()).items():
            metrics.kept.labels(rule).set(count)
        for number, each in gauges.items():
            for kind, watermark_ms in each.watermark_ms.items():
                metrics.watermark.labels(kind, number).set(watermark_ms / 1000)
        for table, topics in self.checkpointer.tables.values():
            for number, shard in table.active().items():
                for kind, topic in topics.items():
                    self._measure_lag(TP(topic, number), shard.state.next_offset.get(kind, 0))

    def _measure_ladder(self) -> None:
        metrics = self.metrics
        ladders = [shard.processor for shard in self.verdict.active().values()]
        alerts = [ladder.alerts for ladder in ladders]
        metrics.rows.labels("verdict").set(sum(ladder.dossier_count for ladder in ladders))
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


def _total(counts: Iterable[Counter[str]]) -> Counter[str]:
    """The sum of counts; it keeps what is 0."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total
