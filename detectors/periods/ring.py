"""Totals by customer and period, in a ring of cells for the periods around the watermark."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.running import running_totals
from detectors.kernels.scatter import in_one_row
from schemas.units import Ints, Mask


class Periods(Protocol):
    """Numbers the periods of time: calendar periods, or steps of a fixed length."""

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

    `newest` is the same for all customers of a partition. So cell `period % width` holds the same
    period for each of them, and need not say which.

    Parameters
    ----------
    back
        Periods kept before the newest.
    ahead
        Periods kept after the newest, for use that lasts longer than into the newest period.
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
        """Total of the row's customer and period after each row, shape (n,); writes nothing."""
        if len(slot) == 0:
            return np.zeros(0, np.int64)
        kept = self.holds(period, self.newest) & (self.newest >= 0)
        start = np.where(kept, cells[slot, period % self.width].astype(np.int64), 0)
        span = int(period.max() - period.min()) + 1
        return running_totals(slot * span + (period - period.min()), amount, start)

    def write(self, cells: NDArray, slot: Ints, period: Ints, total: Ints, newest: int) -> None:
        """Move on to `newest` and store totals of kept periods; of one cell the last row counts."""
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
        """Subtract amounts one by one, but never below zero.

        A full cell stays as it is, since its true total is not known. Periods that are not kept are
        passed over.

        Returns
        -------
        Row, total before and total after, for each row whose period is kept and cell is not full.
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
        """Move on to `newest`: zero the cells that now hold later periods."""
        if self.newest >= 0:
            for period in range(max(self.newest + 1, newest - self.width + 1), newest + 1):
                cells[:, (period + self.ahead) % self.width] = 0
        self.newest = max(self.newest, newest)

    def catch_up(self, cells: NDArray, slots: Ints, written_newest: Ints) -> None:
        """Bring rows up to date that were written when `written_newest` was the newest, shape (n,).

        Their cells of periods that came after it are zeroed.
        """
        held = self.newest - self.back + np.arange(self.width)
        stale = held[None, :] > (written_newest + self.ahead)[:, None]
        rows = cells[slots]
        rows[:, held % self.width] = np.where(stale, 0, rows[:, held % self.width])
        cells[slots] = rows

    def history(self, row: NDArray, newest: int | None = None) -> dict[int, int]:
        """Totals of one customer by period, without those that are zero."""
        newest = self.newest if newest is None else newest
        if newest < 0:
            return {}
        periods = range(max(0, newest - self.back), newest + self.ahead + 1)
        return {p: int(row[p % self.width]) for p in periods if row[p % self.width]}
