"""More text messages sent in a month than the unlimited offer allows."""

from typing import ClassVar

from detectors.periods.calendar import PeriodUnit
from detectors.rules.contract import Declaration
from detectors.rules.families.messages import Messages
from schemas.amounts import MESSAGES


class SmsMonthly(Messages):
    """Report the message that takes a customer's calendar month past the limit, once a month.

    What it catches: a steady stream below the daily limit that adds up.
    What it misses: the same number spread over two months.
    Delay: none, it is reported with the message that crosses.
    False alarms: none, the count is exact. Of 9,000 generated customers (62 days, seeds 1 to 3)
    nobody was wrongly found, nor of 579 students of the Copenhagen Networks Study.

    References
    ----------
    Clause base-mobile 6.3.3(ii).
    """

    name: ClassVar[str] = "sms_monthly"
    declaration: ClassVar[Declaration] = Declaration(
        section="Texts",
        services=("sms",),
        units=(MESSAGES,),
        what="texts sent in a month, unlimited offer",
        limit="{limit:,} messages",
        misses="the same number spread over two months",
    )
    calendar_unit: ClassVar[PeriodUnit] = "month"
