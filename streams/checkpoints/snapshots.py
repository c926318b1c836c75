"""Local snapshots: a worker that restarts on the same machine reads only newer changelog records.

A snapshot is a folder with one file for each column, mapped into memory when it is loaded, and the
changelog position it was taken at. It copies what the changelog holds: losing it costs time only.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote, unquote

import msgspec
import numpy as np
from mode.utils.logging import get_logger
from numpy.typing import NDArray

from detectors.state.version import LayoutError, require_version
from streams.checkpoints.changelog import Marker
from streams.checkpoints.tables import ColumnTable, Shard
from streams.settings import WorkerSettings

logger = get_logger(__name__)

META = "snapshot.msgpack"


class Meta(msgspec.Struct):
    """The changelog position at which a snapshot was taken, and the marker read last."""

    position: int
    marker: Marker


class Snapshots:
    """Saves shards to `data_dir`, one at a time, and loads them.

    Parameters
    ----------
    settings
        The folder, and how often each shard is saved.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self.folder = Path(settings.data_dir) / settings.app_id / "snapshots"
        self.interval_seconds = settings.snapshot_minutes * 60
        self._saved: dict[tuple[str, int], float] = {}
        self._started = monotonic()

    def load(self, table: ColumnTable, partition: int) -> Shard | None:
        """Load a shard.

        Parameters
        ----------
        table
            The table it belongs to.
        partition
            Number of its partition.

        Returns
        -------
        The shard as it was saved; None if there is no snapshot, or none that this release reads.
        """
        folder = self._place(table, partition)
        if not (folder / META).exists():
            return None
        shard = table.new_shard(partition)
        try:
            meta = msgspec.msgpack.decode((folder / META).read_bytes(), type=Meta)
            require_version(meta.marker.version, "the snapshot")
            shard.state.take_arrays(_mapped(folder))
            shard.state.recall(meta.marker.memory)
        except (OSError, ValueError, KeyError, LayoutError) as error:
            logger.warning("the snapshot %s is not used: %s", folder, error)
            return None
        shard.state.set_aside()
        shard.changelog.resume(meta.position, meta.marker)
        return shard

    def due(self, tables: Mapping[str, ColumnTable]) -> bool:
        """Tell whether a snapshot has to be taken.

        Parameters
        ----------
        tables
            The tables, by name.

        Returns
        -------
        Whether the snapshot of any active shard is older than the interval.
        """
        oldest = self._oldest(tables)
        return oldest is not None and monotonic() - oldest[0] >= self.interval_seconds

    def save_due(self, tables: Mapping[str, ColumnTable]) -> None:
        """Save the shard whose snapshot is oldest.

        Parameters
        ----------
        tables
            The tables, by name; nothing was folded since the last checkpoint.
        """
        oldest = self._oldest(tables)
        if oldest is not None:
            self.save(*oldest[1:])

    def _oldest(
        self, tables: Mapping[str, ColumnTable]
    ) -> tuple[float, ColumnTable, int, Shard] | None:
        shards = (
            (self._saved.get((table.name, number), self._started), table, number, shard)
            for table in tables.values()
            for number, shard in table.active().items()
        )
        return min(shards, key=lambda entry: entry[0], default=None)

    def save_all(self, tables: Mapping[str, ColumnTable]) -> None:
        """Save every active shard, before the worker stops.

        Parameters
        ----------
        tables
            The tables, by name; nothing was folded since the last checkpoint.
        """
        for table in tables.values():
            for number, shard in table.active().items():
                self.save(table, number, shard)

    def save(self, table: ColumnTable, number: int, shard: Shard) -> None:
        """Save one shard, unless it holds more than its last checkpoint.

        Parameters
        ----------
        table
            The table it belongs to.
        number
            Number of its partition.
        shard
            The shard.
        """
        marker = shard.changelog.marker
        behind = shard.dirty or shard.changelog.unread
        if behind or marker is None or marker.checkpoint < 0:
            return
        folder = self._place(table, number)
        new = folder.with_suffix(".new")
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            for name, array in shard.state.arrays().items():
                np.save(new / f"{quote(name, safe='')}.npy", array)
            meta = Meta(shard.changelog.position, marker)
            (new / META).write_bytes(msgspec.msgpack.encode(meta))
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
        except OSError as error:
            logger.warning("no snapshot of %s-%d: %s", table.name, number, error)
        self._saved[table.name, number] = monotonic()

    def _place(self, table: Any, partition: int) -> Path:
        return self.folder / f"{table.name}-{partition}"


def _mapped(folder: Path) -> dict[str, NDArray]:
    """Map the columns of a snapshot copy-on-write; empty files cannot be mapped and are read."""
    arrays = {}
    for file in folder.glob("*.npy"):
        try:
            array = np.load(file, mmap_mode="c")
        except ValueError:
            array = np.load(file)
        arrays[unquote(file.stem)] = array
    return arrays
