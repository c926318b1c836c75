"""The two agents: one turns usage into findings, the other findings, answers and decisions into
actions."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from mode.utils.logging import get_logger

from detectors.fold.outcome import Outcome
from detectors.fold.provenance import Origin
from schemas.decode import AHEAD, AHEAD_MS_MAX, Reject, decode
from schemas.records import (
    Action,
    CohortPartial,
    Customer,
    Decision,
    EnforcementResult,
    Finding,
)
from schemas.topics import (
    ACTIONS,
    COHORT_AVERAGES,
    CUSTOMERS,
    DEAD_LETTERS,
    DECISIONS,
    ENFORCEMENT_RESULTS,
    FINDINGS,
    USAGE_PREFIX,
)
from streams.broker.outbox import Outbox
from streams.checkpoints.checkpoint import Checkpointer
from streams.checkpoints.tables import ColumnTable, Shard
from streams.clock import Clock
from streams.dead_letters import dead_letter
from streams.errors import end_worker
from streams.metrics import Metrics

logger = get_logger(__name__)

CUSTOMERS_KIND = "customers"
encoder = msgspec.json.Encoder()
customer_decoder = msgspec.json.Decoder(Customer)
VERDICT_DECODERS: dict[str, msgspec.json.Decoder] = {
    FINDINGS: msgspec.json.Decoder(Finding),
    ENFORCEMENT_RESULTS: msgspec.json.Decoder(EnforcementResult),
    DECISIONS: msgspec.json.Decoder(Decision),
}


class BatchAgent:
    """What both agents do with a batch: take turns with checkpoints, and end the worker on a
    fault."""

    def __init__(
        self,
        table: ColumnTable,
        checkpointer: Checkpointer,
        outbox: Outbox,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.table = table
        self.checkpointer = checkpointer
        self.outbox = outbox
        self.metrics = metrics
        self.clock = clock

    async def run(self, stream: Any) -> None:
        """Fold the batches of a stream; each is let go of by a checkpoint."""
        async for event in stream.noack().events():
            async with self.checkpointer.busy:
                if self.checkpointer.closed or not stream.app.flow_control.is_active():
                    continue
                try:
                    tp = event.message.tp
                    shard = self.table.shards.get(tp.partition)
                    if shard is None or not shard.active:
                        continue
                    self.take(shard, tp.topic, tp.partition, event.value)
                    self.checkpointer.folded(event, len(event.value))
                    await self.outbox.send()
                    if self.checkpointer.due:
                        await self.checkpointer.begin()
                except Exception as error:
                    end_worker(error)

    def take(self, shard: Shard, topic: str, partition: int, records: list[Any]) -> None:
        """Fold one fetched batch into a shard."""
        raise NotImplementedError

    def refuse(
        self, topic: str, partition: int, records: Sequence[Any], rejects: Sequence[Reject]
    ) -> None:
        """Keep the records that can't be used, and count them."""
        for reject in rejects:
            record = records[reject.record]
            letter = dead_letter(
                topic,
                partition,
                record.offset,
                record.key,
                record.value,
                reject.reason,
                reject.detail,
            )
            self.outbox.put(DEAD_LETTERS, partition, record.key, encoder.encode(letter))
        self.metrics.count_rejects(Counter(reject.reason for reject in rejects))


