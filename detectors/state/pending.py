"""Amounts of customers that wait until the step of event time they belong to is closed."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from schemas.units import Hashes, Ints

ENTRY = np.dtype([("customer", "<u8"), ("step", "<i4"), ("amount", "<i8")])

PAGE_ENTRIES = 16_384
"""Entries of a stored page: a third of a megabyte."""


class PendingAmounts:
    """Sums by customer (hash) and step, until `take` hands them out; stored page by page.

    Most entries are of the newest steps, so all pages are stored again at each checkpoint.

    Parameters
    ----------
    entries_max
        With more entries, each customer's entries of a period are merged into the newest of them,
        and `merged` counts them. So no amount is lost, but it is handed out late, and where batches
        end may matter.
    period_of
        Period of each step, shape (n,): what is merged stays within a period.
    """

    def __init__(self, entries_max: int, period_of: Callable[[Ints], Ints]) -> None:
        self.entries_max = entries_max
        self.merged = 0
        self._period_of = period_of
        self._entries = np.zeros(0, ENTRY)
        self._new: list[NDArray] = []
        self._size = 0
        self._full_size = entries_max
        self._pages: dict[int, NDArray] = {}
        self._pages_stored = 0
        self._changed = False

    def add(self, customer: Hashes, step: Ints, amount: Ints) -> None:
        """Add amounts, which may be negative, to the sums of customers and steps, shape (n,)."""
        rows = np.empty(len(customer), ENTRY)
        rows["customer"], rows["step"], rows["amount"] = customer, step, amount
        self._new.append(rows)
        self._size += len(rows)
        self._changed = True
        if self._size > self._full_size:
            self._merge()

    def take(self, last_step: int) -> NDArray:
        """Hand out and forget the entries of steps up to this one, by step and then by customer."""
        entries = self._summed()
        due = int(np.searchsorted(entries["step"], last_step, "right"))
        if due:
            self._replace(entries[due:])
        return entries[:due]

    def _summed(self) -> NDArray:
        """All entries, one for each step and customer, in this order."""
        if self._new:
            together = np.concatenate([self._entries, *self._new])
            self._entries, self._new = summed(together, together["step"]), []
            self._size = len(self._entries)
        return self._entries

    def _merge(self) -> None:
        """Make room: merge each customer's entries of a period into the newest of them."""
        entries = self._summed()
        if len(entries) > self.entries_max:
            period = self._period_of(entries["step"].astype(np.int64))
            merged = summed(entries, period)
            self.merged += len(entries) - len(merged)
            self._replace(np.sort(merged, order=["step", "customer"]))
        self._full_size = max(self.entries_max, 2 * self._size)

    def _replace(self, entries: NDArray) -> None:
        self._entries, self._size, self._changed = entries, len(entries), True

    # -- what is stored ---------------------------------------------------------------------------

    def changes(self) -> list[tuple[int, bytes]]:
        """Number and content of each page, and the emptied ones, if anything has changed."""
        if not self._changed:
            return []
        self._changed = False
        pages = _pages_of(self._summed())
        freed = range(len(pages), self._pages_stored)
        self._pages_stored = len(pages)
        stored = [(number, page.tobytes()) for number, page in enumerate(pages)]
        return stored + [(number, b"") for number in freed]

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored page; `recall` has to follow before the next batch."""
        self._pages[number] = np.frombuffer(stored, ENTRY)
        self._pages_stored = max(self._pages_stored, number + 1)

    def recall(self) -> None:
        """Put restored pages in the place of those that were here before."""
        if self._pages:
            pages = dict(enumerate(_pages_of(self._summed()))) | self._pages
            self._entries = np.concatenate([pages[number] for number in sorted(pages)])
            self._size, self._pages = len(self._entries), {}

    def rewrite(self, number: int | None = None) -> None:
        """Store every page again at the next checkpoint, and page `number` even if it is unused."""
        self._changed = True
        if number is not None:
            self._pages_stored = max(self._pages_stored, number + 1)

    def arrays(self) -> dict[str, NDArray]:
        """Everything that the last checkpoint holds, for a snapshot."""
        return {"entries": self._summed(), "pages": np.array([self._pages_stored])}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        self._new = []
        self._replace(np.array(arrays["entries"]))
        self._pages_stored, self._changed = int(arrays["pages"][0]), False


def summed(entries: NDArray, group: Ints) -> NDArray:
    """Sum the entries of each group and customer, in this order; the newest step stays, (k,)."""
    order = np.lexsort((entries["step"], entries["customer"], group))
    entries, group = entries[order], group[order]
    is_last = np.ones(len(entries), bool)
    customer = entries["customer"]
    is_last[:-1] = (customer[1:] != customer[:-1]) | (group[1:] != group[:-1])
    totals = np.cumsum(entries["amount"])[is_last]
    kept = entries[is_last]
    kept["amount"] = np.diff(totals, prepend=0)
    return kept


def _pages_of(entries: NDArray) -> list[NDArray]:
    return [entries[at : at + PAGE_ENTRIES] for at in range(0, len(entries), PAGE_ENTRIES)]
