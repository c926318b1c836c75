"""Bins of a fixed relative width: a histogram of any range in a few hundred cells."""

from math import isqrt

import numpy as np

from schemas.units import Ints


class LogBins:
    """Bins that split each doubling into equal parts; whole numbers from zero on, exactly.

    A value's bin is the whole part of `parts * log2(value + 1)`; so a bin is at most
    `2 ** (1 / parts) - 1` wider than its lowest value, and small values have bins of their own.

    Parameters
    ----------
    parts
        Bins of a doubling, a power of two.

    Examples
    --------
    >>> LogBins(8).of(np.array([0, 1, 2, 1000, 2**53])).tolist()
    [0, 8, 12, 79, 424]
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.lowest = np.array([_root(2**n, parts) for n in range(62 * parts)], np.int64)

    def of(self, value: Ints) -> Ints:
        """Bin of each value, shape (n,)."""
        return np.searchsorted(self.lowest, value + 1, side="right") - 1

    def middle(self, number: int) -> int:
        """The whole number in the middle of a bin, which stands for all of it."""
        return int(self.lowest[number] + self.lowest[number + 1] - 1) // 2 - 1


def _root(power: int, degree: int) -> int:
    """Smallest whole number whose `degree`-th power reaches this one."""
    below = power - 1
    while degree > 1:
        below, degree = isqrt(below), degree // 2
    return below + 1
