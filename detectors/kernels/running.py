"""Running totals and running maxima per group, over columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.units import Ints

FEW = 512
"""So few rows are sorted as fast by comparison."""


def running_totals(group: Ints, amount: Ints, start: Ints) -> Ints:
    """Total of each group after each row, in the order of the rows.

    A group is one counter, such as a customer's slot and a period combined into one integer. A
    stable sort by group allows one `cumsum` for all groups.

    Parameters
    ----------
    group
        Counter that each row adds to, shape (n,).
    amount
        What each row adds, >= 0, in the counter's unit, shape (n,), or (n, amounts) for several.
    start
        Total of each row's group before this batch, of the same shape.

    Returns
    -------
    Total after each row, of the same shape.

    Examples
    --------
    >>> running_totals(np.array([7, 3, 7]), np.array([1, 5, 2]), np.array([10, 0, 10])).tolist()
    [11, 5, 13]
    """
    order = stable_order(group)
    sums = np.cumsum(amount[order], axis=0)
    first = group_starts(group[order])
    sizes = group_sizes(first, len(group))
    before_group = np.repeat(sums[first] - amount[order][first], sizes, axis=0)
    totals = np.empty_like(sums)
    totals[order] = sums - before_group + start[order]
    return totals


def running_maxima(group: Ints, value: Ints, start: Ints) -> Ints:
    """Largest value of each group so far, before each row, in the order of the rows.

    Parameters
    ----------
    group
        Small non-negative integers, shape (n,).
    value
        Value of each row, shape (n,).
    start
        Maximum of each row's group before this batch, shape (n,).

    Returns
    -------
    Maximum before each row, shape (n,).

    Examples
    --------
    >>> group, value = np.array([0, 1, 0, 0]), np.array([5, 9, 3, 8])
    >>> running_maxima(group, value, start=np.array([4, 0, 4, 4])).tolist()
    [4, 0, 5, 5]
    """
    if len(group) == 0:
        return start.copy()
    order = stable_order(group)
    first = group_starts(group[order])
    # Each group is lifted above the one before it, so that one `accumulate` serves all groups.
    low = min(int(value.min()), int(start.min()))
    span = max(int(value.max()), int(start.max())) - low + 1
    rank = np.repeat(np.arange(len(first)), group_sizes(first, len(group)))
    lifted = value[order] - low + rank * span
    shifted = np.empty_like(lifted)
    shifted[1:] = lifted[:-1]
    shifted[first] = start[order][first] - low + rank[first] * span
    shifted = np.maximum(shifted, start[order] - low + rank * span)
    maxima = np.empty_like(lifted)
    maxima[order] = np.maximum.accumulate(shifted) - rank * span + low
    return maxima


def stable_order(group: NDArray[np.integer[Any]]) -> Ints:
    """Order of rows by group, rows of one group in their own order, shape (n,).

    Groups of at most 32 bits are sorted by counting, 16 bits at a time, up to ten times faster than
    by comparison.

    Examples
    --------
    >>> stable_order(np.array([7, 3, 7, 3])).tolist()
    [1, 3, 0, 2]
    """
    if len(group) < FEW or group.min() < 0 or (highest := int(group.max())) >> 32:
        return np.argsort(group, kind="stable")
    order = np.argsort(group.astype(np.uint16), kind="stable")
    if highest >> 16 == 0:
        return order
    high = (group >> 16).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def group_starts(sorted_group: NDArray[np.integer[Any]]) -> Ints:
    """Index of the first row of each run of equal values, shape (groups,)."""
    if len(sorted_group) == 0:
        return np.zeros(0, np.int64)
    is_first = np.ones(len(sorted_group), bool)
    np.not_equal(sorted_group[1:], sorted_group[:-1], out=is_first[1:])
    return np.flatnonzero(is_first)


def group_sizes(first: Ints, rows: int) -> Ints:
    """Number of rows of each group, from the `group_starts` of `rows` rows, shape (groups,).

    Examples
    --------
    >>> group_sizes(np.array([0, 2, 3]), 7).tolist()
    [2, 1, 4]
    """
    sizes = np.empty_like(first)
    np.subtract(first[1:], first[:-1], out=sizes[:-1])
    sizes[-1:] = rows - first[-1:]
    return sizes


def distinct_values(values: Ints) -> Ints:
    """Each value once, sorted.

    Examples
    --------
    >>> distinct_values(np.array([7, 3, 7])).tolist()
    [3, 7]
    """
    ordered = np.sort(values)
    return ordered[group_starts(ordered)]
