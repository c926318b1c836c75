"""Units, array types, and times as other systems read them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Hashes = NDArray[np.uint64]
Texts = NDArray[np.object_]
"""Strings, byte strings or None."""

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

MB = 10**6
GB = 10**9
MIB = 2**20

EURO = 1_000_000
"""In microeuro."""


def object_column(values: Sequence[Any] | Texts) -> NDArray[np.object_]:
    """A new column of Python objects, shape (n,)."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


def iso(time_ms: int) -> str:
    """An instant in RFC 3339, in UTC.

    Examples
    --------
    >>> iso(1_717_401_600_000)
    '2024-06-03T08:00:00Z'
    """
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
