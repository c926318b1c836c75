"""What each event counted, for as long as it can be corrected."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.duplicates import HOUR_MS
from detectors.kernels.chunks import ChunkLog
from detectors.rule import Batch
from schemas.fields import Fields
from schemas.hashing import Hashes, mix

REMEMBERED: dict[str, dict[str, str]] = {
    "sms": {"is_sent": "?", "is_sent_sms": "?"},
    "voice": {"is_originated": "?", "duration_ms": "<u4"},
    "data": {"is_abroad": "?", "bytes": "<i8", "duration_ms": "<i8"},
}
"""What is remembered of an event, by kind: all that rules that can take it back ask of it."""


class Ledger:
    """Events of one kind in one partition, found again by id for `window_hours` of event time.

    Corrections are few, so entries lie in the order they came and are looked through for each.

    Parameters
    ----------
    kind
        One of `REMEMBERED`.
    window_hours
        How long an event can be corrected, in hours the watermark moves; 0 remembers nothing.
    entries_max
        Events remembered at most; past it the oldest go early, and `evicted` counts them.
    """

    def __init__(self, kind: str, window_hours: int, entries_max: int) -> None:
        head = [("key", "<u8"), ("time_ms", "<i8"), ("expiry", "<i4"), ("is_gone", "?")]
        self.dtype = np.dtype([*head, *REMEMBERED[kind].items()])
        self.window_hours = window_hours
        self.entries_max = entries_max
        self.evicted = 0
        self._fields = tuple(REMEMBERED[kind])
        self._stored: dict[int, NDArray] = {}
        self._new: list[NDArray] = []
        self._hour = 0
        self._log = ChunkLog(self.dtype)
        self._rewrite = False

    def __len__(self) -> int:
        return sum(map(len, self._blocks()))

    def note(self, event: Hashes, customer: Hashes, batch: Batch) -> None:
        """Remember the events of a batch by their ids and customers, shape (n,) each."""
        if self.window_hours == 0 or len(event) == 0:
            return
        entries = np.zeros(len(event), self.dtype)
        entries["key"] = mix(event, customer)
        entries["time_ms"] = batch.time_ms
        entries["expiry"] = batch.watermark_ms // HOUR_MS + self.window_hours
        for name in self._fields:
            entries[name] = batch.fields[name]
        self._add(entries, batch.newest_ms)

    def take_back(self, event: Hashes, customer: Hashes, watermark_ms: int) -> NDArray | None:
        """An event as it counted, shape (1,); from now on it can't be taken back again.

        None if it is not remembered, or was taken back before. `event` and `customer` have shape
        (1,).
        """
        key, hour = mix(event, customer)[0], watermark_ms // HOUR_MS
        matches = [block[block["key"] == key] for block in self._blocks()]
        found = np.concatenate([np.zeros(0, self.dtype), *matches])
        if len(found) == 0 or found["is_gone"].any() or found["expiry"][0] < hour:
            return None
        gone = found[:1].copy()
        gone["is_gone"] = True
        gone["expiry"] = hour + self.window_hours
        self._add(gone, watermark_ms)
        return found[:1]

    def fields_of(self, entries: NDArray) -> Fields:
        """What the rules read of remembered events."""
        columns = {name: np.ascontiguousarray(entries[name]) for name in self._fields}
        return Fields.of(
            {n: c if c.dtype == np.bool_ else c.astype(np.int64) for n, c in columns.items()}
        )

    def _blocks(self) -> Iterator[NDArray]:
        yield from self._stored.values()
        yield from self._new

    def _add(self, entries: NDArray, newest_ms: int) -> None:
        self._new.append(entries)
        hour = newest_ms // HOUR_MS
        if hour != self._hour or len(self) > self.entries_max:
            self._hour = hour
            self._forget()

    def _forget(self) -> None:
        """Let go of what expired, and of the oldest when there is too much."""
        self._stored = {n: b for n, b in self._stored.items() if _alive(b, self._hour)}
        self._new = [block for block in self._new if _alive(block, self._hour)]
        while len(self) > self.entries_max and (self._stored or len(self._new) > 1):
            if self._stored:
                oldest = min(self._stored, key=lambda n: int(self._stored[n]["expiry"].max()))
                self.evicted += len(self._stored.pop(oldest))
            else:
                self.evicted += len(self._new.pop(0))

    def changes(self) -> list[tuple[int, bytes]]:
        """Chunks to store so that everything remembered so far survives a restart."""
        stored = self._log.restart() if self._rewrite else []
        new = list(self._blocks()) if self._rewrite else self._new
        if self._rewrite:
            self._stored = {}
        together = np.concatenate([np.zeros(0, self.dtype), *new])
        for number, chunk in self._log.write(together, self._hour):
            self._stored[number] = np.frombuffer(chunk, self.dtype)
            stored.append((number, chunk))
        self._new, self._rewrite = [], False
        return stored

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored chunk."""
        self._stored[number] = self._log.take(number, stored)

    def rewrite(self, number: int | None = None) -> None:
        """Store everything anew at the next checkpoint, over chunk `number` too."""
        self._rewrite = True
        if number is not None:
            self._log.disown(number)

    def arrays(self) -> dict[str, NDArray]:
        """Everything that the last checkpoint holds, for a snapshot."""
        numbers = np.repeat(list(self._stored), [len(b) for b in self._stored.values()])
        entries = np.concatenate([np.zeros(0, self.dtype), *self._stored.values()])
        raw = entries.view(np.uint8).reshape(len(entries), self.dtype.itemsize)
        return {"numbers": numbers.astype(np.int64), "entries": raw, **self._log.arrays()}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        numbers = np.asarray(arrays["numbers"])
        raw = np.ascontiguousarray(arrays["entries"])
        entries = raw.reshape(-1).view(self.dtype)
        self._stored = {n: entries[numbers == n] for n in np.unique(numbers).tolist()}
        self._new = []
        self._log.take_arrays(arrays)


def _alive(block: NDArray, hour: int) -> bool:
    return len(block) > 0 and int(block["expiry"].max()) >= hour
