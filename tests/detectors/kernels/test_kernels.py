"""Every kernel equals a slow twin, for any input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.kernels import sameness, scatter
from detectors.kernels.chains import rounds
from detectors.kernels.hashing import ABSENT, SPREAD, HashMap
from detectors.kernels.linear_counting import estimates
from detectors.kernels.majority import Votes, vote
from detectors.kernels.overlaps import most_at_once
from detectors.kernels.rolling import Episodes, WindowCounts, fullest_windows
from detectors.kernels.running import running_maxima, running_totals, stable_order
from detectors.kernels.sequential import Walk, bounded_walk
from tests.support.reference import naive
from tests.support.strategies.columns import (
    PROPERTY,
    amounts,
    columns,
    groups,
    hashes,
    ints,
    rows,
)

steps = st.integers(-7, 12)
HOME = pow(int(SPREAD), -1, 2**64)
"""The inverse of `SPREAD`: the top bits of n are the first place that a map tries for n * HOME."""

keys = st.one_of(
    st.integers(1, 8),
    st.integers(1, 2**64 - 1),
    # Keys that all collide, also at the last place, so that they wrap around.
    st.integers(0, 9).map(lambda n: (0xFFFF_FFFF_0000_0000 + n) * HOME % 2**64 or 1),
    st.integers(1, 9).map(lambda n: n * HOME % 2**64),
)


@PROPERTY
@given(rows(groups, amounts))
def test_running_totals_equal_the_loop(rows):
    """Each row's total is that of its group so far, its start included."""
    group, amount = columns(rows, 2)
    start = group * 100
    expected = naive.running_totals(group.tolist(), amount.tolist(), start.tolist())
    assert expected == running_totals(group, amount, start).tolist()


@pytest.mark.parametrize("highest", [1, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**62])
@pytest.mark.parametrize("lowest", [0, -1])
def test_stable_order_is_that_of_a_comparing_sort(highest, lowest):
    group = np.random.default_rng(highest % 97).integers(lowest, highest, 2_000, endpoint=True)
    for values in (group, group[:40], group // 2 * 2, group[:0]):
        assert (stable_order(values) == np.argsort(values, kind="stable")).all()


@PROPERTY
@given(rows(groups, st.integers(-9, 9) | st.sampled_from((0, 4 * 10**12))))
def test_running_maxima_equal_the_loop(rows):
    """Each row sees the largest before it, never its own value."""
    group, value = columns(rows, 2)
    start = group * 3 - 5
    expected = naive.running_maxima(group.tolist(), value.tolist(), start.tolist())
    assert expected == running_maxima(group, value, start).tolist()


@PROPERTY
@given(rows(groups, steps, amounts), st.integers(0, 5))
def test_fullest_windows_equal_trying_every_window(rows, length):
    """No window of a group holds more, and one holds as much."""
    group, step, weight = columns(rows, 3)
    expected = naive.fullest_windows(group.tolist(), step.tolist(), weight.tolist(), length)
    found = fullest_windows(group, step, weight, length)
    assert expected == tuple(column.tolist() for column in found)


@PROPERTY
@given(rows(groups, steps, st.integers(1, 9)))
def test_most_at_once_equals_counting_at_every_start(rows):
    """An interval does not hold its end: intervals that only touch do not overlap."""
    group, start, length = columns(rows, 3)
    groups, most = most_at_once(group, start, start + length)
    expected = naive.most_at_once(group.tolist(), start.tolist(), (start + length).tolist())
    assert expected == (groups.tolist(), most.tolist())


@PROPERTY
@given(st.lists(st.lists(keys, max_size=30), max_size=6), st.randoms(use_true_random=False))
def test_hash_map_equals_a_dict(batches, coin):
    """For keys that are inserted, found, dropped and inserted again, also if all collide."""
    twin, table = {}, HashMap(expected=1)
    for number, batch in enumerate(batches):
        place, new = table.claim(hashes(batch))
        first = [key not in batch[:row] for row, key in enumerate(batch)]
        expected = [row for row, key in enumerate(batch) if first[row] and key not in twin]
        assert expected == new.tolist()
        assert batch == table.keys[place].tolist()
        assert not table.values[place[new]].any()
        assert first == table.first_rows(place).tolist()
        table.values[place] = number
        twin |= dict.fromkeys(batch, number)
        if coin.random() < 0.3:
            twin = {key: value for key, value in twin.items() if value % 2}
            table.keep(table.values % 2 == 1)
        asked = [*twin, *batch, 3, 2**63]
        assert [twin.get(key, ABSENT) for key in asked] == table.get(hashes(asked)).tolist()
        assert len(twin) == table.size


@PROPERTY
@given(st.sets(keys, max_size=60), st.integers(0, 60))
def test_hash_map_finds_every_key_that_was_added(distinct, cut):
    """Added together or one part after the other."""
    table, order = HashMap(), list(distinct)
    for part in (order[:cut], order[cut:]):
        table.add(hashes(part), ints(map(order.index, part)))
    assert list(range(len(order))) == table.get(hashes(order)).tolist()
    assert table.get(hashes(())).tolist() == []


@PROPERTY
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-6, 6)), unique=True),
    st.integers(0, 30),
    st.integers(0, 3),
    st.integers(1, 3),
)
def test_window_counts_equal_counting_in_every_window(contacts, known, length, stride):
    """It makes no difference whether a contact was known from the start or is added later."""
    contacts = [(element, step * stride) for element, step in contacts]
    element, step = (np.array([c[n] for c in contacts[:known]], np.int64) for n in (0, 1))
    counts = WindowCounts(element.astype(np.uint64), step, length * stride, stride)
    for contact in contacts[known:]:
        counts.add(*contact)
    ends = {end for _, step in contacts for end in counts.ends(step)}
    expected = naive.distinct_in_windows(contacts, ends, length * stride)
    assert expected == {end: held for end, held in counts.held.items() if held}


