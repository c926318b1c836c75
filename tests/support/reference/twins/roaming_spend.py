"""The month's charges abroad against the plan's limit on them, one event at a time."""

from tests.support.reference import spending

LOW, CASES, EDGES = spending.LOW, spending.CASES, spending.EDGES


class Twin(spending.Spending):
    """Charges in a visited network count."""

    name, plan_number = "roaming_spend", "roaming_spend_limit_microeur"

    def counts(self, event):
        return event.visited_plmn is not None
