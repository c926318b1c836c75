"""A ring of periods equals a dict of totals by customer and period."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.periods.ring import PeriodRing
from tests.support.strategies.columns import PROPERTY, amounts, columns, groups, ints, rows


@PROPERTY
@given(
    st.lists(st.tuples(st.integers(0, 3), rows(groups, st.integers(-4, 2), amounts)), max_size=6),
    st.integers(0, 3),
    st.integers(0, 2),
)
def test_period_ring_equals_a_dict(batches, back, ahead):
    """Totals by customer and period, for the periods around the newest and no others."""
    ring, twin, newest = PeriodRing(back, ahead), {}, 10
    cells = np.zeros((5, ring.width), np.int64)
    for moved, batch in batches:
        newest += moved
        held = [(s, newest + p, a) for s, p, a in batch if -back <= p <= ahead]
        slot, period, amount = columns(held, 3)
        expected = []
        for s, p, a in held:
            twin[s, p] = twin.get((s, p), 0) + a
            expected.append(twin[s, p])
        total = ring.totals(cells, slot, period, amount)
        assert expected == total.tolist()
        ring.write(cells, slot, period, total, newest)
        twin = {(s, p): total for (s, p), total in twin.items() if p >= newest - back}
        for customer in range(5):
            own = {p: total for (s, p), total in twin.items() if s == customer and total}
            assert own == ring.history(cells[customer])


@PROPERTY
@given(
    st.lists(st.tuples(st.integers(0, 3), rows(groups, st.integers(-4, 2), amounts)), max_size=6),
    st.sampled_from(("<u1", "<u4", "<i8")),
)
def test_add_equals_totals_and_write(batches, dtype):
    """A full cell stays full."""
    fast, slow, newest = PeriodRing(2, 1), PeriodRing(2, 1), 10
    cells = [np.zeros((5, fast.width), dtype) for _ in range(2)]
    for moved, batch in batches:
        newest += moved
        slot, period, amount = columns([(s, newest + p, a) for s, p, a in batch], 3)
        fast.add(cells[0], slot, period, amount, newest)
        total = slow.totals(cells[1], slot, period, amount)
        slow.write(cells[1], slot, period, total, newest)
        assert cells[0].tolist() == cells[1].tolist()


@PROPERTY
@given(
    rows(groups, st.integers(-4, 2), st.integers(0, 200)),
    rows(groups, st.integers(-4, 2), st.integers(0, 200)),
)
def test_a_ring_takes_off_no_more_than_it_added(added, taken):
    """Never below zero, nothing from a full cell, and nothing from a period that is not kept."""
    ring, largest = PeriodRing(2, 1), 255
    cells = np.zeros((5, ring.width), np.uint8)
    slot, period, amount = columns(added, 3)
    ring.add(cells, slot, period + 10, amount, 10)
    twin = {(s, p): 0 for s in range(5) for p in range(-2, 2)}
    for s, p, a in added:
        if (s, p) in twin:
            twin[s, p] = min(twin[s, p] + a, largest)
    expected = []
    for row, (s, p, a) in enumerate(taken):
        before = twin.get((s, p), largest)
        if before < largest:
            twin[s, p] = max(0, before - a)
            expected.append((row, before, twin[s, p]))
    slot, period, amount = columns(taken, 3)
    assert expected == ring.take_off(cells, slot, period + 10, amount)
    left = {(s, p - 10): n for s in range(5) for p, n in ring.history(cells[s]).items()}
    assert {at: n for at, n in twin.items() if n} == left


@PROPERTY
@given(st.integers(0, 3), st.integers(0, 2), st.integers(0, 9), st.integers(0, 9))
def test_a_row_written_earlier_catches_up_with_the_ring(back, ahead, then, later):
    """A row that is read back has zeros for later periods, like a row that was held meanwhile."""
    held, stored = PeriodRing(back, ahead), PeriodRing(back, ahead)
    periods = then + np.arange(-back, ahead + 1)
    cells = np.zeros((1, held.width), np.int64)
    held.write(cells, 0 * periods, periods, periods + 100, then)
    read_back = cells.copy()
    held.turn(cells, then + later)

    stored.newest = then + later
    stored.catch_up(read_back, ints([0]), ints([then]))

    assert cells.tolist() == read_back.tolist()
