"""The order in which a replay folds events: kinds in step, split by partition, cut at closings."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.hashing import HashMap
from detectors.kernels.running import stable_order
from schemas.columns import Columns
from schemas.units import DAY_MS, Ints
from streams.broker.partitioner import partitions_of

SLICE_MS = 3 * DAY_MS
"""One kind of event runs ahead of the others by less than this, within a chunk."""

OfPartition = tuple[int, Columns]
"""The number of a partition, and the events that belong to it."""

SliceOf = Callable[[Ints], Ints]
"""Numbers slices of time: from watermarks (n,), ms, to the number of the slice of each, (n,)."""


def slice_of_three_days(watermark_ms: Ints) -> Ints:
    """Number the slices of `SLICE_MS`.

    Parameters
    ----------
    watermark_ms
        Watermarks, ms, shape (n,).

    Returns
    -------
    Number of the slice that each is in, shape (n,).
    """
    return watermark_ms // SLICE_MS


class InStep:
    """Hands out the kinds of a chunk in turns, so that none runs far ahead of the others.

    Rules that look at closed periods keep only a few of them for the kinds that lag behind.

    Parameters
    ----------
    slice_of
        Numbers the slices of time that take turns.
    """

    def __init__(self, slice_of: SliceOf = slice_of_three_days) -> None:
        self._slice_of = slice_of
        self._watermark_ms: dict[str, int] = {}

    def slices(self, kinds: Sequence[Columns]) -> Iterator[Columns]:
        """Cut each kind where its watermark enters another slice; give the oldest slices first.

        Parameters
        ----------
        kinds
            The events of a chunk, one set of columns for each kind.

        Returns
        -------
        Columns of one kind and one slice each; a kind that lies in one slice is not copied.
        """
        pieces = []
        for columns in kinds:
            if len(columns):
                watermark = np.maximum.accumulate(columns.time_ms)
                watermark = np.maximum(watermark, self._watermark_ms.get(columns.kind, 0))
                self._watermark_ms[columns.kind] = int(watermark[-1])
                numbers = self._slice_of(watermark)
                cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
                pieces += [(int(numbers[a]), columns, a, b) for a, b in pairwise(cuts)]
        for _, columns, start, end in sorted(pieces, key=lambda piece: piece[0]):
            whole = end - start == len(columns)
            yield columns if whole else columns.take(np.arange(start, end))


class Homes:
    """Knows the partition of each customer; it is worked out once for each.

    Parameters
    ----------
    partitions
        How many partitions there are.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._known = HashMap()

    def split(self, columns: Columns) -> list[OfPartition]:
        """Split events by the partition of their customer.

        Parameters
        ----------
        columns
            Events of one kind.

        Returns
        -------
        The events of each partition that has any, in their order.
        """
        if self._partitions == 1:
            return [(0, columns)]
        if not len(columns):
            return []
        return [(number, columns.take(rows)) for number, rows in split_rows(self._of(columns))]

    def _of(self, columns: Columns) -> NDArray[np.integer]:
        """Partition of each row's customer, shape (n,)."""
        place, new = self._known.claim(columns.customer_hash)
        if len(new):
            keys = columns.customer_id[new].tolist()
            self._known.values[place[new]] = partitions_of(keys, self._partitions)
        return self._known.values[place]


def split_rows(partition: NDArray[np.integer]) -> Iterator[tuple[int, Ints]]:
    """Group rows by partition.

    Parameters
    ----------
    partition
        Partition of each row, shape (n,).

    Returns
    -------
    Each partition that has rows, with the numbers of its rows in their order, shape (m,).
    """
    order = stable_order(partition)
    ends = np.cumsum(np.bincount(partition)).tolist()
    start = 0
    for number, end in enumerate(ends):
        if end > start:
            yield number, order[start:end]
        start = end


def cut_around(parts: list[OfPartition], offsets: Collection[int]) -> Iterator[list[OfPartition]]:
    """Cut parts so that the event at each of these offsets stands alone.

    Parameters
    ----------
    parts
        The events of each partition, of one kind.
    offsets
        Offsets to cut before and after; none leaves the parts whole.

    Returns
    -------
    The parts of each stretch of offsets, in the order of offsets.
    """
    if not offsets:
        yield parts
        return
    cuts = sorted({cut for offset in offsets for cut in (offset, offset + 1)})
    for first, last in pairwise([None, *cuts, None]):
        stretch = []
        for number, part in parts:
            start = 0 if first is None else int(np.searchsorted(part.offset, first))
            end = len(part) if last is None else int(np.searchsorted(part.offset, last))
            if end > start:
                stretch.append((number, part.take(np.arange(start, end))))
        yield stretch
