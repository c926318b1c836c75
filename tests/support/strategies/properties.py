"""How often each property of the rules is tried, and over what."""

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from tests.support.strategies.drawing import EVENTS_MAX
from tests.support.strategies.histories import CASES

THOROUGHNESS = int(os.environ.get("FAIRUSE_THOROUGHNESS", "1"))
"""Multiplies the number of examples; each run draws others."""

PROPERTY = settings(max_examples=5 * THOROUGHNESS)
TWIN = settings(max_examples=15 * THOROUGHNESS)
HABIT = settings(max_examples=3 * THOROUGHNESS)

every_case = pytest.mark.parametrize("case", CASES)
cuts = st.lists(st.integers(0, EVENTS_MAX), max_size=5)
"""Places at which a history is cut into batches."""
