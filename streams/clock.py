"""The one place that reads the wall clock; all other times are event times."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Milliseconds since the Unix epoch."""


def wall_clock() -> int:
    """Read this machine's clock.

    Returns
    -------
    Milliseconds since the Unix epoch.
    """
    return time.time_ns() // 1_000_000
