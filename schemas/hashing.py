"""Stable 64-bit hashes of strings, over columns.

They are the same in every process, so they may be stored. Two of ten million customers share a hash
with a probability of about 3 in a million.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pandas.util import hash_array

from schemas.units import Hashes, Texts, object_column

FACTOR = np.uint64(0x9E3779B97F4A7C15)

_sip_hash = cast(Callable[..., Hashes], hash_array)  # its module imports it lazily, as an object


def hash_strings(values: Sequence[str] | Sequence[bytes] | Texts) -> Hashes:
    """SipHash of each string (its UTF-8 bytes), shape (n,); zero is never returned.

    Examples
    --------
    >>> bool(hash_strings(["a"])[0] == hash_strings([b"a"])[0])
    True
    """
    return np.maximum(_sip_hash(object_column(values), categorize=False), np.uint64(1))


def mix(*columns: NDArray[np.integer[Any]]) -> Hashes:
    """One hash of several columns of whole numbers, shape (n,); zero is never returned."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        mixed = (mixed ^ column.astype(np.uint64)) * FACTOR
        mixed ^= mixed >> np.uint64(29)
    return np.maximum(mixed, np.uint64(1))
