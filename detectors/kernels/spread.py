"""Median and median absolute deviation of what a histogram counts."""

from collections.abc import Mapping


def median(counts: Mapping[int, int]) -> int:
    """The median of values, the lower of two middle ones; `counts` has how often each value occurs.

    Raises
    ------
    ValueError
        If nothing was counted.

    Examples
    --------
    >>> median({3: 1, 5: 2, 9: 1})
    5
    """
    half, so_far = (sum(counts.values()) + 1) // 2, 0
    for value in sorted(counts):
        so_far += counts[value]
        if so_far >= half:
            return value
    raise ValueError("nothing was counted")


def deviation(counts: Mapping[int, int], middle: int) -> int:
    """Median of the absolute differences between the values and `middle`.

    Examples
    --------
    >>> deviation({3: 1, 5: 2, 9: 1}, 5)
    0
    """
    apart: dict[int, int] = {}
    for value, count in counts.items():
        apart[abs(value - middle)] = apart.get(abs(value - middle), 0) + count
    return median(apart)
