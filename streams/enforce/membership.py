"""The consumer's place in its group."""

import logging
from time import monotonic

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition

from streams.topics import ACTIONS

logger = logging.getLogger(__name__)

JOIN_MS = 500
"""A poll waits so long, at most, for a join that is under way."""

JOIN_SECONDS_MAX = 10
"""A join without partitions by then is begun again."""


class Membership(ConsumerRebalanceListener):
    """Has a consumer join its group, and join it again when a join was forgotten.

    When kafka-python 3.0.12 learns of new partitions it joins again; if that outlives the poll
    that began it, the consumer neither looks at the answer nor asks anew, and reads nothing more.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._joining_since = 0.0
        self.is_joining = False

    def join(self) -> None:
        """Ask for the partitions of `actions`; polls see it through."""
        self._begun()
        self._consumer.subscribe([ACTIONS], listener=self)

    def poll_ms(self, wait_ms: int) -> int:
        """How long the next poll has to last, if it were for nothing else but `wait_ms`.

        It ends earlier when records arrive.
        """
        return max(wait_ms, JOIN_MS) if self.is_joining else wait_ms

    def see_through(self) -> None:
        """After a poll: join again if the last join has come to nothing."""
        if self.is_joining and monotonic() - self._joining_since > JOIN_SECONDS_MAX:
            logger.warning("the group hands out no partitions, so it is joined again")
            self._consumer.unsubscribe()
            self.join()

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """A join begins."""
        self._begun()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """A join is over."""
        self.is_joining = False

    def _begun(self) -> None:
        self._joining_since = monotonic()
        self.is_joining = True
