"""Distinct elements, counted by the bits they set (linear counting; Whang et al., 1990)."""

from math import log

import numpy as np

from schemas.units import Ints


def estimates(bits: int) -> Ints:
    """Estimated number of distinct elements in a bit map, by how many of its bits are set.

    Each element sets one bit, chosen by its hash; some elements share a bit. A full map stands for
    `bits * log(bits)` elements or more. Up to three elements per bit the standard error stays below
    10 % for 256 bits and below 20 % for 64 bits.

    Parameters
    ----------
    bits
        Size of the map.

    Returns
    -------
    Estimates, shape (bits + 1,), rising.

    Examples
    --------
    >>> estimates(64)[[0, 1, 10, 63, 64]].tolist()
    [0, 1, 11, 266, 266]
    """
    unset = (bits - np.arange(bits + 1)).tolist()
    return np.array([round(-bits * log(max(1, n) / bits)) for n in unset], np.int64)
