"""Chains: stretches of use with only short gaps between them; each customer's newest few."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.running import group_sizes, group_starts, stable_order
from schemas.units import Ints

NEVER = np.iinfo(np.int64).max


class Chains(NamedTuple):
    """The newest chains of one customer in each row, oldest first; `end_ms` is zero for no chain.

    `start_ms`, `end_ms` and `total` (the use without gaps, ms) have shape (n, chains). Use that
    starts at or before `closed_ms`, shape (n, 1), would belong to a chain that is no longer kept.
    """

    start_ms: NDArray
    end_ms: NDArray
    total: NDArray
    closed_ms: NDArray


class Joined(NamedTuple):
    """The chain that each row joined: its total after that, and the largest total before; (n,)."""

    start_ms: Ints
    end_ms: Ints
    total: Ints
    before: Ints


def join(chains: Chains, start_ms: Ints, end_ms: Ints, gap_ms: int) -> tuple[Chains, Joined]:
    """Add a stretch of use to each customer's chains; chains that it touches become one.

    A stretch touches a chain if the gap between them is at most `gap_ms`. If there is no room for a
    new chain, the oldest is dropped. Use that starts at or before `closed_ms` changes nothing, and
    its total is zero.

    Parameters
    ----------
    chains
        The chains of a different customer in each row.
    start_ms, end_ms
        The stretch of use of each row, shape (n,).
    gap_ms
        Longest gap within a chain, ms.

    Returns
    -------
    The chains after that, and the chain that each row joined.

    Examples
    --------
    >>> old = Chains(*(np.array([row]) for row in ([0, 100], [0, 150], [0, 50], [0])))
    >>> new, joined = join(old, np.array([160]), np.array([190]), gap_ms=10)
    >>> new.start_ms.tolist(), new.end_ms.tolist(), new.total.tolist()
    ([[0, 100]], [[0, 190]], [[0, 80]])
    >>> joined.total.tolist(), joined.before.tolist()
    ([80], [50])
    """
    start, end, total = (column.astype(np.int64) for column in chains[:3])
    closed = chains.closed_ms[:, 0].astype(np.int64)
    touches = (end > 0) & (start <= (end_ms + gap_ms)[:, None])
    touches &= start_ms[:, None] <= end + gap_ms
    joined = Joined(
        start_ms=np.minimum(start_ms, np.where(touches, start, NEVER).min(axis=1)),
        end_ms=np.maximum(end_ms, np.where(touches, end, 0).max(axis=1)),
        total=end_ms - start_ms + np.where(touches, total, 0).sum(axis=1),
        before=np.where(touches, total, 0).max(axis=1),
    )
    held = [np.where(touches, 0, column) for column in (start, end, total)]
    new = (column[:, None] for column in joined[:3])
    more = [np.concatenate(columns, axis=1) for columns in zip(held, new, strict=True)]
    order = np.argsort(more[0], axis=1, kind="stable")
    order += np.arange(0, order.size, order.shape[1])[:, None]
    start, end, total = (column.ravel()[order] for column in more)
    oldest_end = end[:, 0]
    now_closed = np.where(oldest_end > 0, oldest_end + gap_ms, closed)
    largest = np.iinfo(chains.total.dtype).max
    made = Chains(start[:, 1:], end[:, 1:], np.minimum(total[:, 1:], largest), now_closed[:, None])
    open_ = start_ms > closed
    if open_.all():
        return made, joined
    kept = (np.where(open_[:, None], new, old) for new, old in zip(made, chains, strict=True))
    return Chains(*kept), Joined(*(np.where(open_, column, 0) for column in joined))


def rounds(group: Ints) -> list[Ints]:
    """Split rows so that no part has a group twice: the first row of each group, then the second.

    Examples
    --------
    >>> [rows.tolist() for rows in rounds(np.array([7, 3, 7, 7]))]
    [[0, 1], [2], [3]]
    """
    if len(group) == 0:
        return []
    order = stable_order(group)
    first = group_starts(group[order])
    turn = np.empty_like(order)
    turn[order] = np.arange(len(group)) - np.repeat(first, group_sizes(first, len(group)))
    by_turn = stable_order(turn)
    return np.split(by_turn, np.cumsum(np.bincount(turn))[:-1])
