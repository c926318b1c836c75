"""More calling in a week than the contract allows, and regularly so."""

from typing import ClassVar, Literal

from detectors.calls import CallTime


class VoiceWeekly(CallTime):
    """Report the call that takes a customer's local week past the limit; weeks start on Monday.

    What it catches: every week above the limit, and the weeks that make it "regularly". A call over
    Sunday's midnight is split; the weeks in which the clocks change are an hour shorter or longer.
    What it misses: the same hours spread over two weeks; a call counts when its record comes.
    False alarms: none, the sum is exact; calls held at the same time both count.

    References
    ----------
    Clause base-mobile 6.3.3(iii).
    """

    name: ClassVar[str] = "voice_weekly"
    calendar_unit: ClassVar[Literal["day", "week", "month"]] = "week"