class DetectAgent(BatchAgent):
    """Usage and customers in, findings out."""

    def take(self, shard: Shard, topic: str, partition: int, records: list[Any]) -> None:
        """Fold a batch of one topic, leaving out what the shard already holds."""
        kind = CUSTOMERS_KIND if topic == CUSTOMERS else topic.removeprefix(USAGE_PREFIX)
        expected = shard.state.next_offset.get(kind, 0)
        if records[0].offset < expected:
            fresh = [record for record in records if record.offset >= expected]
            self.metrics.redelivered.labels(kind).inc(len(records) - len(fresh))
            records = fresh
        if not records:
            return
        if kind == CUSTOMERS_KIND:
            self._announce(shard, topic, partition, records)
        else:
            self._fold(shard, kind, topic, partition, records)
        shard.state.passed(kind, records[-1].offset)

    def _fold(
        self, shard: Shard, kind: str, topic: str, partition: int, records: list[Any]
    ) -> None:
        missing = records[0].offset - shard.state.next_offset.get(kind, records[0].offset)
        if missing > 0:
            # A transaction's markers, or records that retention took before they were read.
            self.metrics.missing.labels(kind).inc(missing)
            logger.warning("%s-%d: %d offsets are not there", topic, partition, missing)
        columns, rejects = decode(
            [record.value for record in records],
            np.array([record.offset for record in records], np.int64),
            np.array([record.timestamp for record in records], np.int64),
            [record.key for record in records],
            kind,
        )
        metrics = self.metrics
        for part in columns:
            outcome = shard.processor.fold(part, Origin(topic, partition))
            rejects += outcome.rejects(part)
            metrics.events.labels(kind).inc(outcome.counted)
            metrics.late.labels(kind).inc(outcome.late)
            metrics.duplicates.labels(kind).inc(outcome.duplicates)
            metrics.unannounced.inc(outcome.unannounced)
            self.publish(partition, outcome, records[0].timestamp)
        if rejects:
            self.refuse(topic, partition, records, rejects)

    def publish(self, partition: int, outcome: Outcome, came_ms: int | None = None) -> None:
        """Put findings on their topic, beside their customer's usage, and shares on theirs.

        `came_ms`, when the oldest record of the batch came, dates them: so latency can be measured.
        """
        self.report(partition, outcome.findings, came_ms)
        for partial in outcome.partials:
            self.outbox.put(COHORT_AVERAGES, 0, *encode_partial(partial))

    def report(
        self, partition: int, findings: Sequence[Finding], came_ms: int | None = None
    ) -> None:
        """Put findings on their topic."""
        for finding in findings:
            key = finding.customer_id.encode()
            self.outbox.put(FINDINGS, partition, key, encoder.encode(finding), came_ms)
            shadow = str(finding.shadow).lower()
            self.metrics.findings.labels(finding.rule, finding.level, shadow).inc()

    def _announce(self, shard: Shard, topic: str, partition: int, records: list[Any]) -> None:
        customers, rejects = [], []
        for number, record in enumerate(records):
            try:
                customers.append(customer_decoder.decode(record.value or b""))
            except (ValueError, UnicodeError) as error:
                rejects.append(Reject(number, "wrong_type", str(error)))
        shard.processor.announce(customers)
        self.refuse(topic, partition, records, rejects)


class LadderAgent(BatchAgent):
    """Findings, what became of actions, and what people decided in; actions out."""

    def take(self, shard: Shard, topic: str, partition: int, records: list[Any]) -> None:
        """Answer a batch of one topic, leaving out what the shard already answered."""
        expected = shard.state.next_offset.get(topic, 0)
        records = [record for record in records if record.offset >= expected]
        taken, offsets, rejects = [], [], []
        for number, record in enumerate(records):
            try:
                told = VERDICT_DECODERS[topic].decode(record.value or b"")
            except (ValueError, UnicodeError) as error:
                rejects.append(Reject(number, "wrong_type", str(error)))
                continue
            if topic != FINDINGS and told.time_ms > record.timestamp + AHEAD_MS_MAX:
                # It would move the customer's clock, and later findings count as of then.
                rejects.append(Reject(number, *AHEAD))
                continue
            taken.append(told)
            offsets.append(record.offset)
        verdicts = shard.processor
        take = {
            FINDINGS: verdicts.fold,
            ENFORCEMENT_RESULTS: verdicts.result,
            DECISIONS: verdicts.decided,
        }[topic]
        self.publish(partition, take(taken, offsets))
        if topic == FINDINGS:
            now_ms = self.clock()
            for record in records:
                self.metrics.latency.observe(max(0, now_ms - record.timestamp) / 1000)
        self.refuse(topic, partition, records, rejects)
        if records:
            shard.state.passed(topic, records[-1].offset)

    def tick(self, shard: Shard, partition: int, now_ms: int) -> None:
        """Do what is due by now."""
        actions = shard.processor.tick(now_ms)
        self.publish(partition, actions)
        if actions:
            shard.touched = True

    def publish(self, partition: int, actions: Sequence[Action]) -> None:
        """Put actions on their topic."""
        for action in actions:
            self.outbox.put(ACTIONS, partition, action.customer_id.encode(), encoder.encode(action))
        for labels, count in Counter((action.rule, action.kind) for action in actions).items():
            self.metrics.actions.labels(*labels).inc(count)


def encode_partial(partial: CohortPartial) -> tuple[bytes, bytes]:
    """Key and value of a partition's share of a closed period."""
    key = f"{partial.rule}|{partial.period_start_ms}|{partial.partition}"
    return key.encode(), encoder.encode(partial)
