"""Which dossiers have to be looked at, and when."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from detectors.ladder.dossier import NEVER_MS


class Alarms:
    """One time for each dossier: that of the first timer.

    A heap by time. A timer that moves to later leaves its entry where it is; when that comes up, it
    is put in again at the time that counts. So a dossier has one entry that counts, and few more.
    """

    def __init__(self, due_ms: dict[str, int]) -> None:
        self._due_ms = due_ms
        self._entry_ms: dict[str, int] = {}
        """Where the entry is, of those whose timer has moved to later since."""
        self._heap = [(due, key) for key, due in due_ms.items()]
        heapify(self._heap)

    def set(self, key: str, due_ms: int) -> None:
        """Look at a dossier at this time and not before, or, with `NEVER_MS`, no more."""
        entry_ms = self._entry_ms.get(key, self._due_ms.get(key, NEVER_MS))
        if due_ms < entry_ms:
            heappush(self._heap, (due_ms, key))
            self._entry_ms.pop(key, None)
        elif entry_ms < NEVER_MS:
            self._entry_ms[key] = entry_ms
        else:
            return
        self._due_ms[key] = due_ms

    def is_due(self, key: str, now_ms: int) -> bool:
        """Whether a timer of a dossier is due by now."""
        return self._due_ms.get(key, NEVER_MS) <= now_ms

    def due(self, now_ms: int) -> Iterator[tuple[int, str]]:
        """Dossiers whose time has come, and the time, in order; they may be set again meanwhile."""
        while self._heap and self._heap[0][0] <= now_ms:
            entry_ms, key = heappop(self._heap)
            due_ms = self._due_ms.get(key, NEVER_MS)
            if entry_ms != self._entry_ms.get(key, due_ms):
                continue
            self._entry_ms.pop(key, None)
            del self._due_ms[key]
            if due_ms == entry_ms:
                yield due_ms, key
            else:
                self.set(key, due_ms)
