"""The month's charges against the plan's limit on spending, one event at a time."""

from tests.support.reference import spending

LOW, CASES, EDGES = spending.LOW, spending.CASES, spending.EDGES


class Twin(spending.Spending):
    """Every charge counts."""

    name, plan_number = "spend_limit", "spend_limit_microeur"

    def counts(self, _event):
        return True
