"""A consumer that joins its group again when the client library forgets to."""

import logging
from time import monotonic
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.structs import TopicPartition

logger = logging.getLogger(__name__)

JOIN_MS = 500
"""A poll waits at least this long, ms, while a join is under way and no record arrives."""

JOIN_SECONDS_MAX = 10
"""A join that has brought no partitions within this time, s, is begun again."""


class Member(KafkaConsumer, ConsumerRebalanceListener):
    """Joins its group, and joins again when the library lost a join.

    kafka-python 3.0.12 joins anew when it learns of new partitions. If the answer comes after the
    poll that asked, the library neither reads it nor asks again: the consumer then reads nothing
    more, commits nothing more and raises no error.
    """

    is_joining = False

    def join(self, topic: str) -> None:
        """Ask the group for partitions; the polls that follow complete the join.

        Parameters
        ----------
        topic
            The topic to read.
        """
        self._topic = topic
        self._begun()
        self.subscribe([topic], listener=self)

    def poll(
        self, timeout_ms: int = 0, max_records: int | None = None, update_offsets: bool = True
    ) -> dict[TopicPartition, list[Any]]:
        """Read new records, and wait longer while a join is under way."""
        if self.is_joining:
            timeout_ms = max(timeout_ms, JOIN_MS)
            if monotonic() - self._joining_since > JOIN_SECONDS_MAX:
                logger.warning("the group hands out no partitions, so it is joined again")
                self.unsubscribe()
                self.join(self._topic)
        return super().poll(timeout_ms, max_records, update_offsets)

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """A join begins."""
        self._begun()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """A join is over."""
        self.is_joining = False

    def _begun(self) -> None:
        self.is_joining = True
        self._joining_since = monotonic()
