"""What the rules about sent text messages share: each message once, as its first segment."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np

from detectors.rules.contract import Batch
from detectors.rules.families.counting import CountingParameters, CountingRule, Limit
from schemas.policy import LIVE, RuleParameters
from schemas.units import Ints


class MessagesParameters(CountingParameters, kw_only=True, frozen=True):
    """`limit` is the highest number of messages of a period that is still allowed."""

    limit: Annotated[Limit, LIVE]


class Messages(CountingRule):
    """Count the text messages that a customer sends in each period."""

    reads: ClassVar[tuple[str, ...]] = ("sms",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {"sms": ("is_sent_sms",)}
    Parameters: ClassVar[type[RuleParameters]] = MessagesParameters

    def pieces(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """A piece of amount one for each message that counts."""
        row = np.flatnonzero(batch.fields["is_sent_sms"])
        return row, self.periods.period_of(batch.time_ms[row]), np.ones(len(row), np.int64)
