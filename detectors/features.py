"""What of a customer's week is held against a cohort, and how a histogram tells of the cohort."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detectors.kernels.log_bins import LogBins
from detectors.kernels.spread import deviation, median
from detectors.rule import Ints
from schemas.records import CohortAverage, CohortSum

KINDS = ("data", "sms", "voice")
FEATURES = ("frequency", "connection", *(f"{kind}_share" for kind in KINDS))
"""Events, seconds, and each kind's share of the events, per mille."""

LOG_BINS = LogBins(8)
"""Of events and seconds: a bin is 9 % wide."""

SHARE_STEP, SHARE_MAX = 10, 1000
"""Of shares: a bin is one per cent wide, in per mille."""


class Spread(NamedTuple):
    """How one feature lies in a cohort."""

    customers: int
    median: int
    deviation: int


def sum_of(cohort: str, feature: str, values: Ints) -> CohortSum:
    """One feature of a cohort's customers, with their histogram."""
    bin_of, _ = _bins(feature)
    bins, counts = np.unique(bin_of(values), return_counts=True)
    return CohortSum(
        cohort=f"{cohort}/{feature}",
        total=int(values.sum()),
        customers=len(values),
        histogram=dict(zip(bins.tolist(), counts.tolist(), strict=True)),
    )


def spread_of(feature: str, average: CohortAverage) -> Spread:
    """Median and median absolute deviation of a cohort; a bin stands for its middle."""
    _, middle_of = _bins(feature)
    counts = {middle_of(number): count for number, count in average.histogram.items()}
    if not counts:
        return Spread(0, 0, 0)
    middle = median(counts)
    return Spread(average.customers, middle, deviation(counts, middle))


def _bins(feature: str) -> tuple[Callable[[Ints], Ints], Callable[[int], int]]:
    """From values to bins, and from a bin to its middle."""
    if feature in ("frequency", "connection"):
        return LOG_BINS.of, LOG_BINS.middle
    return (lambda share: share // SHARE_STEP), _middle_of_share


def _middle_of_share(number: int) -> int:
    return min(SHARE_MAX, number * SHARE_STEP + SHARE_STEP // 2)
