"""Pending amounts equal sums in a dict, wherever they are stored and restored."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.state import pending
from detectors.state.pending import PendingAmounts
from tests.support.strategies.properties import PROPERTY

STEPS_OF_PERIOD = 4
rows = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 7), st.integers(-9, 9)), min_size=1, max_size=6
)


def store(entries_max=1_000):
    return PendingAmounts(entries_max, lambda step: step // STEPS_OF_PERIOD)


def add(amounts, batch):
    customer, step, amount = (np.array(column) for column in zip(*batch, strict=True))
    amounts.add(customer.astype(np.uint64), step, amount)


def taken(amounts, step):
    return [(int(s), int(c), int(a)) for c, s, a in amounts.take(step).tolist()]


def checkpoint(amounts, log):
    log.update(amounts.changes())


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(pending, "PAGE_ENTRIES", 2)


@PROPERTY
@given(moves=st.lists(st.one_of(rows, st.integers(0, 7), st.sampled_from(("move", "rewrite")))))
def test_pending_amounts_equal_sums_in_a_dict(moves):
    amounts, expected, log = store(), defaultdict(int), {}
    checkpoint(amounts, log)
    for move in moves:
        if isinstance(move, list):
            add(amounts, move)
            for customer, step, amount in move:
                expected[step, customer] += amount
        elif isinstance(move, int):
            due = sorted(key for key in expected if key[0] <= move)
            assert taken(amounts, move) == [(*key, expected.pop(key)) for key in due]
        else:
            if move == "rewrite":
                amounts.rewrite(5)
            checkpoint(amounts, log)
            amounts = store()
            for number, stored in log.items():
                amounts.restore(number, stored)
            amounts.recall()
    assert taken(amounts, 7) == [(*key, expected[key]) for key in sorted(expected)]


@PROPERTY
@given(before=rows, after=rows)
def test_pages_of_another_writer_replace_those_in_memory(before, after):
    """A partition that comes back stands as at its last checkpoint, before later pages come."""
    amounts, other, log = store(), store(), {}
    add(amounts, before)
    checkpoint(amounts, log)
    for number, stored in log.items():
        other.restore(number, stored)
    other.recall()
    other.take(3)
    add(other, after)
    later = {}
    checkpoint(other, later)
    copy = store()
    copy.take_arrays(amounts.arrays())
    for back in (amounts, copy):
        for number, stored in later.items():
            back.restore(number, stored)
        back.recall()
    expected = taken(other, 7)
    assert taken(amounts, 7) == expected
    assert taken(copy, 7) == expected


def test_a_full_store_merges_what_a_customer_has_in_a_period():
    """Nothing is lost, and nothing goes over into another period."""
    amounts = store(entries_max=3)
    add(amounts, [(1, 0, 5), (1, 1, 6), (1, 4, 7), (2, 0, 8)])
    assert amounts.merged == 1
    assert taken(amounts, 3) == [(0, 2, 8), (1, 1, 11)]
    assert taken(amounts, 7) == [(4, 1, 7)]
