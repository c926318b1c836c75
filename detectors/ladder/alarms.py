"""When the first timer of each dossier fires."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from detectors.ladder.dossier import NEVER_MS


class Alarms:
    """A heap of times, one for each dossier: that of its first timer.

    A timer that moves to a later time leaves its entry where it is. When that entry comes up, it is
    put in again at the later time. So each dossier has one valid entry and few stale ones.
    """

    def __init__(self, due_ms: dict[str, int]) -> None:
        self._due_ms = due_ms
        self._entry_ms: dict[str, int] = {}
        """Time of the entry of each dossier whose timer has moved to a later time since."""
        self._heap = [(due, key) for key, due in due_ms.items()]
        heapify(self._heap)

    def set(self, key: str, due_ms: int) -> None:
        """Set the time of a dossier's first timer; `NEVER_MS` if it has none."""
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
        """Time and key of each dossier that is due, in order; it may be set again meanwhile."""
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
