"""Rolling windows in whole steps of time.

A window that ends with step k holds the steps k - steps .. k. So it covers its length at least, and
its length plus one step at most. Late rows count in every window that holds their step.
"""

from collections.abc import Iterable

import numpy as np

from detectors.kernels.running import group_sizes, group_starts
from schemas.units import Hashes, Ints


def fullest_windows(group: Ints, step: Ints, weight: Ints, steps: int) -> tuple[Ints, Ints]:
    """Largest sum of weights that any window of each group holds.

    Parameters
    ----------
    group, step, weight
        What was counted in which step, weights >= 0, shape (n,); a step may have several rows.
    steps
        How many steps a window holds besides the one that it ends with.

    Returns
    -------
    The distinct groups, sorted, and the largest sum of each, both of shape (groups,).

    Examples
    --------
    >>> groups, sums = fullest_windows(
    ...     np.array([4, 4, 4, 9]), np.array([0, 2, 5, 7]), np.array([3, 1, 1, 2]), steps=2)
    >>> groups.tolist(), sums.tolist()
    ([4, 9], [4, 2])
    """
    if len(group) == 0:
        return group, weight
    order = np.lexsort((step, group))
    group, step, weight = group[order], step[order], weight[order]
    first = group_starts(group)
    # The fullest window ends with a counted step, so windows that end with a row's step will do.
    low, span = int(step.min()), int(step.max() - step.min()) + steps + 2
    rank = np.repeat(np.arange(len(first)), group_sizes(first, len(group)))
    position = rank * span + (step - low)
    sums = np.r_[0, np.cumsum(weight)]
    oldest = np.maximum(np.searchsorted(position, position - steps, side="left"), first[rank])
    last = np.searchsorted(position, position, side="right")
    return group[first], np.maximum.reduceat(sums[last] - sums[oldest], first)


class WindowCounts:
    """Distinct elements in each window of one group, updated contact by contact.

    A window is named by the step that it ends with. `steps` and the steps of all contacts are
    multiples of `stride`, and so are the ends of windows.

    Parameters
    ----------
    element, step
        The distinct contacts so far: which element in which step, shape (n,).
    steps, stride
        A window holds the steps `end - steps` to `end`; ends are `stride` apart.
    """

    def __init__(self, element: Hashes, step: Ints, steps: int, stride: int = 1) -> None:
        self.steps, self.stride = steps, stride
        self.steps_of: dict[int, list[int]] = {}
        for seen, at in zip(element.tolist(), step.tolist(), strict=True):
            self.steps_of.setdefault(seen, []).append(at)
        first, held = distinct_in_windows(element, step, steps, stride)
        ends = range(first, first + len(held) * stride, stride)
        self.held = dict(zip(ends, held.tolist(), strict=True))

    def ends(self, step: int) -> range:
        """Ends of the windows that hold a step."""
        return range(step, step + self.steps + 1, self.stride)

    def add(self, element: int, step: int) -> None:
        """Count one more contact."""
        others = self.steps_of.setdefault(element, [])
        for end in self.ends(step):
            if not any(end - self.steps <= other <= end for other in others):
                self.held[end] = self.held.get(end, 0) + 1
        others.append(step)


def distinct_in_windows(
    element: Hashes, step: Ints, steps: int, stride: int = 1
) -> tuple[int, Ints]:
    """Distinct elements in every window that holds any.

    Parameters
    ----------
    element, step, steps, stride
        As in `WindowCounts`.

    Returns
    -------
    The first window's end, and the counts of that window and of those after it, shape (windows,).

    Examples
    --------
    >>> first, held = distinct_in_windows(
    ...     np.array([7, 8, 7], np.uint64), np.array([3, 3, 5]), steps=1)
    >>> first, held.tolist()
    (3, [2, 2, 1, 1])
    """
    if len(step) == 0:
        return 0, np.zeros(0, np.int64)
    order = np.lexsort((step, element))
    element, start = element[order], (step[order] - step.min()) // stride
    end = start + steps // stride + 1
    # An element that comes again while it still counts does not count twice.
    again = element[1:] == element[:-1]
    end[:-1][again] = np.minimum(end[:-1][again], start[1:][again])
    windows = int(end.max())
    change = np.bincount(start, minlength=windows) - np.bincount(end, minlength=windows + 1)[:-1]
    return int(step.min()), np.cumsum(change)


class Episodes:
    """Stretches of hot windows (those above the limit), so that a long breach is reported once.

    A hot window that ends within `steps` steps of a stretch belongs to it: in between, the count
    has not been at or below the limit for a whole window length.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.stretches: dict[int, list[list[int]]] = {}

    def note(self, key: int, hot: Iterable[int]) -> int | None:
        """Add the ends of hot windows; return the first that starts a new stretch, or None."""
        stretches = self.stretches.setdefault(key, [])
        new = None
        for end in hot:
            near = [s for s in stretches if s[0] - self.steps <= end <= s[1] + self.steps]
            if not near:
                new = end if new is None else new
                stretches.append([end, end])
            else:
                merged = [min(end, *(s[0] for s in near)), max(end, *(s[1] for s in near))]
                stretches[:] = [s for s in stretches if s not in near] + [merged]
        return new

    def narrow(self, key: int, first: int, hot: Iterable[int]) -> None:
        """Leave only the windows `hot` hot, of those of a key that end with `first` or later.

        A window that was not hot stays so: a stretch can only shrink, split or vanish.
        """
        hot = [end for end in hot if end >= first and self.covers(key, end, end)]
        stretches = self.stretches.pop(key, [])
        before = [[s[0], min(s[1], first - 1)] for s in stretches if s[0] < first]
        if before or hot:
            self.stretches[key] = before
            self.note(key, hot)

    def covers(self, key: int, first: int, last: int) -> bool:
        """Whether one stretch holds every window end from `first` to `last`."""
        return any(s[0] <= first and last <= s[1] for s in self.stretches.get(key, ()))

    def forget(self, before: int) -> None:
        """Drop the stretches to which no window that ends with `before` or later can belong."""
        for key in list(self.stretches):
            kept = [s for s in self.stretches[key] if s[1] + self.steps >= before]
            if kept:
                self.stretches[key] = kept
            else:
                del self.stretches[key]
