"""The end of the demo: somebody publishes a wrong limit, and the brake holds most actions."""

import re
from collections.abc import Sequence

from detectors.policies.editions import default_policy_path, load_policy
from schemas.events import Voice
from schemas.records import Customer, PolicyRecord
from schemas.units import DAY_MS

VERSION = "mishap"
RULE = "voice_daily"
LIMIT_MS = 60_000
"""One minute of calls a day, instead of six hours."""

CALL_MS = 2 * LIMIT_MS


def wrong_policy(begins_ms: int) -> PolicyRecord:
    """Make the default policy with the wrong limit.

    Parameters
    ----------
    begins_ms
        Event time from which it holds.

    Returns
    -------
    The record for the policies' topic.
    """
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
    """Make a call by each customer, a second after each other, on the following day.

    Parameters
    ----------
    customers
        All customers.
    begins_ms
        Event time, one day before the first call.

    Returns
    -------
    Calls that break no rule of the default policy.
    """
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
