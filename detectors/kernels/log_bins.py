"""Bins of a fixed relative width, so that a few hundred bins cover all whole numbers."""

from math import isqrt

import numpy as np

from schemas.units import Ints


class LogBins:
    """Bins that split each doubling into equal parts; computed in whole numbers, without rounding.

    A value's bin is the whole part of `parts * log2(value + 1)`. So the values of a bin
    differ by at most a factor of `2 ** (1 / parts)`, and each small value has a bin of its own.

    Parameters
    ----------
    parts
        Number of bins for each doubling, a power of two.

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
        """The whole number in the middle of a bin, which stands for all its values."""
        return int(self.lowest[number] + self.lowest[number + 1] - 1) // 2 - 1


def _root(power: int, degree: int) -> int:
    """Smallest whole number whose `degree`-th power reaches this one."""
    below = power - 1
    while degree > 1:
        below, degree = isqrt(below), degree // 2
    return below + 1
