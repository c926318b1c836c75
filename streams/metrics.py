"""Prometheus metrics: they count events, not batches, and each label has few possible values."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.dead_letters import POLICY_REASON

REASONS = frozenset(
    {
        "amount_out_of_range",
        "correction",
        "empty",
        "missing_field",
        "negative_amount",
        "not_json",
        "oversized",
        POLICY_REASON,
        "string_length",
        "time_out_of_range",
        "too_late",
        "unknown_type",
        "unknown_value",
        "wrong_key",
        "wrong_topic",
        "wrong_type",
    }
)
"""Every reason of a dead letter, and all values of that label."""

LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The metrics of one worker, in their own registry."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"fairuse_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"fairuse_{name}", text, labels, registry=registry)

        self.events = counter("events", "Usage events counted", "kind")
        self.duplicates = counter("duplicates", "Events seen before and not counted again", "kind")
        self.late = counter("late", "Events behind the watermark that still counted", "kind")
        self.redelivered = counter("redelivered", "Events read again after a restart", "kind")
        self.missing = counter("missing_offsets", "Offsets passed over between two batches", "kind")
        self.dead_letters = counter("dead_letters", "Records that could not be used", "reason")
        self.unannounced = counter("unannounced_customers", "Customers under the default plan")
        self.evicted = gauge(
            "remembered_evicted", "Entries forgotten early for lack of room", "what"
        )
        self.kept = gauge(
            "corrections_kept", "Corrected events that a rule could not take back", "rule"
        )
        self.findings = counter("findings", "Findings written", "rule", "level", "shadow")
        self.policies = gauge(
            "policy_partitions",
            "Partitions in which a policy is in force, for this percentage of customers",
            *("policy", "version", "share_percent"),
        )
        self.actions = counter("actions", "Actions written", "rule", "kind")
        self.lag = gauge("lag_events", "Records not processed yet", "topic", "partition")
        self.watermark = gauge(
            "watermark_seconds", "Newest event time seen, Unix time", "kind", "partition"
        )
        self.commit_age = gauge("commit_age_seconds", "Time since the newest commit")
        self.checkpoint = Histogram(
            "fairuse_checkpoint_seconds",
            "Time a checkpoint took",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.rows = gauge("state_rows", "Customers held", "table")
        self.state_bytes = gauge("state_bytes", "Bytes of customers' columns held", "table")
        self.rows_written = counter("changelog_rows", "Rows written to changelogs", "table")
        self.brake = gauge(
            "brake_engaged", "Partitions in which the brake holds a rule's actions back", "rule"
        )
        self.held = gauge("held_actions", "Actions that the brake holds back", "rule")
        self.ladder = gauge(
            "ladder_alerts", "What the ladder did not expect, since the start", "what"
        )
        self.latency = Histogram(
            "fairuse_action_latency_seconds",
            "From the record of the event to the action sent",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )

    def count_rejects(self, reasons: Mapping[str, int]) -> None:
        """Count dead letters.

        Parameters
        ----------
        reasons
            How many dead letters have each reason; an unknown reason counts as `wrong_type`.
        """
        for reason, number in reasons.items():
            self.dead_letters.labels(reason if reason in REASONS else "wrong_type").inc(number)
