"""More text messages sent in a month than the unlimited offer allows."""

from typing import ClassVar, Literal

from detectors.sms_daily import SmsDaily


class SmsMonthly(SmsDaily):
    """Report the message that takes a customer's calendar month past the limit, once a month.

    What it catches: a steady stream below the daily limit that adds up.
    What it misses: the same number spread over two months. False alarms: none, the count is exact.

    References
    ----------
    Clause base-mobile 6.3.3(ii).
    """

    name: ClassVar[str] = "sms_monthly"
    calendar_unit: ClassVar[Literal["day", "week", "month"]] = "month"
