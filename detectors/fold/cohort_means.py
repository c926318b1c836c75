"""Partial sums of closed periods, and the mean of each cohort over all partitions."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from detectors.periods.closing import PERIODS_KEPT
from schemas.records import CohortAverage, CohortPartial

Period = tuple[str, int]
"""A rule, and the start of one of its periods in ms."""


class CohortMeans:
    """The partial sums of periods whose means are not known yet, and the means of the others.

    A mean is frozen when the partial sums of every partition have come; it never changes after.
    """

    def __init__(self) -> None:
        self._frozen: dict[Period, dict[str, CohortAverage]] = {}
        self._partials: dict[Period, dict[int, CohortPartial]] = {}

    @property
    def frozen(self) -> list[CohortAverage]:
        """Every mean that is kept, oldest first."""
        periods = sorted(self._frozen, key=_start)
        return [average for period in periods for average in self._frozen[period].values()]

    def add(self, partial: CohortPartial) -> None:
        """Take in one partition's partial sums, unless a mean of the period is frozen already."""
        period = (partial.rule, partial.period_start_ms)
        if period not in self._frozen:
            self._partials.setdefault(period, {})[partial.partition] = partial
            _trim(self._partials, partial.rule)

    def complete(self, partitions: int) -> list[CohortAverage]:
        """The means that can be frozen now, oldest first: every partition closed their periods."""
        whole = [p for p, parts in self._partials.items() if len(parts) >= partitions > 0]
        return [
            average
            for period in sorted(whole, key=_start)
            for average in _merged(list(self._partials[period].values()))
            if average.cohort not in self._frozen.get(period, ())
        ]

    def is_complete(self, rule: str, period_start_ms: int, partitions: int) -> bool:
        """Whether every mean of a period is frozen; a period without customers has no means."""
        period = (rule, period_start_ms)
        parts = self._partials.get(period)
        if parts is None:
            return period in self._frozen
        return len(parts) >= partitions > 0 and not _cohorts(parts)

    def freeze(self, average: CohortAverage) -> bool:
        """Take in a frozen mean; return whether it was not known before."""
        period = (average.rule, average.period_start_ms)
        cohorts = self._frozen.setdefault(period, {})
        news = average.cohort not in cohorts
        cohorts.setdefault(average.cohort, average)
        if _cohorts(self._partials.get(period, {})) <= cohorts.keys():
            self._partials.pop(period, None)
        _trim(self._frozen, average.rule)
        return news


def _cohorts(parts: Mapping[int, CohortPartial]) -> set[str]:
    """Names of the cohorts that any of these partial sums is about."""
    return {each.cohort for part in parts.values() for each in part.sums}


def _merged(parts: list[CohortPartial]) -> list[CohortAverage]:
    """The mean of each cohort, in the order of names."""
    totals: Counter[str] = Counter()
    customers: Counter[str] = Counter()
    histograms: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for part in parts:
        for each in part.sums:
            totals[each.cohort] += each.total
            customers[each.cohort] += each.customers
            histograms[each.cohort].update(each.histogram)
    return [
        CohortAverage(
            rule=parts[0].rule,
            cohort=cohort,
            period_start_ms=parts[0].period_start_ms,
            period_end_ms=parts[0].period_end_ms,
            total=totals[cohort],
            customers=customers[cohort],
            histogram=dict(sorted(histograms[cohort].items())),
        )
        for cohort in sorted(totals)
    ]


def _trim(periods: dict[Period, dict], rule: str) -> None:
    """Keep the newest periods of a rule."""
    own = sorted((period for period in periods if period[0] == rule), key=_start)
    for old in own[:-PERIODS_KEPT]:
        del periods[old]


def _start(period: Period) -> int:
    return period[1]
