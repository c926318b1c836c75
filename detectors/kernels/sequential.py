"""Wald's sequential test as a threshold random walk, for many customers at once.

Jung, Paxson, Berger, Balakrishnan, "Fast portscan detection using sequential hypothesis testing",
IEEE Symposium on Security and Privacy, 2004.
"""

from math import log
from typing import NamedTuple

import numpy as np

from detectors.kernels.running import running_maxima, running_totals
from schemas.units import Ints

SCALE = 1_000_000
"""The walk counts in whole millionths, so that sums do not depend on how batches are cut."""


class Walk(NamedTuple):
    """Steps and bounds of the logarithm of the likelihood ratio, in units of 1 / `SCALE`.

    A first contact that fails adds `failed`, one that succeeds adds `succeeded`. At `upper` the
    test decides that the customer is a scanner, at `lower` that the customer is honest.
    """

    failed: int
    succeeded: int
    upper: int
    lower: int

    @classmethod
    def of(cls, theta0: float, theta1: float, alpha: float, beta: float) -> "Walk":
        """The walk of a test with these probabilities.

        Parameters
        ----------
        theta0, theta1
            Share of first contacts that succeed for an honest customer, and for a scanner.
        alpha, beta
            Accepted share of false alarms, and probability to detect a scanner.

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
