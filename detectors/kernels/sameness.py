"""Whether everything a cell saw was the same: in 16 bits, whatever the order."""

import numpy as np
from numpy.typing import NDArray

from schemas.hashing import SPREAD, Hashes

NOTHING, SEVERAL = 0, 1


def marks(element: Hashes) -> NDArray[np.uint16]:
    """What stands for each element in a cell, shape (n,); two elements share one by 1 in 65,534."""
    return ((element * SPREAD) >> np.uint64(48)).astype(np.int64).clip(2).astype(np.uint16)


def note(cells: NDArray, slot: NDArray, place: NDArray, mark: NDArray[np.uint16]) -> None:
    """Have each cell remember its element, or that there were several.

    Examples
    --------
    >>> cells, slot = np.zeros((2, 1), np.uint16), np.array([0, 0, 1, 1])
    >>> note(cells, slot, 0 * slot, np.array([7, 7, 7, 8], np.uint16))
    >>> cells.tolist()
    [[7], [1]]
    """
    if len(slot) == 0:
        return
    width = cells.shape[1]
    group, inverse = np.unique(slot * width + place, return_inverse=True)
    lowest = np.full(len(group), np.iinfo(np.uint16).max, np.uint16)
    highest = np.zeros(len(group), np.uint16)
    np.minimum.at(lowest, inverse, mark)
    np.maximum.at(highest, inverse, mark)
    held = cells[group // width, group % width]
    agree = (lowest == highest) & ((held == NOTHING) | (held == lowest))
    cells[group // width, group % width] = np.where(agree, lowest, SEVERAL)
