"""Checkpoints on a compacted topic: rows, and a marker that makes them count all at once.

A checkpoint writes the touched rows, then one marker with everything that belongs to the partition
as a whole, input offsets included. A reader applies rows only after it has read the marker of their
checkpoint, so that it restores the state of one moment, even if a crash cut the writing short.

Every row names its writer and its checkpoint. A worker that was paused may go on writing to a
partition that another one holds by now. Readers recognise it by its older epoch and ignore its
rows; the holder writes the rows that these replaced again.

The first checkpoint of a writer claims the partition. The claim counts only if nothing was written
between it and what the writer had read: a reader that read more ignores the claim, and the writer
sees a hole in its offsets and has to start again. Once a claim counts, nothing counts any more that
an earlier writer writes later.

Compaction must not remove an older version of a row before the checkpoint that replaces it is
complete: the topic's `min.compaction.lag.ms` (one hour) is far above the time that one takes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from struct import Struct as Packed
from typing import Protocol

import msgspec

from detectors.state.version import STATE_VERSION, require_version
from streams.errors import FairuseError

MARKER_KEY = b"!marker"
HEADER = Packed("<BIII")
"""Version of the layout, epoch, writer, checkpoint."""

LINEAGE_MAX = 64
"""Earlier writers that a marker names; with more, half are dropped and every row written again."""


class Held(Protocol):
    """State of a partition that a changelog stores."""

    def restore(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Put stored rows back; `recall` follows.

        Parameters
        ----------
        keys, values
            n rows, as `changes` gave them.
        """
        ...

    def recall(self, memory: bytes) -> None:
        """Put back what belongs to the partition as a whole.

        Parameters
        ----------
        memory
            What `remember` gave.
        """
        ...

    def rewrite(self, keys: Sequence[bytes]) -> None:
        """Write rows again at the next checkpoint.

        Parameters
        ----------
        keys
            Keys of the rows.
        """
        ...


class Marker(msgspec.Struct, array_like=True):
    """The end of a checkpoint."""

    epoch: int
    """Counts the times that the partition was taken over."""
    writer: int
    checkpoint: int
    """Number of the checkpoint in its epoch, from 0; -1 before the first."""
    lineage: list[tuple[int, int, int]]
    """Epoch, writer and last checkpoint that counts of each earlier writer."""
    memory: bytes
    version: int | None = None
    """Version of the stored layout; markers of earlier releases have none."""


class ChangelogError(FairuseError):
    """This worker can neither read nor write a changelog any more."""


