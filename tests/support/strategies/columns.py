"""Random columns, and how to make them of rows."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

PROPERTY = settings(max_examples=80)

groups = st.integers(0, 4)
amounts = st.sampled_from((0, 1, 2, 9, 2**40))


def rows(*columns):
    return st.lists(st.tuples(*columns), max_size=40)


def ints(values):
    return np.array(list(values), np.int64)


def hashes(values):
    return np.array(list(values), np.uint64)


def columns(rows, count):
    return [ints(column) for column in zip(*rows, strict=True)] if rows else [ints(())] * count
