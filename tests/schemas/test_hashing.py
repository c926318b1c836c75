"""Hashes of strings are the same everywhere, and mixed hashes of pairs differ."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.hashing import hash_strings, mix
from tests.support.strategies.columns import PROPERTY, columns, rows


@PROPERTY
@given(st.lists(st.text(max_size=4)))
def test_hashes_of_strings_and_of_their_bytes_agree(texts):
    """So a customer has the same hash, whether read from JSON or from the key of a changelog."""
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    of_text, of_bytes = hash_strings(texts), hash_strings([text.encode() for text in texts])
    assert of_text.tolist() == of_bytes.tolist()
    assert 0 not in of_text.tolist()
    assert len(set(texts)) == len(set(of_text.tolist()))


@PROPERTY
@given(rows(st.integers(0, 3), st.integers(0, 3)))
def test_mixed_hashes_tell_pairs_apart(rows):
    """Both columns and their order matter, and no hash is zero."""
    one, other = (column.astype(np.uint64) for column in columns(rows, 2))
    mixed = mix(one, other)
    assert len(set(rows)) == len(set(mixed.tolist()))
    assert 0 not in mixed.tolist()
