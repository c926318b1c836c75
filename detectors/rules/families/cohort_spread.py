"""What of a customer's week is held against a cohort, and how a histogram tells of the cohort."""

from typing import NamedTuple

import numpy as np

from detectors.kernels.log_bins import LogBins
from detectors.kernels.spread import deviation, median
from schemas.records import CohortAverage, CohortSum
from schemas.units import Ints

KINDS = ("data", "sms", "voice")
FEATURES = ("frequency", "connection", *(f"{kind}_share" for kind in KINDS))
"""Events, seconds, and each kind's share of the events, per mille."""

LOGARITHMIC = ("frequency", "connection")
"""How often and how long people use a service differs by factors, not by amounts."""

LOG_BINS = LogBins(8)
"""Of events and seconds: eighths of a doubling, 9 % wide."""

SHARE_STEP, SHARE_MAX = 10, 1000
"""Of shares: a bin is one per cent wide, in per mille."""


class Spread(NamedTuple):
    """How one feature lies in a cohort, in eighths of doublings or per mille."""

    customers: int
    median: int
    deviation: int


def sum_of(cohort: str, feature: str, values: Ints) -> CohortSum:
    """One feature of a cohort's customers, with their histogram."""
    bins, counts = np.unique(_bin_of(feature, values), return_counts=True)
    return CohortSum(
        cohort=f"{cohort}/{feature}",
        total=int(values.sum()),
        customers=len(values),
        histogram=dict(zip(bins.tolist(), counts.tolist(), strict=True)),
    )


def spread_of(feature: str, average: CohortAverage) -> Spread:
    """Median and median absolute deviation of a cohort, on the feature's scale."""
    counts = {_middle_of(feature, number): n for number, n in average.histogram.items()}
    if not counts:
        return Spread(0, 0, 0)
    middle = median(counts)
    return Spread(average.customers, middle, deviation(counts, middle))


def scaled(feature: str, values: Ints) -> Ints:
    """Values as they are held against others': eighths of doublings, or per mille."""
    return LOG_BINS.of(values) if feature in LOGARITHMIC else values


def _bin_of(feature: str, values: Ints) -> Ints:
    return LOG_BINS.of(values) if feature in LOGARITHMIC else values // SHARE_STEP


def _middle_of(feature: str, number: int) -> int:
    if feature in LOGARITHMIC:
        return number
    return min(SHARE_MAX, number * SHARE_STEP + SHARE_STEP // 2)
