"""Kafka's default partitioner, over columns of keys."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

M = np.uint32(0x5BD1E995)
SEED = np.uint32(0x9747B28C)


def partition_of(key: bytes, partitions: int) -> int:
    """Choose the partition of one key, as Kafka's own clients do.

    Parameters
    ----------
    key
        The key of a record.
    partitions
        How many partitions the topic has.

    Returns
    -------
    The partition's number, from 0.
    """
    return int(partitions_of([key], partitions)[0])


def partitions_of(keys: Sequence[bytes], partitions: int) -> NDArray[np.int64]:
    """Choose the partition of each key, as Kafka's own clients do (murmur2).

    Parameters
    ----------
    keys
        Keys of n records.
    partitions
        How many partitions the topic has.

    Returns
    -------
    Numbers of the partitions, from 0, shape (n,).

    Examples
    --------
    >>> partitions_of([b"32470000123", b"7"], 8).tolist()
    [7, 3]
    """
    hashed = murmur2(keys) & np.uint32(0x7FFFFFFF)
    return (hashed % np.uint32(partitions)).astype(np.int64)


def murmur2(keys: Sequence[bytes]) -> NDArray[np.uint32]:
    """Hash keys with Austin Appleby's 32-bit murmur2 and Kafka's seed.

    Parameters
    ----------
    keys
        n keys.

    Returns
    -------
    Hashes, shape (n,).
    """
    length = np.array([len(key) for key in keys], np.uint32)
    words = -(-int(length.max(initial=0)) // 4) or 1
    padded = b"".join(key.ljust(4 * words, b"\0") for key in keys)
    blocks = np.frombuffer(padded, "<u4").reshape(len(keys), words)
    hashed = SEED ^ length
    for word in range(words):
        rest = length.astype(np.int64) - 4 * word
        k = blocks[:, word] * M
        k ^= k >> np.uint32(24)
        whole = (hashed * M) ^ (k * M)
        tail = (hashed ^ blocks[:, word]) * M
        hashed = np.where(rest >= 4, whole, np.where(rest > 0, tail, hashed))
    hashed ^= hashed >> np.uint32(13)
    hashed *= M
    return hashed ^ (hashed >> np.uint32(15))
