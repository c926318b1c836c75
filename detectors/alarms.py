"""Which dossiers have to be looked at, and when."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush


class Alarms:
    """One time for each dossier: that of the first timer, or earlier.

    A heap by time. A timer that moves to later leaves its entry where it is: when that comes up,
    the dossier is looked at and set again; so a dossier has one entry that counts, and few more.
    """

    def __init__(self, due_ms: dict[str, int]) -> None:
        self._due_ms = due_ms
        self._heap = [(due, key) for key, due in due_ms.items()]
        heapify(self._heap)

    def set(self, key: str, due_ms: int) -> None:
        """Look at a dossier at this time, if not before."""
        if due_ms < self._due_ms.get(key, due_ms + 1):
            self._due_ms[key] = due_ms
            heappush(self._heap, (due_ms, key))

    def may_be_due(self, key: str, now_ms: int) -> bool:
        """Whether a timer of a dossier can be due by now."""
        due_ms = self._due_ms.get(key)
        return due_ms is not None and due_ms <= now_ms

    def due(self, now_ms: int) -> Iterator[tuple[int, str]]:
        """Dossiers whose time has come, and the time, in order; they may be set again meanwhile."""
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, key = heappop(self._heap)
            if self._due_ms.get(key) == due_ms:
                del self._due_ms[key]
                yield due_ms, key
