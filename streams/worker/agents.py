"""The two agents: the detect agent makes findings of usage; the ladder agent makes actions of
findings, enforcement results and decisions.
"""

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
"""The name under which a partition keeps its next offset of the topic of customers."""

LADDER_TOPICS = (FINDINGS, ENFORCEMENT_RESULTS, DECISIONS)
"""What the ladder agent reads."""

encoder = msgspec.json.Encoder()
customer_decoder = msgspec.json.Decoder(Customer)
LADDER_DECODERS: dict[str, msgspec.json.Decoder] = {
    FINDINGS: msgspec.json.Decoder(Finding),
    ENFORCEMENT_RESULTS: msgspec.json.Decoder(EnforcementResult),
    DECISIONS: msgspec.json.Decoder(Decision),
}


class BatchAgent:
    """An agent that folds batches, never while a checkpoint is cut; an error ends the worker.

    Parameters
    ----------
    table
        The shards that the batches are folded into.
    checkpointer
        Acknowledges folded batches.
    outbox
        Takes the records that result.
    metrics
        Counts what happens.
    clock
        The current time.
    """

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
        """Fold the batches of a stream; a checkpoint acknowledges them.

        Parameters
        ----------
        stream
            Faust's stream of fetched batches.
        """
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
        """Fold one fetched batch into a shard; records that the shard knows are left out.

        Parameters
        ----------
        shard
            The shard of the batch's partition.
        topic, partition
            Where the records come from.
        records
            At least one record, in the order of their offsets.
        """
        raise NotImplementedError

    def refuse(
        self, topic: str, partition: int, records: Sequence[Any], rejects: Sequence[Reject]
    ) -> None:
        """Write dead letters.

        Parameters
        ----------
        topic, partition
            Where the records come from.
        records
            A batch.
        rejects
            Which of its records cannot be used, and why.
        """
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
    """Reads usage and customers; writes findings, and partial sums of cohorts."""

    def take(self, shard: Shard, topic: str, partition: int, records: list[Any]) -> None:
        """Fold a batch of usage or of customers."""
        kind = CUSTOMERS_KIND if topic == CUSTOMERS else topic.removeprefix(USAGE_PREFIX)
        expected = shard.next_offset(kind)
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
            # Markers of transactions, or records that retention removed before they were read.
            self.metrics.missing.labels(kind).inc(missing)
            logger.warning("%s-%d: %d offsets are missing", topic, partition, missing)
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
        """Put findings and partial sums on their topics.

        Parameters
        ----------
        partition
            The usage partition; findings go to the same number.
        outcome
            What a batch led to.
        came_ms
            Unix time of the batch's oldest record; now if absent. It dates the findings, so that
            latency can be measured.
        """
        self.report(partition, outcome.findings, came_ms)
        for partial in outcome.partials:
            self.outbox.put(COHORT_AVERAGES, 0, *encode_partial(partial))

    def report(
        self, partition: int, findings: Sequence[Finding], came_ms: int | None = None
    ) -> None:
        """Put findings on their topic.

        Parameters
        ----------
        partition
            The usage partition; findings go to the same number.
        findings
            The findings.
        came_ms
            Unix time that dates them; now if absent.
        """
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
    """Reads findings, enforcement results and decisions; writes actions."""

    def take(self, shard: Shard, topic: str, partition: int, records: list[Any]) -> None:
        """Hand a batch of one topic to the ladder."""
        expected = shard.next_offset(topic)
        records = [record for record in records if record.offset >= expected]
        taken, offsets, rejects = [], [], []
        for number, record in enumerate(records):
            try:
                read = LADDER_DECODERS[topic].decode(record.value or b"")
            except (ValueError, UnicodeError) as error:
                rejects.append(Reject(number, "wrong_type", str(error)))
                continue
            if topic != FINDINGS and read.time_ms > record.timestamp + AHEAD_MS_MAX:
                # It would advance the customer's clock, past findings that are still to come.
                rejects.append(Reject(number, *AHEAD))
                continue
            taken.append(read)
            offsets.append(record.offset)
        ladder = shard.processor
        take = {
            FINDINGS: ladder.fold,
            ENFORCEMENT_RESULTS: ladder.result,
            DECISIONS: ladder.decided,
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
        """Let the ladder of a partition do what is due.

        Parameters
        ----------
        shard
            The ladder's shard.
        partition
            Number of the partition.
        now_ms
            Event time that the partition has reached.
        """
        actions = shard.processor.tick(now_ms)
        self.publish(partition, actions)
        if actions:
            shard.touched = True

    def publish(self, partition: int, actions: Sequence[Action]) -> None:
        """Put actions on their topic.

        Parameters
        ----------
        partition
            The partition of the findings; actions go to the same number.
        actions
            The actions.
        """
        for action in actions:
            self.outbox.put(ACTIONS, partition, action.customer_id.encode(), encoder.encode(action))
        for labels, count in Counter((action.rule, action.kind) for action in actions).items():
            self.metrics.actions.labels(*labels).inc(count)


def encode_partial(partial: CohortPartial) -> tuple[bytes, bytes]:
    """Encode one partition's sums of a closed period.

    Parameters
    ----------
    partial
        The sums.

    Returns
    -------
    Key and value of a record of `cohort-averages`.
    """
    key = f"{partial.rule}|{partial.period_start_ms}|{partial.partition}"
    return key.encode(), encoder.encode(partial)
