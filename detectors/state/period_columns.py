"""Several columns of one rule and kind of event, with one cell for each of the last periods."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.running import running_totals
from detectors.periods.ring import PeriodRing
from detectors.state.columns import Field
from schemas.units import Ints


class PeriodColumns:
    """Columns with one cell for each of the periods `newest - back` to `newest`.

    Parameters
    ----------
    rule, kind
        The rule that the columns belong to, and the kind of event that writes them.
    back
        Periods kept before the newest.
    dtypes
        Type of the cells of each column, by name.
    """

    def __init__(self, rule: str, kind: str, back: int, dtypes: Mapping[str, str]) -> None:
        self.ring = PeriodRing(back)
        self._stored = {name: f"{rule}_{kind}_{name}" for name in dtypes}
        self.fields = tuple(
            Field(self._stored[name], dtype, self.ring.width, kind)
            for name, dtype in dtypes.items()
        )

    def of(self, columns: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """These columns by their names in `dtypes`, each of shape (slots, width)."""
        return {name: columns[stored] for name, stored in self._stored.items()}

    def at(self, columns: Mapping[str, NDArray], period: int) -> dict[str, NDArray]:
        """The cells of one period that is held, by column, each of shape (slots,)."""
        place = period % self.ring.width
        return {name: cells[:, place] for name, cells in self.of(columns).items()}

    def holds(self, period: int) -> bool:
        """Whether a period has cells now."""
        newest = self.ring.newest
        return newest >= 0 and newest - self.ring.back <= period <= newest

    def amounts_in(
        self, columns: Mapping[str, NDArray], name: str, period: int, slot: Ints
    ) -> Ints:
        """What customers have in a column for a period, 0 where it is not held, shape (n,)."""
        if not self.holds(period):
            return np.zeros(len(slot), np.int64)
        cells = columns[self._stored[name]]
        return cells[slot, period % self.ring.width].astype(np.int64)

    def turn(self, columns: Mapping[str, NDArray], newest: int) -> None:
        """Move on to `newest`: zero the cells that now hold later periods."""
        before = self.ring.newest
        for cells in self.of(columns).values():
            self.ring.newest = before
            self.ring.turn(cells, newest)

    def add(
        self, columns: Mapping[str, NDArray], name: str, slot: Ints, period: Ints, amount: Ints
    ) -> None:
        """Add to cells of held periods; a cell that is full stays full."""
        self.ring.add(self.of(columns)[name], slot, period, amount, self.ring.newest)

    def take_off(
        self, columns: Mapping[str, NDArray], name: str, slot: Ints, period: Ints, amount: Ints
    ) -> None:
        """Subtract from cells of held periods; a cell that is full stays full."""
        self.ring.take_off(self.of(columns)[name], slot, period, amount)

    def count(
        self, columns: Mapping[str, NDArray], name: str, slot: Ints, period: Ints, amount: Ints
    ) -> Ints:
        """Add to cells of held periods; return each cell's sum after the row, shape (n,)."""
        cells, place = self.of(columns)[name], period % self.ring.width
        start = cells[slot, place].astype(np.int64)
        total = running_totals(slot * self.ring.width + place, amount, start)
        cells[slot, place] = np.minimum(total, np.iinfo(cells.dtype).max)
        return total

    def catch_up(self, columns: Mapping[str, NDArray], slots: Ints, written_newest: Ints) -> None:
        """Zero the cells that rows written at an older `newest` hold of periods that are gone."""
        for cells in self.of(columns).values():
            self.ring.catch_up(cells, slots, written_newest)
