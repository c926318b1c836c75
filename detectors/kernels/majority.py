"""The one candidate that may hold most of a weight, in four numbers: a weighted majority vote.

R. S. Boyer and J. S. Moore, "MJRTY: a fast majority vote algorithm" (1991), with weights.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.units import Ints


class Votes(NamedTuple):
    """One vote in each row, shape (n,).

    `lead` is what the leader is ahead by once weights of different candidates have cancelled each
    other, `own` the leader's weight since it took the lead, `total` that of all candidates.
    """

    leader: NDArray
    lead: NDArray
    own: NDArray
    total: NDArray


def vote(votes: Votes, candidate: NDArray, weight: Ints) -> Votes:
    """Each vote after one more candidate's weight; a number too large for its column is cut.

    Whoever holds more than half of the total leads. Of a share s of the total the leader's `own`
    holds 2 s - 1 at least, and all of it if the leader was never behind.

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
