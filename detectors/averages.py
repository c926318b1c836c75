"""From every partition's share of a closed period to the mean over all of them."""

from schemas.records import CohortAverage, CohortPartial

PERIODS_KEPT = 64

Period = tuple[str, int]


class Averages:
    """Partial sums by rule and period; a mean is frozen once, when every partition's sum is in."""

    def __init__(self) -> None:
        self.frozen: dict[Period, CohortAverage] = {}
        self._partials: dict[Period, dict[int, CohortPartial]] = {}

    def add(self, partial: CohortPartial) -> None:
        """Take in one partition's sum."""
        period = (partial.rule, partial.period_start_ms)
        if period not in self.frozen:
            self._partials.setdefault(period, {})[partial.partition] = partial
        for old in sorted(self._partials, key=_start)[:-PERIODS_KEPT]:
            del self._partials[old]

    def complete(self, partitions: int) -> list[CohortAverage]:
        """Means of the periods that every partition has closed, oldest first."""
        whole = [p for p, parts in self._partials.items() if len(parts) >= partitions > 0]
        averages = []
        for period in sorted(whole, key=_start):
            parts = self._partials[period].values()
            averages.append(
                CohortAverage(
                    rule=period[0],
                    period_start_ms=period[1],
                    period_end_ms=next(iter(parts)).period_end_ms,
                    total=sum(part.total for part in parts),
                    customers=sum(part.customers for part in parts),
                )
            )
        return averages

    def freeze(self, average: CohortAverage) -> bool:
        """Take in a frozen mean; tell whether it is news."""
        period = (average.rule, average.period_start_ms)
        news = period not in self.frozen
        self.frozen.setdefault(period, average)
        self._partials.pop(period, None)
        for old in sorted(self.frozen, key=_start)[:-PERIODS_KEPT]:
            del self.frozen[old]
        return news


def _start(period: Period) -> int:
    return period[1]
