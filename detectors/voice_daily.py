"""More calling in a day than the contract allows, and regularly so."""

from typing import ClassVar, Literal

from detectors.calls import CallTime


class VoiceDaily(CallTime):
    """Report the call that takes a customer's local day past the limit; midnight splits a call.

    What it catches: every day above the limit, and the days that make it "regularly". A day has 23,
    24 or 25 hours. Partial records of one call each add their own part.
    What it misses: a call counts when its record comes, not while it goes on.
    False alarms: none, the sum is exact; calls held at the same time both count.

    References
    ----------
    Clause base-mobile 6.3.3(iii).
    """

    name: ClassVar[str] = "voice_daily"
    calendar_unit: ClassVar[Literal["day", "week", "month"]] = "day"
