"""Messages of a calendar month."""

from tests.support.reference import naive

LOW = {"limit": 3, "retention_periods": 1}


class Twin(naive.Messages):
    """A count for each customer and month."""

    def __init__(self, policy, plans):
        limit = policy.rules["sms_monthly"].limit
        super().__init__("sms_monthly", policy, plans, naive.Months, limit)


CASES = {}
"""They are tried together with others, in tests/support/strategies/histories.py."""
