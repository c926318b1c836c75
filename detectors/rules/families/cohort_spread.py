"""The features in which a customer's week is compared with a cohort's, and the cohort's spread."""

import numpy as np
from msgspec import Struct

from detectors.kernels.log_bins import LogBins
from detectors.kernels.spread import deviation, median
from schemas.records import CohortAverage, CohortSum
from schemas.units import Ints

KINDS = ("data", "sms", "voice")
FEATURES = ("frequency", "connection", *(f"{kind}_share" for kind in KINDS))
"""Events, seconds, and each kind's share of the events, per mille."""

LOGARITHMIC = ("frequency", "connection")
"""These are compared by their logarithm: how often and how long people use a service differs by
factors."""

LOG_BINS = LogBins(8)
"""Bins of events and seconds: eighths of a doubling, 9 % wide."""

SHARE_STEP, SHARE_MAX = 10, 1000
"""Bins of shares are one per cent wide; shares are per mille."""


class Spread(Struct, frozen=True):
    """Median and median absolute deviation of a feature, in eighths of doublings or per mille."""

    customers: int
    median: int
    deviation: int


def sum_of(cohort: str, feature: str, values: Ints) -> CohortSum:
    """The partial sum of one feature of a cohort's customers, with the histogram of its values."""
    bins, counts = np.unique(_bin_of(feature, values), return_counts=True)
    return CohortSum(
        cohort=f"{cohort}/{feature}",
        total=int(values.sum()),
        customers=len(values),
        histogram=dict(zip(bins.tolist(), counts.tolist(), strict=True)),
    )


def spread_of(feature: str, average: CohortAverage) -> Spread:
    """The spread of a feature over a cohort, from the histogram over all partitions."""
    counts = {_middle_of(feature, number): n for number, n in average.histogram.items()}
    if not counts:
        return Spread(0, 0, 0)
    middle = median(counts)
    return Spread(average.customers, middle, deviation(counts, middle))


def scaled(feature: str, values: Ints) -> Ints:
    """Values on the scale in which they are compared: eighths of doublings, or per mille."""
    return LOG_BINS.of(values) if feature in LOGARITHMIC else values


def _bin_of(feature: str, values: Ints) -> Ints:
    return LOG_BINS.of(values) if feature in LOGARITHMIC else values // SHARE_STEP


def _middle_of(feature: str, number: int) -> int:
    if feature in LOGARITHMIC:
        return number
    return min(SHARE_MAX, number * SHARE_STEP + SHARE_STEP // 2)