@dataclass(slots=True)
class Changelog:
    """Reads one partition's changelog into `state`, and numbers what this process writes to it.

    Parameters
    ----------
    state
        State of the partition.
    writer
        A number this process drew at its start; tells two writers of one epoch apart.
    """

    state: Held
    writer: int
    position: int = -1
    """Offset up to which everything was read, or written by this process without a hole."""
    marker: Marker | None = None
    """Marker of the last checkpoint that was applied or written."""
    foreign: bool = False
    """Whether another writer's rows have to be replaced: the next checkpoint writes every row."""
    _pending: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Rows read whose marker was not read yet."""
    _orphans: list[bytes] = field(default_factory=list)
    """Keys of rows read that never counted; they may have replaced rows that do."""
    _owned: bool = False
    """Whether this process is the writer."""
    _mending: bool = False
    """Whether the next checkpoint writes the pending and orphaned rows again."""
    _last: Marker | None = None
    """The last marker that counts up to `position`."""
    _end: int = -1
    """Last offset that this process wrote; other writers' records may stand before it."""

    # -- reading --------------------------------------------------------------------------------

    def read(self, records: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Apply records of the changelog.

        Parameters
        ----------
        records
            Offset, key and value of each, in the order of their offsets; known ones are skipped.

        Raises
        ------
        ChangelogError
            Another worker took over a partition that this process writes.
        LayoutError
            Another version of the layout was stored.
        """
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
                    self._apply(marker)

    def resume(self, position: int, marker: Marker) -> None:
        """Begin at the checkpoint at which a snapshot was taken.

        Parameters
        ----------
        position
            Offset up to which the snapshot holds the changelog.
        marker
            Marker of the checkpoint.
        """
        self.position = self._end = position
        self.marker = self._last = marker

    @property
    def _unclaimed(self) -> bool:
        """Whether this writer took over and has not written a checkpoint yet."""
        return self._owned and self.marker is not None and self.marker.checkpoint < 0

    @property
    def unread(self) -> bool:
        """Whether records of another writer stand before this one's last and were not read."""
        return self._end > self.position

    def _follows(self, marker: Marker) -> bool:
        """Whether a marker counts, after the last one that does."""
        last = self._last
        if last is None:
            return True
        if _wrote(marker, last):
            return marker.checkpoint > last.checkpoint
        # A writer that wrote a second checkpoint saw no hole before its first.
        return marker.epoch > last.epoch and (marker.checkpoint > 0 or _knows(marker, last))

    def _apply(self, marker: Marker) -> None:
        """Apply the pending rows that count by this marker."""
        self._last = marker
        if self._owned:
            if self.marker is not None and _wrote(marker, self.marker):
                return
            raise ChangelogError(
                "another worker took over a partition that this one held; restart it to follow"
            )
        require_version(marker.version, "the changelog")
        counted = {(epoch, writer): last for epoch, writer, last in marker.lineage}
        counted[marker.epoch, marker.writer] = marker.checkpoint
        keys, values, later = [], [], []
        for key, value in self._pending:
            version, epoch, writer, checkpoint = HEADER.unpack_from(value)
            require_version(version, "the changelog")
            if checkpoint <= counted.get((epoch, writer), -1):
                keys.append(key)
                values.append(value[HEADER.size :])
            elif epoch > marker.epoch:
                # The row of a later writer: the marker of that one decides.
                later.append((key, value))
            else:
                self._orphans.append(key)
        self._pending = later
        self.state.restore(keys, values)
        self.marker = marker

    # -- writing --------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Become the writer: begin a new epoch after everything read so far.

        Rows of others that no marker made count are written again at the next checkpoint, also if
        this process was the writer before.
        """
        if not self._owned and self.marker is not None:
            self.state.recall(self.marker.memory)
        # They stay pending until they are written: the partition may be lost before.
        self.state.rewrite([*self._orphans, *(key for key, _ in self._pending)])
        self._mending = True
        if not self._unclaimed:
            self._begin()

    def release(self) -> None:
        """Stop writing; what is read from now on is another writer's.

        Raises
        ------
        ChangelogError
            Another writer wrote while this process was the writer.
        """
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
        self.marker = Marker(epoch, self.writer, -1, lineage, b"", STATE_VERSION)
        self._owned = True

    def header(self) -> bytes:
        """Make the header of each row of the next checkpoint.

        Returns
        -------
        Bytes that stand before the row.
        """
        assert self._owned, "only the holder writes"
        assert self.marker is not None
        next_checkpoint = self.marker.checkpoint + 1
        return HEADER.pack(STATE_VERSION, self.marker.epoch, self.writer, next_checkpoint)

    def next_marker(self, memory: bytes) -> bytes:
        """Make the marker that ends the next checkpoint; `wrote` has to follow.

        Parameters
        ----------
        memory
            What belongs to the partition as a whole.

        Returns
        -------
        Value of the record whose key is `MARKER_KEY`.
        """
        assert self._owned, "only the holder writes"
        assert self.marker is not None
        marker = msgspec.structs.replace(
            self.marker, checkpoint=self.marker.checkpoint + 1, memory=memory
        )
        return msgspec.msgpack.encode(marker)

    def wrote(self, offsets: Sequence[tuple[int, int]], memory: bytes) -> None:
        """Note that a checkpoint is delivered.

        While nobody else writes, the offsets have no hole. A hole was written by a worker that lost
        the partition. Compaction may keep its rows instead of older ones of the holder, so that
        `foreign` is set and the next checkpoint writes every row. `position` stays before the hole,
        so that the next rebalance reads it.

        Parameters
        ----------
        offsets
            First offset and number of records of each batch that was delivered.
        memory
            What belongs to the partition as a whole, as the marker holds it.

        Raises
        ------
        ChangelogError
            There is a hole before the first checkpoint: this worker claimed the partition without
            having read it all.
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
    """Whether two markers have the same writer and epoch."""
    return (marker.epoch, marker.writer) == (other.epoch, other.writer)


def _knows(marker: Marker, last: Marker) -> bool:
    """Whether the writer of `marker` had read `last`."""
    return any(
        (epoch, writer) == (last.epoch, last.writer) and checkpoint >= last.checkpoint
        for epoch, writer, checkpoint in marker.lineage
    )
