"""One message is sent to more recipients than the contract allows."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np

from detectors.rules.contract import Batch, Customers, Declaration
from detectors.rules.families.distinct import Crossing, RollingParameters, Sightings
from detectors.rules.families.distinct_corrections import CorrectableDistinct
from schemas.amounts import RECIPIENTS
from schemas.hashing import mix
from schemas.policy import LIVE, Positive, RuleParameters


class SmsGroupParameters(RollingParameters, kw_only=True, frozen=True):
    """`recipients` of one message within the window are still allowed."""

    recipients: Annotated[Positive, LIVE]


class SmsGroup(CorrectableDistinct):
    """Report the sending with which one message has one recipient more than allowed in the window.

    What it catches: the same text, or recording, to many recipients, by SMS or MMS, sent all at
    once or one after the other. While the sending goes on it is one finding; a second message of
    the customer that crosses in the same window is not reported.
    What it misses: messages without a `message_reference`; a text with a word changed for each
    recipient; one that is sent over more time than the window.
    Delay: none, it is reported with the message that crosses.
    False alarms: an invitation to a wedding. A recipient who gets it twice counts once. Of 9,000
    generated customers (62 days, seeds 1 to 3) nobody was wrongly found; the real data has no
    references.

    References
    ----------
    Clause base-mobile 6.3.2(i).
    """

    name: ClassVar[str] = "sms_group"
    declaration: ClassVar[Declaration] = Declaration(
        section="Texts",
        services=("sms",),
        units=(RECIPIENTS,),
        what="recipients of one message (SMS or MMS with a `message_reference`) in "
        "{length_seconds:seconds}",
        limit="{recipients} recipients",
        misses="messages without a reference; a text that differs by a word",
    )
    reads: ClassVar[tuple[str, ...]] = ("sms",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sms": ("is_originated", "message_reference", "recipient")
    }
    Parameters: ClassVar[type[RuleParameters]] = SmsGroupParameters

    def sightings(self, batch: Batch, customers: Customers) -> Sightings:
        """The recipients, each as an element of its message; only messages with a reference."""
        reference = batch.fields["message_reference"]
        row = np.flatnonzero(batch.fields["is_originated"] & (reference != 0))
        customer = customers.directory.hashes(batch.slot[row])
        message, recipient = mix(customer, reference[row]), batch.fields["recipient"][row]
        return Sightings.of_spans(row, (message, recipient, self.parameters.recipients + 1))

    def evidence(self, batch: Batch, crossing: Crossing) -> dict[str, Any]:
        """Which message it is."""
        return {"message_reference": batch.fields["message_reference_text"][crossing.row]}
