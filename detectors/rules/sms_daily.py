"""More text messages sent in a day than the unlimited offer allows."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from detectors.rules.contract import Batch
from detectors.rules.families.counting import CountingParameters, CountingRule, Limit
from schemas.policy import RuleParameters
from schemas.units import Ints


class SmsParameters(CountingParameters, kw_only=True, frozen=True):
    """`limit` is the highest number of messages of a period that is still allowed."""

    limit: Limit


class SmsDaily(CountingRule):
    """Report the message that takes a customer's local day past the limit, once for each day.

    What it catches: any day above the limit, at the very message that crosses it.
    What it misses: the same number spread over midnight; a message whose first segment never came.
    Delay: none, it is reported with the message that crosses.
    False alarms: none, the count is exact. MMS and received messages do not count, and the segments
    of one message count once, as its first segment. Of 9,000 generated customers (62 days, seeds 1
    to 3) nobody was wrongly found, nor of 579 students of the Copenhagen Networks Study.

    References
    ----------
    Clause base-mobile 6.3.3(ii).
    """

    name: ClassVar[str] = "sms_daily"
    reads: ClassVar[tuple[str, ...]] = ("sms",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {"sms": ("is_sent_sms",)}
    Parameters: ClassVar[type[RuleParameters]] = SmsParameters
    calendar_unit: ClassVar[Literal["day", "week", "month"]] = "day"
    amount_unit: ClassVar[str] = "messages"

    def pieces(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """A piece of amount one for each message that counts."""
        row = np.flatnonzero(batch.fields["is_sent_sms"])
        return row, self.periods.period_of(batch.time_ms[row]), np.ones(len(row), np.int64)
