"""Checkpoints on a compacted topic: rows, and a marker that makes them count all at once.

A checkpoint writes the touched rows, then one marker with everything that belongs to the partition
as a whole, input offsets included. Rows count only when the marker of their checkpoint was read, so
what is read back is the state of one moment, however a crash cut the writing. Every row carries who
wrote it and for which checkpoint; a writer that lost the partition (a paused worker) is told by its
older epoch and ignored, and the rows it spoiled are written again by the one that holds the
partition.

The first checkpoint of a writer is its claim. It counts only if nothing came between it and what
the writer had read: a reader that knows more passes over it, and the writer sees the hole and has
to start again. From then on no earlier writer counts any more, whenever its records land.

Older images of a row must outlive the checkpoint that replaces them: the topic's
`min.compaction.lag.ms` (one hour) has to be far above the time between two checkpoints.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from struct import Struct as Packed
from typing import Protocol

import msgspec

from streams.errors import FairuseError

MARKER_KEY = b"!marker"
FORMAT = 2
HEADER = Packed("<BIII")
"""Format, epoch, writer, checkpoint."""

LINEAGE_MAX = 64
"""Earlier writers a marker names; past it every row is written again and half are forgotten."""


class Held(Protocol):
    """What a changelog keeps: a partition's state."""

    def restore(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Put stored rows back."""
        ...

    def recall(self, memory: bytes) -> None:
        """Take back what belongs to the partition as a whole."""
        ...

    def rewrite(self, keys: Sequence[bytes]) -> None:
        """Store these rows again at the next checkpoint."""
        ...


class Marker(msgspec.Struct, array_like=True):
    """The end of a checkpoint. `lineage` tells up to which checkpoint earlier writers count."""

    epoch: int
    writer: int
    checkpoint: int
    lineage: list[tuple[int, int, int]]
    memory: bytes


class ChangelogError(FairuseError):
    """A changelog that can't be read."""


@dataclass(slots=True)
class Changelog:
    """Reads one partition's changelog into `state`, and numbers what is written to it.

    Parameters
    ----------
    state
        What the rows belong to.
    writer
        A number this process drew at its start; tells two writers of one epoch apart.
    """

    state: Held
    writer: int
    position: int = -1
    """Last offset read, or written right after what was read."""
    marker: Marker | None = None
    foreign: bool = False
    _pending: list[tuple[bytes, bytes]] = field(default_factory=list)
    _orphans: list[bytes] = field(default_factory=list)
    _owned: bool = False
    _mending: bool = False
    """Whether the next checkpoint writes again what other writers spoiled."""
    _last: Marker | None = None
    """The last marker that counts up to `position`."""
    _end: int = -1
    """Last offset written, past what another writer wrote in between."""

    # -- reading --------------------------------------------------------------------------------

    def read(self, records: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Take in records (offset, key, value) in the order of the log."""
        for offset, key, value in records:
            if offset <= self.position:
                continue
            self.position = offset
            self._end = max(self._end, offset)
            if key != MARKER_KEY:
                self._pending.append((key, value))
                self._mending = False
            else:
                marker = msgspec.msgpack.decode(value, type=Marker)
                if self._follows(marker):
                    self._settle(marker)

    def resume(self, position: int, marker: Marker) -> None:
        """Begin at a place where the state already stands, as a snapshot tells."""
        self.position = self._end = position
        self.marker = self._last = marker

    @property
    def _unclaimed(self) -> bool:
        """Whether this writer took over and has not written a checkpoint yet."""
        return self._owned and self.marker is not None and self.marker.checkpoint < 0

    @property
    def unread(self) -> bool:
        """Whether another writer's records stand before this one's last, and were not read."""
        return self._end > self.position

    def _follows(self, marker: Marker) -> bool:
        last = self._last
        if last is None:
            return True
        if _wrote(marker, last):
            return marker.checkpoint > last.checkpoint
        # Whoever came as far as a second checkpoint saw no hole before its first.
        return marker.epoch > last.epoch and (marker.checkpoint > 0 or _knows(marker, last))

    def _settle(self, marker: Marker) -> None:
        """Apply the pending rows that this marker lets count; keep the others in mind."""
        self._last = marker
        if self._owned:
            if _wrote(marker, self.marker):
                return
            raise ChangelogError(
                "another worker took over a partition that this one held; restart it to follow"
            )
        counted = {(epoch, writer): last for epoch, writer, last in marker.lineage}
        counted[marker.epoch, marker.writer] = marker.checkpoint
        keys, values, later = [], [], []
        for key, value in self._pending:
            version, epoch, writer, checkpoint = HEADER.unpack_from(value)
            if version != FORMAT:
                raise ChangelogError(
                    f"the changelog is in format {version}, this is {FORMAT}: "
                    "start under a new app id"
                )
            if checkpoint <= counted.get((epoch, writer), -1):
                keys.append(key)
                values.append(value[HEADER.size :])
            elif epoch > marker.epoch:
                # A later writer's: only its own marker can tell.
                later.append((key, value))
            else:
                self._orphans.append(key)
        self._pending = later
        self.state.restore(keys, values)
        self.marker = marker

    # -- writing --------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Begin to write: a new epoch, after everything read so far.

        What others wrote in between and no marker made count is written again, also to a partition
        that this process held all along.
        """
        if not self._owned and self.marker is not None:
            self.state.recall(self.marker.memory)
        # They stay in mind until they are written: this writer may be sent away before.
        self.state.rewrite([*self._orphans, *(key for key, _ in self._pending)])
        self._mending = True
        if not self._unclaimed:
            self._begin()

    def release(self) -> None:
        """Write no more; what comes now is another writer's."""
        if self.unread:
            raise ChangelogError(
                "another worker wrote to a partition that this one held; restart it to follow"
            )
        if self._unclaimed:
            self.marker = self._last
        self._owned = False

    def _begin(self) -> None:
        last, epoch, lineage = self.marker, 1, []
        if last is not None:
            epoch = last.epoch + 1
            lineage = [*last.lineage, (last.epoch, last.writer, last.checkpoint)]
        if len(lineage) > LINEAGE_MAX:
            lineage, self.foreign = lineage[-LINEAGE_MAX // 2 :], True
        self.marker = Marker(epoch, self.writer, -1, lineage, b"")
        self._owned = True

    def header(self) -> bytes:
        """What stands before each row of the next checkpoint."""
        assert self._owned, "only the holder writes"
        assert self.marker is not None
        return HEADER.pack(FORMAT, self.marker.epoch, self.writer, self.marker.checkpoint + 1)

    def next_marker(self, memory: bytes) -> bytes:
        """The marker that ends the next checkpoint; `wrote` has to follow."""
        assert self._owned, "only the holder writes"
        assert self.marker is not None
        marker = msgspec.structs.replace(
            self.marker, checkpoint=self.marker.checkpoint + 1, memory=memory
        )
        return msgspec.msgpack.encode(marker)

    def wrote(self, offsets: Sequence[tuple[int, int]], memory: bytes) -> None:
        """Note what a checkpoint wrote: first offset and number of records of each batch.

        Offsets follow each other without a hole while nobody else writes. A hole is a lost
        writer's work: `foreign` is set, and the holder has to write everything again, for
        compaction may take its rows for older than the lost writer's. `position` stays before the
        hole, so that the next rebalance reads it. Before the first checkpoint it may be something
        that the claim missed.
        """
        assert self.marker is not None
        expected, hole = self._end + 1, False
        for first, records in sorted(offsets):
            hole |= first != expected
            expected = first + records
        if hole and self.marker.checkpoint < 0:
            raise ChangelogError(
                "another worker wrote to a partition while this one took it over; "
                "restart it to follow"
            )
        self.marker = msgspec.structs.replace(
            self.marker, checkpoint=self.marker.checkpoint + 1, memory=memory
        )
        if self._mending:
            self._pending, self._orphans = [], []
        self.foreign |= hole
        if not hole and self.position == self._end:
            self.position, self._last = expected - 1, self.marker
        self._end = expected - 1


def _wrote(marker: Marker, other: Marker) -> bool:
    """Whether two markers are of one writer's one epoch."""
    return (marker.epoch, marker.writer) == (other.epoch, other.writer)


def _knows(marker: Marker, last: Marker) -> bool:
    """Whether the writer of a marker had read the other one."""
    return any(
        (epoch, writer) == (last.epoch, last.writer) and checkpoint >= last.checkpoint
        for epoch, writer, checkpoint in marker.lineage
    )
