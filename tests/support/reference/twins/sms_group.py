"""Recipients of one message, in any window."""

from schemas.events import Sms
from tests.support.reference import naive
from tests.support.strategies.drawing import MINUTE_MS, choices, events_of

LOW = {"recipients": 2, "length_seconds": 180, "retention_hours": 1}


class Twin(naive.Distinct):
    """A set of recipients for each message."""

    name, reads = "sms_group", ("sms",)

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        super().__init__(*naive.rolling(self.parameters, "message"))

    def touched(self, sms):
        if sms.direction == "mo" and sms.message_reference is not None:
            enough = self.parameters.recipients + 1
            yield "message", sms.message_reference, sms.recipient, enough


MESSAGES = choices(
    recipient=("a", "b", "c", "d", "a" * 256),
    message_reference=(*["m"] * 5, "", None),
    direction=(*["mo"] * 5, "mt"),
    service=("sms", "mms"),
    segment_number=(None, None, 2),
)
JITTERS_MS = (0, -1, 59_999, 60_000, 179_999, 180_000)

CASES = {
    "minutes": ({}, events_of(Sms, MESSAGES, MINUTE_MS, JITTERS_MS)),
    "hours": ({"recipients": 1}, events_of(Sms, MESSAGES, 25 * MINUTE_MS, JITTERS_MS)),
}
