"""What each event counted, for as long as it can be corrected."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.rules.contract import NEVER, Batch, Siblings
from detectors.state.chunks import ChunkLog
from detectors.state.version import LayoutError
from schemas.fields import Fields
from schemas.hashing import Hashes, mix
from schemas.units import HOUR_MS

REMEMBERED: dict[str, dict[str, str]] = {
    "sms": {
        "is_abroad": "?",
        "is_originated": "?",
        "is_sent": "?",
        "is_sent_sms": "?",
        "charge_microeur": "<i8",
        "recipient": "<u8",
        "message_reference": "<u8",
    },
    "voice": {
        "is_abroad": "?",
        "is_originated": "?",
        "is_first_part": "?",
        "duration_ms": "<u4",
        "charge_microeur": "<i8",
        "other_party": "<u8",
        "cell_id": "<u8",
        "served_imei": "<u8",
    },
    "data": {
        "is_abroad": "?",
        "bytes": "<i8",
        "duration_ms": "<i8",
        "charge_microeur": "<i8",
        "device_fingerprint": "<u8",
        "served_imei": "<u8",
    },
    "stream": {"at_home": "?", "duration_ms": "<i8", "device_id": "<u8", "address_id": "<u8"},
}
"""What can be remembered of an event, by kind; a ledger remembers what its policy's rules ask."""

HEAD = [("key", "<u8"), ("time_ms", "<i8"), ("expiry", "<i4"), ("is_gone", "?")]
OF_SIBLINGS = [("customer", "<u8"), ("watermark_ms", "<i8"), ("offset", "<i8")]
"""Whose an event is and when it came: with it, a customer's events are found in their order."""


class Ledger:
    """Events of one kind in one partition, found again by id for `window_hours` of event time.

    Corrections are few, so entries lie in the order they came and are looked through for each.
    Where rules ask for the other events of a customer (`siblings`), events are remembered for
    `siblings_hours` longer than they can be corrected, so that a stretch of that length which ends
    with the corrected event is all there.

    Parameters
    ----------
    kind
        One of `REMEMBERED`.
    asked
        Names of the fields that the rules ask of a remembered event.
    window_hours
        How long an event can be corrected, in hours the watermark moves; 0 remembers nothing.
    siblings_hours
        How much longer it is remembered as a sibling; 0 where no rule asks for siblings.
    entries_max
        Events remembered at most; past it the oldest go early, and `evicted` counts them.
    """

    def __init__(
        self,
        kind: str,
        asked: Collection[str],
        window_hours: int,
        siblings_hours: int,
        entries_max: int,
    ) -> None:
        stored = {name: form for name, form in REMEMBERED[kind].items() if name in asked}
        self.has_siblings = siblings_hours > 0
        self.dtype = np.dtype([*HEAD, *(OF_SIBLINGS if self.has_siblings else ()), *stored.items()])
        self.window_hours = window_hours
        self.siblings_hours = siblings_hours
        self.entries_max = entries_max
        self.evicted = 0
        self.lost_expiry = 0
        """The latest expiry of what was evicted: what came until then may be missing."""
        self._fields = tuple(stored)
        self._stored: dict[int, NDArray] = {}
        self._new: list[NDArray] = []
        self._hour = 0
        self._log = ChunkLog(self.dtype)
        self._rewrite = False

    @property
    def layout(self) -> list[list[str]]:
        """What an entry is made of."""
        return [[name, self.dtype[name].str] for name in self.dtype.names or ()]

    @property
    def kept_hours(self) -> int:
        """How long an event is remembered, in hours the watermark moves."""
        return self.window_hours + self.siblings_hours

    def __len__(self) -> int:
        return sum(map(len, self._blocks()))

    def note(self, event: Hashes, customer: Hashes, batch: Batch) -> None:
        """Remember the events of a batch by their ids and customers, shape (n,) each."""
        if self.window_hours == 0 or len(event) == 0:
            return
        entries = np.zeros(len(event), self.dtype)
        entries["key"] = mix(event, customer)
        entries["time_ms"] = batch.time_ms
        entries["expiry"] = batch.watermark_ms // HOUR_MS + self.kept_hours
        if self.has_siblings:
            entries["customer"] = customer
            entries["watermark_ms"], entries["offset"] = batch.watermark_ms, batch.offset
        for name in self._fields:
            entries[name] = batch.fields[name]
        self._add(entries, batch.newest_ms)

    def take_back(self, event: Hashes, customer: Hashes, watermark_ms: int) -> NDArray | None:
        """An event as it counted, shape (1,); from now on it can't be taken back again.

        None if it is not remembered, or was taken back before. `event` and `customer` have shape
        (1,).
        """
        key, hour = mix(event, customer)[0], watermark_ms // HOUR_MS
        found = self._where("key", key)
        found = found[found["expiry"] >= hour + self.siblings_hours]
        if len(found) == 0 or found["is_gone"].any():
            return None
        gone = found[:1].copy()
        gone["is_gone"] = True
        gone["expiry"] = hour + self.kept_hours
        self._add(gone, watermark_ms)
        return found[:1]

    def siblings(self, event: NDArray, at: Batch) -> Siblings:
        """The events of its customer among which an event counted.

        Parameters
        ----------
        event
            What `take_back` gave, shape (1,).
        at
            The event that corrects it, of shape (1,).
        """
        if not self.has_siblings:
            nothing = np.zeros(0, np.int64)
            return Siblings(at.take(nothing), 0, NEVER)
        hour = at.newest_ms // HOUR_MS
        own = self._where("customer", event["customer"][0])
        gone = np.setdiff1d(own["offset"][own["is_gone"]], event["offset"])
        own = own[(own["expiry"] >= hour) & ~own["is_gone"] & ~np.isin(own["offset"], gone)]
        # Chunks that were read back may lie in any order.
        own = own[np.argsort(own["offset"], kind="stable")]
        events = Batch(
            kind=at.kind,
            slot=np.repeat(at.slot, len(own)),
            time_ms=own["time_ms"].astype(np.int64),
            watermark_ms=own["watermark_ms"].astype(np.int64),
            offset=own["offset"].astype(np.int64),
            fields=self.fields_of(own),
        )
        # What came at an hour or later is all there, and nothing comes before its own time.
        since = max(hour, self.lost_expiry + 1) - self.kept_hours
        place = int(np.searchsorted(events.offset, event["offset"][0]))
        return Siblings(events, place, since * HOUR_MS)

    def fields_of(self, entries: NDArray) -> Fields:
        """What the rules read of remembered events."""
        columns = {name: np.ascontiguousarray(entries[name]) for name in self._fields}
        return Fields.of({name: _as_read(column) for name, column in columns.items()})

    def _where(self, name: str, value: np.uint64) -> NDArray:
        """Entries that have a value, as the blocks hold them."""
        found = [block[block[name] == value] for block in self._blocks()]
        return np.concatenate([np.zeros(0, self.dtype), *found])

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
                evicted = self._stored.pop(oldest)
            else:
                evicted = self._new.pop(0)
            self.evicted += len(evicted)
            self.lost_expiry = max(self.lost_expiry, int(evicted["expiry"].max()))

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
        if len(stored) % self.dtype.itemsize:
            raise LayoutError(
                "the remembered events are not laid out as the policy's rules ask: restore the old "
                "rules or start under a new app id"
            )
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


def _as_read(column: NDArray) -> NDArray:
    """A stored column as rules read it: flags and hashes as they are, numbers wide."""
    return column if column.dtype in (np.bool_, np.uint64) else column.astype(np.int64)
