"""Estimate the distinct elements of many cells: each cell is a bit map of 128 bits in two words.

Up to `ELEMENTS_MAX` distinct elements the standard error is below 10 % of the count.
"""

import numpy as np

from detectors.kernels.hashing import SPREAD
from detectors.kernels.linear_counting import estimates
from schemas.units import Hashes, Ints

BITS, WORD_BITS = 128, 64
ELEMENTS_MAX = 256

_ESTIMATES = estimates(BITS)


def words_of(element: Hashes) -> tuple[Hashes, Hashes]:
    """The low and the high word with each element's bit set, both of shape (n,)."""
    place = (element * SPREAD) >> np.uint64(57)
    one = np.uint64(1) << (place % np.uint64(WORD_BITS))
    is_low = place < WORD_BITS
    return np.where(is_low, one, np.uint64(0)), np.where(is_low, np.uint64(0), one)


def distinct(low: Hashes, high: Hashes) -> Ints:
    """Estimated number of distinct elements that set the bits of each pair of words, shape (n,).

    Examples
    --------
    >>> distinct(np.array([0, 0b1011], np.uint64), np.array([0, 1], np.uint64)).tolist()
    [0, 4]
    """
    return _ESTIMATES[np.bitwise_count(low).astype(np.int64) + np.bitwise_count(high)]
