"""Which customers have to be looked at, and when."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush


class Alarms:
    """One time for each customer: that of the first timer, or earlier.

    A heap by time. A timer that moves to later leaves its entry where it is: when that comes up,
    the customer is looked at and set again; so a customer has one entry that counts, and few more.
    """

    def __init__(self, due_ms: dict[str, int]) -> None:
        self._due_ms = due_ms
        self._heap = [(due, customer) for customer, due in due_ms.items()]
        heapify(self._heap)

    def set(self, customer_id: str, due_ms: int) -> None:
        """Look at a customer at this time, if not before."""
        if due_ms < self._due_ms.get(customer_id, due_ms + 1):
            self._due_ms[customer_id] = due_ms
            heappush(self._heap, (due_ms, customer_id))

    def may_be_due(self, customer_id: str, now_ms: int) -> bool:
        """Whether a timer of a customer can be due by now."""
        due_ms = self._due_ms.get(customer_id)
        return due_ms is not None and due_ms <= now_ms

    def due(self, now_ms: int) -> Iterator[str]:
        """Customers whose time has come, in order; they may be set again meanwhile."""
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, customer_id = heappop(self._heap)
            if self._due_ms.get(customer_id) == due_ms:
                del self._due_ms[customer_id]
                yield customer_id
