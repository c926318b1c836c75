"""Whether all elements that a cell saw were the same, in 16 bits, in whatever order they came."""

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.hashing import SPREAD
from detectors.kernels.running import group_starts, stable_order
from detectors.kernels.scatter import in_one_row
from schemas.units import Hashes

NOTHING, SEVERAL = 0, 1


def marks(element: Hashes) -> NDArray[np.uint16]:
    """Mark of each element, shape (n,); two elements share a mark with probability 1 in 65,534."""
    return ((element * SPREAD) >> np.uint64(48)).astype(np.int64).clip(2).astype(np.uint16)


def note(cells: NDArray, slot: NDArray, place: NDArray, mark: NDArray[np.uint16]) -> None:
    """Store in each cell the mark of its element, or that there were several elements.

    Examples
    --------
    >>> cells, slot = np.zeros((2, 1), np.uint16), np.array([0, 0, 1, 1])
    >>> note(cells, slot, 0 * slot, np.array([7, 7, 7, 8], np.uint16))
    >>> cells.tolist()
    [[7], [1]]
    """
    flat, at = in_one_row(cells, slot, place)
    # Most cells do not change: they have seen several elements, or see the same one again.
    held = flat[at]
    news = np.flatnonzero((held != SEVERAL) & (held != mark))
    if len(news) == 0:
        return
    news = news[stable_order(at[news])]
    starts = group_starts(at[news])
    lowest = np.minimum.reduceat(mark[news], starts)
    highest = np.maximum.reduceat(mark[news], starts)
    cell = at[news[starts]]
    agree = (lowest == highest) & (flat[cell] == NOTHING)
    flat[cell] = np.where(agree, lowest, SEVERAL)
