"""What the demo ends with: a policy with a wrong limit is published, and the brake stops what would
follow from it."""

import re
from collections.abc import Sequence

from detectors.policies.editions import default_policy_path, load_policy
from schemas.events import Voice
from schemas.records import Customer, PolicyRecord
from schemas.units import DAY_MS

VERSION = "mishap"
RULE = "voice_daily"
LIMIT_MS = 60_000
"""A minute of calls a day, where six hours were meant."""

CALL_MS = 2 * LIMIT_MS


def wrong_policy(begins_ms: int) -> PolicyRecord:
    """The default policy with the wrong limit, from an event time on."""
    base = load_policy()
    document = default_policy_path().read_text(encoding="utf-8")
    document = document.replace(f'version = "{base.version}"', f'version = "{VERSION}"', 1)
    limit = re.compile(rf"(\[rules\.{RULE}\][^\[]*?\nlimit_ms = )[\d_]+")
    return PolicyRecord(
        name=base.name,
        version=VERSION,
        effective_ms=begins_ms,
        document=limit.sub(rf"\g<1>{LIMIT_MS}", document, count=1),
    )


def ordinary_calls(customers: Sequence[Customer], begins_ms: int) -> list[Voice]:
    """A call by each customer within an hour, the day after; nobody did anything wrong."""
    return [
        Voice(
            event_id=f"{VERSION}-{number}",
            customer_id=customer.customer_id,
            event_time_ms=begins_ms + DAY_MS + number * 1000,
            other_party="32470999999",
            duration_ms=CALL_MS,
        )
        for number, customer in enumerate(customers)
    ]