@PROPERTY
@given(rows(groups, steps, st.sets(st.integers(0, 3), max_size=4)), st.integers(1, 4))
def test_episodes_equal_their_definition(rows, length):
    """A hot window starts a stretch unless one within a window's length of it was hot before."""
    twin, episodes = naive.Episodes(length), Episodes(length)
    for key, step, ends in rows:
        hot = sorted(step + min(end, length) for end in ends)
        expected = twin.note(key, hot)
        new = episodes.note(key, hot)
        assert expected == ([] if new is None else [new])
        assert all(episodes.covers(key, end, end) for end in hot)


@PROPERTY
@given(rows(st.integers(0, 2), steps), st.integers(1, 4))
def test_forgotten_episodes_are_never_missed(rows, length):
    """Windows that end no earlier than what was forgotten are reported as before."""
    twin, episodes, floor = naive.Episodes(length), Episodes(length), -100
    for key, step in rows:
        end = max(step, floor)
        new = episodes.note(key, [end])
        assert twin.note(key, [end]) == ([] if new is None else [new])
        floor = max(floor, step - 2)
        episodes.forget(floor)


@PROPERTY
@given(rows(groups, st.integers(0, 2), st.integers(0, 255)))
def test_writing_into_cells_equals_the_loop(written):
    added, raised, bits = (np.zeros((5, 3), np.uint8) for _ in range(3))
    twins = [[[0] * 3 for _ in range(5)] for _ in range(3)]
    slot, place, value = columns(written, 3)
    for s, p, v in written:
        twins[0][s][p] = (twins[0][s][p] + v) % 256
        twins[1][s][p] = max(twins[1][s][p], v)
        twins[2][s][p] |= v
    scatter.add(added, slot, place, value)
    scatter.raise_to(raised, slot, place, value)
    scatter.set_bits(bits, slot, place, value)
    assert twins == [added.tolist(), raised.tolist(), bits.tolist()]


def test_cells_that_are_not_contiguous_are_refused():
    with pytest.raises(ValueError, match="copy"):
        scatter.add(np.zeros((4, 4))[:, :2], ints([1]), ints([1]), ints([1]))


@PROPERTY
@given(st.lists(rows(groups, st.integers(0, 1), st.integers(2, 4)), max_size=4))
def test_a_cell_knows_the_only_mark_that_it_saw_or_that_there_were_several(batches):
    cells, twin = np.zeros((5, 2), np.uint16), {}
    for batch in batches:
        slot, place, mark = columns(batch, 3)
        sameness.note(cells, slot, place, mark.astype(np.uint16))
        for s, p, m in batch:
            twin.setdefault((s, p), set()).add(m)
    for (s, p), seen in twin.items():
        assert cells[s, p] == (sameness.SEVERAL if len(seen) > 1 else min(seen))
    assert (cells > 0).sum() == len(twin)


