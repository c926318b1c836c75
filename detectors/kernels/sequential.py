"""The sequential test of Wald, as threshold random walk, for many customers at once.

Jung, Paxson, Berger, Balakrishnan, "Fast portscan detection using sequential hypothesis testing",
IEEE Symposium on Security and Privacy, 2004.
"""

from math import log
from typing import NamedTuple

import numpy as np

from detectors.kernels.running import running_maxima, running_totals
from schemas.units import Ints

SCALE = 1_000_000
"""Steps of the walk in a unit of the natural logarithm: whole numbers add up in any batches."""


class Walk(NamedTuple):
    """How the logarithm of the likelihood ratio moves, in millionths.

    `failed` and `succeeded` are what a first contact adds, `upper` where the test decides for a
    scanner, `lower` where it decides for an honest customer.
    """

    failed: int
    succeeded: int
    upper: int
    lower: int

    @classmethod
    def of(cls, theta0: float, theta1: float, alpha: float, beta: float) -> "Walk":
        """The walk of a test.

        Parameters
        ----------
        theta0, theta1
            Share of first contacts that succeed for an honest customer, and for a scanner.
        alpha, beta
            Probability to take an honest customer for a scanner, and a scanner for one.

        Examples
        --------
        >>> Walk.of(theta0=0.8, theta1=0.2, alpha=0.01, beta=0.99)
        Walk(failed=1386294, succeeded=-1386294, upper=4595120, lower=-4595120)
        """
        return cls(
            failed=round(SCALE * log((1 - theta1) / (1 - theta0))),
            succeeded=round(SCALE * log(theta1 / theta0)),
            upper=round(SCALE * log(beta / alpha)),
            lower=round(SCALE * log((1 - beta) / (1 - alpha))),
        )


def bounded_walk(group: Ints, step: Ints, start: Ints, lower: int) -> Ints:
    """Where each group's walk stands after each row; it never goes below `lower`.

    Parameters
    ----------
    group
        Small non-negative integers, shape (n,).
    step
        How each row moves its group's walk, shape (n,).
    start
        Where each row's group stood before this batch, at least `lower`, shape (n,).

    Returns
    -------
    Position after each row, shape (n,).

    Examples
    --------
    >>> one = np.zeros(4, np.int64)
    >>> bounded_walk(one, np.array([-2, -2, 3, 1]), one, lower=-3).tolist()
    [-2, -3, 0, 1]
    """
    free = running_totals(group, step, start)
    short = lower - free
    lifted = np.maximum(running_maxima(group, short, np.zeros_like(start)), short)
    return free + np.maximum(lifted, 0)
