"""A consumer that stays in its group."""

import logging
from time import monotonic
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition

logger = logging.getLogger(__name__)

JOIN_MS = 500
"""A poll waits for so long, at least, while a join is under way and no record arrives."""

JOIN_SECONDS_MAX = 10
"""A join that brought no partitions by then is begun again."""


class Member(KafkaConsumer, ConsumerRebalanceListener):
    """Joins its group, and again when a join was forgotten.

    When kafka-python 3.0.12 learns of new partitions it joins anew; if the answer comes after the
    poll that asked, it is never looked at and never asked for again: the consumer reads nothing
    more, commits nothing more and raises no error.
    """

    is_joining = False

    def join(self, topic: str) -> None:
        """Ask the group for partitions; the polls that follow see it through."""
        self._topic = topic
        self._begun()
        self.subscribe([topic], listener=self)

    def poll(self, timeout_ms: float = 0, **limits: Any) -> dict[TopicPartition, list[Any]]:
        """New records, as the base class does; waits longer while a join is under way."""
        if self.is_joining:
            timeout_ms = max(timeout_ms, JOIN_MS)
            if monotonic() - self._joining_since > JOIN_SECONDS_MAX:
                logger.warning("the group hands out no partitions, so it is joined again")
                self.unsubscribe()
                self.join(self._topic)
        return super().poll(timeout_ms, **limits)

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """A join begins."""
        self._begun()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """A join is over."""
        self.is_joining = False

    def _begun(self) -> None:
        self.is_joining = True
        self._joining_since = monotonic()