@PROPERTY
@given(st.lists(groups, max_size=20))
def test_each_round_has_a_group_once_and_rows_stay_in_order(group):
    """So the rows of a group are folded one after the other."""
    taken = [turn.tolist() for turn in rounds(ints(group))]
    assert sorted(n for turn in taken for n in turn) == list(range(len(group)))
    for number, turn in enumerate(taken):
        assert [group[:row].count(group[row]) for row in turn] == [number] * len(turn)


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from((1, 2, 5, 40))), min_size=1))
def test_a_vote_finds_the_candidate_with_more_than_half_and_overstates_no_weight(ballots):
    """Of a share s it counts 2 s - 1 at least, in whatever order the weights come."""
    votes = Votes(*(np.zeros(1, dtype) for dtype in ("<u4", "<u4", "<u4", "<u4")))
    for candidate, weight in ballots:
        votes = vote(votes, np.array([candidate], np.uint32), ints([weight]))
    leader, lead, own, total = (int(column[0]) for column in votes)
    weights = {c: sum(w for other, w in ballots if other == c) for c in range(4)}
    assert total == sum(weights.values())
    assert lead <= own <= weights[leader]
    for candidate, weight in weights.items():
        if 2 * weight > total:
            assert (candidate, 2 * weight - total <= own) == (leader, True)


@pytest.mark.parametrize(("bits", "error"), [(256, 0.1), (64, 0.2)])
@pytest.mark.parametrize("share", [0.1, 0.4, 1, 2, 3])
def test_the_error_of_linear_counting_is_as_small_as_documented(bits, error, share):
    """Standard error and bias over many random maps; a failure shows the seed."""
    seed = np.random.SeedSequence().entropy
    distinct, maps = round(share * bits), 2_000
    chosen = np.random.default_rng(seed).integers(0, bits, (maps, distinct))
    is_set = np.zeros((maps, bits), bool)
    np.put_along_axis(is_set, chosen, True, axis=1)
    found = estimates(bits)[is_set.sum(axis=1)]
    off = (found - distinct) / distinct
    assert np.sqrt((off**2).mean()) < error, f"seed {seed}"
    assert abs(off.mean()) < error / 3, f"seed {seed}"
    assert (np.diff(estimates(bits)) >= 0).all()


@PROPERTY
@given(rows(groups, amounts, amounts))
def test_running_totals_of_two_amounts_equal_those_of_each_amount(rows):
    """The amounts of a row do not mix."""
    group, *both = columns(rows, 3)
    start = group * 100
    together = running_totals(group, np.stack(both, axis=1), np.stack([start, start], axis=1))
    for column, amount in enumerate(both):
        assert running_totals(group, amount, start).tolist() == together[:, column].tolist()


@PROPERTY
@given(rows(groups, st.integers(-9, 9)), st.integers(0, 12))
def test_bounded_walks_equal_the_loop(rows, depth):
    """Each group has its own walk, which never falls below the bound."""
    group, step = columns(rows, 2)
    start = np.maximum(group * 3 - 5, -depth)
    expected = naive.bounded_walk(group.tolist(), step.tolist(), start.tolist(), -depth)
    assert expected == bounded_walk(group, step, start, -depth).tolist()


def test_false_alarms_of_a_walk_are_rarer_than_alpha():
    """A share below alpha of honest customers is taken for scanners before it is cleared."""
    walk, rng, people = Walk.of(0.8, 0.2, 0.01, 0.99), np.random.default_rng(7), 20_000
    place, taken = np.zeros(people, np.int64), np.zeros(people, bool)
    undecided = np.ones(people, bool)
    while undecided.any():
        place += np.where(rng.random(people) < 0.8, walk.succeeded, walk.failed)
        taken |= undecided & (place >= walk.upper)
        undecided &= (walk.lower < place) & (place < walk.upper)
    assert 0 < taken.mean() < 0.01
