"""How fast findings are answered while very many cases are open: the agent's own step, without a
broker. JSON in, JSON out, dossiers packed and alarms set."""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import msgspec

from detectors.ladder.ladder import Ladder
from detectors.policies.editions import load_policy
from schemas.ids import action_id, finding_id
from schemas.policy import Policy
from schemas.records import EnforcementResult, Finding, PolicyRef, Window
from schemas.topics import ENFORCEMENT_RESULTS, FINDINGS
from schemas.units import DAY_MS
from streams.checkpoints.changelog import Changelog
from streams.checkpoints.tables import Shard
from streams.clock import wall_clock
from streams.metrics import Metrics
from streams.worker.agents import LadderAgent
from streams.worker.collector import calm_collector
from tests.bench.children import say, told
from tests.bench.traffic import START_MS, customer_id

AT_ONCE = 500
RULE = "sms_daily"
UNBRAKED = 1 << 40

encode = msgspec.json.Encoder().encode


class Counted:
    """Takes what would be sent, and counts it."""

    def __init__(self) -> None:
        self.records = 0

    def put(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        self.records += 1


class Site:
    """A partition's ladder agent, its clock put to the time of the findings."""

    def __init__(self, policy: Policy) -> None:
        ladder = msgspec.structs.replace(
            policy.ladder, brake_actions_per_hour=UNBRAKED, brake_surge=UNBRAKED
        )
        self.policy = msgspec.structs.replace(policy, ladder=ladder)
        judged = Ladder(0, self.policy)
        self.shard = Shard(judged, Changelog(judged.state, 1), active=True)
        self.sent = Counted()
        table, checkpointer, outbox = (None, None, self.sent)
        self.judge = LadderAgent(table, checkpointer, outbox, Metrics(), wall_clock)  # type: ignore[arg-type]
        self.offsets = {FINDINGS: 0, ENFORCEMENT_RESULTS: 0}

    def tell(self, topic: str, values: list[bytes]) -> float:
        """Hand records over in batches; how long that took, seconds."""
        first, taken = self.offsets[topic], 0.0
        self.offsets[topic] += len(values)
        for start in range(0, len(values), AT_ONCE):
            records = [
                SimpleNamespace(offset=first + start + n, key=None, value=value, timestamp=START_MS)
                for n, value in enumerate(values[start : start + AT_ONCE])
            ]
            started = perf_counter()
            self.judge.take(self.shard, topic, 0, records)
            taken += perf_counter() - started
        return taken

    def findings(self, customers: range, days: int) -> list[bytes]:
        """A breach of each customer."""
        return [encode(self._finding(customer_id(number), days)) for number in customers]

    def _finding(self, customer: str, days: int) -> Finding:
        start_ms = START_MS + days * DAY_MS
        window = Window(kind="day", start_ms=start_ms, end_ms=start_ms + DAY_MS)
        policy = PolicyRef(name=self.policy.name, version=self.policy.version)
        inputs = [{"topic": "usage.sms", "partition": 0, "first_offset": 0, "last_offset": 400}]
        return Finding(
            finding_id=finding_id(RULE, customer, window, "breach", policy),
            rule=RULE,
            customer_id=customer,
            event_time_ms=start_ms + 1,
            level="breach",
            window=window,
            observed=351,
            limit=350,
            unit="messages",
            policy=policy,
            shadow=False,
            evidence={"inputs": inputs, "observed": 351, "limit": 350},
        )

    def delivered(self, customers: range) -> Iterator[bytes]:
        """That each customer's notice arrived."""
        for number in customers:
            customer = customer_id(number)
            first = self._finding(customer, 0)
            yield encode(
                EnforcementResult(
                    action_id=action_id("notify", first.finding_id, 0),
                    customer_id=customer,
                    status="delivered",
                    time_ms=START_MS + 2,
                )
            )


def main(customers: int, measured: int, policy: str) -> None:
    """Open a case for each customer, then say how fast the last and the next findings went."""
    calm_collector()
    site = Site(load_policy(Path(policy)))
    for start in range(0, customers - measured, measured):
        site.tell(FINDINGS, site.findings(range(start, start + measured), 0))
    some = range(customers - measured, customers)
    seconds = {"first": site.tell(FINDINGS, site.findings(some, 0))}
    seconds["answer"] = site.tell(ENFORCEMENT_RESULTS, list(site.delivered(some)))
    seconds["again"] = site.tell(FINDINGS, site.findings(some, 1))
    before = site.sent.records
    seconds["restricting"] = site.tell(FINDINGS, site.findings(some, 5))
    say(
        seconds=seconds,
        cases=site.shard.processor.dossier_count,
        restricted=site.sent.records - before,
        unmatched=site.shard.processor.alerts.unmatched,
    )


if __name__ == "__main__":
    main(**told())
