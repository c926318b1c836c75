"""Remembers event ids, so that an event that comes twice counts once."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.hashing import ABSENT, HashMap
from detectors.state.chunks import ChunkLog
from schemas.units import HOUR_MS, Hashes, Ints, Mask

PRUNED_SIZE_MIN = 1_024
ENTRY = np.dtype([("key", "<u8"), ("expiry", "<i4")])


class Duplicates:
    """Event ids of one kind in one partition, remembered for `window_hours` of event time.

    An id is remembered until the watermark is more than `window_hours` past the hour that it stood
    at when the id came. So a repeated record is caught, however late its event is.

    Parameters
    ----------
    window_hours
        How long an id is remembered, in hours of the watermark.
    entries_max
        Upper bound of ids; beyond it the oldest are forgotten early, and `evicted` counts them.
    """

    def __init__(self, window_hours: int, entries_max: int) -> None:
        self.window_hours = window_hours
        self.entries_max = entries_max
        self.evicted = 0
        self._map = HashMap()
        self._log = ChunkLog(ENTRY)
        self._new: list[NDArray] = []
        self._hour = 0
        self._pruned_hour, self._pruned_size = 0, PRUNED_SIZE_MIN
        self._rewrite = False

    def __len__(self) -> int:
        return self._map.size

    def screen(self, key: Hashes, watermark_ms: Ints) -> Mask:
        """Remember the ids; whether each is seen for the first time, shape (n,)."""
        if len(key) == 0:
            return np.zeros(0, bool)
        hour = watermark_ms // HOUR_MS
        place, new = self._map.claim(key)
        values = self._map.values
        if len(new) == len(key):
            values[place] = hour + self.window_hours
            return self._noted(key, hour, np.ones(len(key), bool))
        expiry = values[place]
        expiry[new] = -1
        first = self._map.first_rows(place)
        fresh = first & (expiry < hour)
        values[place[first]] = np.where(fresh, hour + self.window_hours, expiry)[first]
        for row in np.flatnonzero(~first).tolist():
            if values[place[row]] < hour[row]:
                values[place[row]] = hour[row] + self.window_hours
                fresh[row] = True
        return self._noted(key, hour, fresh)

    def knows(self, key: Hashes) -> Mask:
        """Whether each id is remembered, shape (n,)."""
        return self._map.find(key) != ABSENT

    def _noted(self, key: Hashes, hour: Ints, fresh: Mask) -> Mask:
        """Keep the fresh ids for the next checkpoint, and drop expired ones."""
        entries = np.empty(int(fresh.sum()), ENTRY)
        entries["key"], entries["expiry"] = key[fresh], hour[fresh] + self.window_hours
        self._new.append(entries)
        self._hour = int(hour[-1])
        self._prune()
        return fresh

    def changes(self) -> list[tuple[int, bytes]]:
        """Number and content of each chunk that changed since the last call."""
        if self._rewrite:
            used = np.flatnonzero(self._map.keys)
            entries = np.empty(len(used), ENTRY)
            entries["key"], entries["expiry"] = self._map.keys[used], self._map.values[used]
            stored = self._log.restart() + self._log.write(entries, self._hour)
            self._rewrite = False
        else:
            entries = np.concatenate(self._new) if self._new else np.zeros(0, ENTRY)
            stored = self._log.write(entries, self._hour)
        self._new = []
        return stored

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored chunk."""
        entries = self._log.take(number, stored)
        place, _ = self._map.claim(entries["key"].astype(np.uint64))
        self._map.values[place] = np.maximum(self._map.values[place], entries["expiry"])

    def rewrite(self, number: int | None = None) -> None:
        """Store everything again at the next checkpoint; empty chunk `number` if it is not used."""
        self._rewrite = True
        if number is not None:
            self._log.disown(number)

    def arrays(self) -> dict[str, NDArray]:
        """Everything that the last checkpoint holds, for a snapshot."""
        used = np.flatnonzero(self._map.keys)
        return {
            "keys": self._map.keys[used],
            "expiry": self._map.values[used],
            **self._log.arrays(),
        }

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        self._map = HashMap(max(32, len(arrays["keys"])))
        self._map.add(np.array(arrays["keys"]), np.array(arrays["expiry"]))
        self._log.take_arrays(arrays)

    def _prune(self) -> None:
        """Drop expired ids, but only once the map has doubled or is full.

        So each id is copied about once. In a full map the older half of the ids goes, too.
        """
        full = self._map.size > self.entries_max
        is_new_hour = self._hour > self._pruned_hour
        if not full and not (is_new_hour and self._map.size > 2 * self._pruned_size):
            return
        self._pruned_hour = self._hour
        expiry = self._map.values
        keep = expiry >= self._hour
        alive = expiry[keep & (self._map.keys != 0)]
        if len(alive) > self.entries_max:
            floor = np.partition(alive, len(alive) // 2)[len(alive) // 2]
            keep &= expiry > floor
            self.evicted += int((alive <= floor).sum())
        self._map.keep(keep)
        self._pruned_size = max(PRUNED_SIZE_MIN, self._map.size)
