"""Weighted majority vote: finds the candidate that may hold more than half, in four numbers.

R. S. Boyer and J. S. Moore, "MJRTY: a fast majority vote algorithm" (1991), with weights.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.units import Ints


class Votes(NamedTuple):
    """The state of one vote in each row; all columns have shape (n,).

    `lead` is the leader's weight that other candidates have not cancelled, `own` the leader's
    weight since it took the lead, `total` the weight of all candidates.
    """

    leader: NDArray
    lead: NDArray
    own: NDArray
    total: NDArray


def vote(votes: Votes, candidate: NDArray, weight: Ints) -> Votes:
    """Add the weight of a candidate to each vote; a number too large for its column is capped.

    A candidate with more than half of the total is the leader. If its share of the total is s, its
    `own` is at least the share 2 s - 1, and all of s if it always led.

    Examples
    --------
    >>> one = Votes(*(np.array([n]) for n in (0, 0, 0, 0)))
    >>> for candidate, weight in ((7, 5), (8, 3), (8, 9), (7, 1)):
    ...     one = vote(one, np.array([candidate]), np.array([weight]))
    >>> [int(column[0]) for column in one]
    [8, 6, 9, 18]
    """
    lead, own, total = (column.astype(np.int64) for column in votes[1:])
    same = votes.leader == candidate
    wins = ~same & (weight > lead)
    after = Votes(
        leader=np.where(wins, candidate, votes.leader),
        lead=np.where(same, lead + weight, np.abs(lead - weight)),
        own=np.where(wins, weight, own + np.where(same, weight, 0)),
        total=total + weight,
    )
    return Votes(
        *(np.minimum(new, np.iinfo(old.dtype).max) for new, old in zip(after, votes, strict=True))
    )
