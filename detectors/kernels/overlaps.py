"""How many intervals overlap at one instant, for each group."""

import numpy as np

from detectors.kernels.running import group_starts
from schemas.units import Ints


def most_at_once(group: Ints, start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Largest number of intervals of each group that overlap at one instant.

    Parameters
    ----------
    group, start, end
        Intervals, each from `start` up to but without `end`, which is later, shape (n,).

    Returns
    -------
    The distinct groups, sorted, and the largest number of each, both of shape (groups,).

    Examples
    --------
    >>> groups, most = most_at_once(
    ...     np.array([4, 4, 4, 9]), np.array([0, 5, 10, 0]), np.array([10, 15, 20, 1]))
    >>> groups.tolist(), most.tolist()
    ([4, 9], [2, 1])
    """
    if len(group) == 0:
        return group, group
    groups, instants = np.r_[group, group], np.r_[start, end]
    change = np.repeat((1, -1), len(group))
    # At one instant ends come before starts: intervals that only touch do not overlap.
    order = np.lexsort((change, instants, groups))
    first = group_starts(groups[order])
    return groups[order][first], np.maximum.reduceat(np.cumsum(change[order]), first)
