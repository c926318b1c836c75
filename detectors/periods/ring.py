"""Totals by customer and period, in a ring of periods around the watermark's own."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.running import running_totals
from detectors.kernels.scatter import in_one_row
from schemas.units import Ints, Mask


class Periods(Protocol):
    """Numbers time: calendar periods, or steps of a fixed length."""

    def period_of(self, time_ms: Ints) -> Ints:
        """Period of each instant, shape (n,)."""
        ...

    def bounds(self, period: int) -> tuple[int, int]:
        """First instant of a period and first instant after it."""
        ...


class Steps:
    """Steps of a fixed length since the Unix epoch."""

    def __init__(self, step_ms: int) -> None:
        self.step_ms = step_ms

    def period_of(self, time_ms: Ints) -> Ints:
        """Step of each instant, shape (n,)."""
        return time_ms // self.step_ms

    def bounds(self, period: int) -> tuple[int, int]:
        """First instant of a step and first instant after it."""
        return period * self.step_ms, (period + 1) * self.step_ms


class PeriodRing:
    """Cells for the periods `newest - back` to `newest + ahead`, reused as the newest moves on.

    The newest period belongs to the partition, not to the customer, so a cell needs no tag: cell
    `period % width` of every customer holds the same period.

    Parameters
    ----------
    back
        Periods kept before the newest.
    ahead
        Periods kept after it, for use that goes on past the newest event's start.
    """

    def __init__(self, back: int, ahead: int = 0) -> None:
        self.back = back
        self.ahead = ahead
        self.width = back + ahead + 1
        self.newest = -1

    def holds(self, period: Ints, newest: Ints | int) -> Mask:
        """Whether each period is kept while `newest` is the newest, shape (n,)."""
        return (period >= newest - self.back) & (period <= newest + self.ahead)

    def totals(self, cells: NDArray, slot: Ints, period: Ints, amount: Ints) -> Ints:
        """Total of each row's customer and period after that row; writes nothing, shape (n,)."""
        if len(slot) == 0:
            return np.zeros(0, np.int64)
        kept = self.holds(period, self.newest) & (self.newest >= 0)
        start = np.where(kept, cells[slot, period % self.width].astype(np.int64), 0)
        span = int(period.max() - period.min()) + 1
        return running_totals(slot * span + (period - period.min()), amount, start)

    def write(self, cells: NDArray, slot: Ints, period: Ints, total: Ints, newest: int) -> None:
        """Move on to `newest` and store the totals that are still kept; the last row stays."""
        self.turn(cells, newest)
        kept = self.holds(period, self.newest)
        largest = np.iinfo(cells.dtype).max
        cells[slot[kept], period[kept] % self.width] = np.minimum(total[kept], largest)

    def add(self, cells: NDArray, slot: Ints, period: Ints, amount: Ints, newest: int) -> None:
        """Move on to `newest` and add to the periods that are kept; a full cell stays full."""
        self.turn(cells, newest)
        kept = self.holds(period, self.newest)
        if not kept.all():
            slot, period, amount = slot[kept], period[kept], amount[kept]
        if len(slot) == 0:
            return
        flat, at = in_one_row(cells, slot, period % self.width)
        before, largest = flat[at], int(np.iinfo(cells.dtype).max)
        if int(before.max()) + int(amount.sum()) <= largest:
            np.add.at(flat, at, amount.astype(cells.dtype))
        else:
            total = running_totals(at, amount, before.astype(np.int64))
            flat[at] = np.minimum(total, largest)

    def take_off(
        self, cells: NDArray, slot: Ints, period: Ints, amount: Ints
    ) -> list[tuple[int, int, int]]:
        """Take amounts off again, one by one, never below zero.

        A full cell does not know its amount and stays, and so does a period that is not kept.

        Returns
        -------
        Row, total before and total after, of each row whose cell changed or could have.
        """
        largest = np.iinfo(cells.dtype).max
        changes = []
        for row in np.flatnonzero(self.holds(period, self.newest)).tolist():
            cell = slot[row], period[row] % self.width
            before = int(cells[cell])
            if before < largest:
                cells[cell] = after = max(0, before - int(amount[row]))
                changes.append((row, before, after))
        return changes

    def turn(self, cells: NDArray, newest: int) -> None:
        """Move on to `newest`: empty the cells that now stand for later periods."""
        if self.newest >= 0:
            for period in range(max(self.newest + 1, newest - self.width + 1), newest + 1):
                cells[:, (period + self.ahead) % self.width] = 0
        self.newest = max(self.newest, newest)

    def catch_up(self, cells: NDArray, slots: Ints, written_newest: Ints) -> None:
        """Empty the cells of rows that were written before later periods took them over."""
        held = self.newest - self.back + np.arange(self.width)
        stale = held[None, :] > (written_newest + self.ahead)[:, None]
        rows = cells[slots]
        rows[:, held % self.width] = np.where(stale, 0, rows[:, held % self.width])
        cells[slots] = rows

    def history(self, row: NDArray, newest: int | None = None) -> dict[int, int]:
        """The periods of one customer that are not zero, by period."""
        newest = self.newest if newest is None else newest
        if newest < 0:
            return {}
        periods = range(max(0, newest - self.back), newest + self.ahead + 1)
        return {p: int(row[p % self.width]) for p in periods if row[p % self.width]}
