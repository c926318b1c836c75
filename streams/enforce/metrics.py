"""The Prometheus metrics of enforcement."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class EnforcementMetrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"fairuse_enforce_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"fairuse_enforce_{name}", text, registry=registry)

        self.results = counter("results", "Results reported, those said again too", "status")
        self.bad_records = counter("bad_records", "Records that are no usable action")
        self.passed_over = counter("passed_over", "Actions that are another adapter's")
        self.held = counter("held", "Actions that a person still has to look at")
        self.retries = counter("retries", "Attempts that failed and will be made again")
        self.waiting = gauge("waiting_actions", "Accepted and not done yet")
        self.in_force = gauge("restrictions", "Restrictions in force")
        self.attempt = Histogram(
            "fairuse_enforce_attempt_seconds",
            "Time an adapter took for an instruction",
            buckets=BUCKETS,
            registry=registry,
        )

    def serve(self, host: str, port: int) -> None:
        """Answer `/metrics` from a thread of its own until the process ends.

        Parameters
        ----------
        host, port
            Where to listen.
        """
        start_http_server(port, addr=host, registry=self.registry)
