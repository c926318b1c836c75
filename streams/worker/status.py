"""What a worker tells about itself over HTTP."""

from collections import Counter
from collections.abc import Iterable
from time import monotonic
from typing import Any

from faust.types import TP

from streams.broker.partitioner import partition_of
from streams.checkpoints.checkpoint import Checkpointer
from streams.checkpoints.tables import ColumnTable
from streams.metrics import Metrics

EVERY_RULE = "every rule"

COUNTED = ("dropped", "retried", "drift", "unanswered", "unmatched")


class WorkerStatus:
    """Reads the state of a worker, and changes nothing but gauges.

    Parameters
    ----------
    app
        The Faust app.
    detect, ladder
        The detector partitions and the ladders.
    checkpointer
        Tells when the last commit was.
    metrics
        The gauges to set.
    """

    def __init__(
        self,
        app: Any,
        detect: ColumnTable,
        ladder: ColumnTable,
        checkpointer: Checkpointer,
        metrics: Metrics,
    ) -> None:
        self.app = app
        self.detect = detect
        self.ladder = ladder
        self.checkpointer = checkpointer
        self.metrics = metrics

    @property
    def ready(self) -> bool:
        """Whether this worker writes partitions and reads their input."""
        return (
            bool(self.detect.active()) and not self.app.rebalancing and not self.checkpointer.closed
        )

    @property
    def braked(self) -> list[str]:
        """The rules whose actions the brake holds back in any partition."""
        engaged = (shard.processor.alerts.engaged for shard in self.ladder.active().values())
        return sorted({rule or EVERY_RULE for rules in engaged for rule in rules})

    def standing(self, customer_id: str) -> dict[str, Any] | None:
        """Look a customer up in the partitions that this worker writes.

        Parameters
        ----------
        customer_id
            The customer.

        Returns
        -------
        The customer's numbers against every limit; None if no partition knows the customer.
        """
        for shard in self.detect.active().values():
            standing = shard.processor.standing(customer_id)
            if standing is not None:
                return standing
        return None

    def holder_of(self, customer_id: str) -> str | None:
        """Find the worker that writes a customer's partition.

        Parameters
        ----------
        customer_id
            The customer.

        Returns
        -------
        Its address, as a URL; None if it is this worker or unknown.
        """
        number = partition_of(customer_id.encode(), self.detect.partition_count())
        for url, topics in self.app.assignor.tables_metadata().items():
            held = topics.get(self.detect.changelog_topic_name, ())
            if number in held and url != str(self.app.conf.canonical_url):
                return str(url).rstrip("/")
        return None

    def policies(self) -> list[dict[str, Any]]:
        """List the policies in force in the partitions that this worker writes.

        Returns
        -------
        Name, version, since when, percent of customers and number of partitions of each.
        """
        held = Counter(
            (policy.name, policy.version, since_ms, share)
            for shard in self.detect.active().values()
            for policy, since_ms, share in shard.processor.policies_in_force()
        )
        names = ("name", "version", "since_ms", "share_percent", "partitions")
        return [dict(zip(names, (*of, n), strict=True)) for of, n in sorted(held.items())]

    def measure(self) -> None:
        """Set the gauges to the present state."""
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
        for tp, next_offset in self.checkpointer.positions():
            self._measure_lag(tp, next_offset)

    def _measure_ladder(self) -> None:
        metrics = self.metrics
        ladders = [shard.processor for shard in self.ladder.active().values()]
        alerts = [ladder.alerts for ladder in ladders]
        metrics.rows.labels("ladder").set(sum(ladder.dossier_count for ladder in ladders))
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
