"""Every kernel equals its slow twin, whatever it is given."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
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
from detectors.periods.ring import PeriodRing
from detectors.state import cells, chunks
from detectors.state.cells import Cells
from detectors.state.chunks import ChunkLog
from detectors.state.contacts import Contacts
from schemas.hashing import hash_strings, mix
from tests.support.reference import naive

settings.register_profile(
    "kernels",
    derandomize=False,
    print_blob=True,
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow],
)
PROPERTY = settings(settings.get_profile("kernels"))

groups = st.integers(0, 4)
steps = st.integers(-7, 12)
amounts = st.sampled_from((0, 1, 2, 9, 2**40))
HOME = pow(int(SPREAD), -1, 2**64)
"""Times this, a number's own top bits say where a map looks for it first."""

keys = st.one_of(
    st.integers(1, 8),
    st.integers(1, 2**64 - 1),
    # Keys that all want the same place, the last one included, so that they wrap around.
    st.integers(0, 9).map(lambda n: (0xFFFF_FFFF_0000_0000 + n) * HOME % 2**64 or 1),
    st.integers(1, 9).map(lambda n: n * HOME % 2**64),
)


def rows(*columns):
    return st.lists(st.tuples(*columns), max_size=40)


def ints(values):
    return np.array(list(values), np.int64)


def hashes(values):
    return np.array(list(values), np.uint64)


def columns(rows, count):
    return [ints(column) for column in zip(*rows, strict=True)] if rows else [ints(())] * count


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
    """The ends are left out: who leaves is not there together with who comes."""
    group, start, length = columns(rows, 3)
    groups, most = most_at_once(group, start, start + length)
    expected = naive.most_at_once(group.tolist(), start.tolist(), (start + length).tolist())
    assert expected == (groups.tolist(), most.tolist())


@PROPERTY
@given(st.lists(st.lists(keys, max_size=30), max_size=6), st.randoms(use_true_random=False))
def test_hash_map_equals_a_dict(batches, coin):
    """Claimed, found, dropped and added again, also when every key wants the same place."""
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
def test_hash_map_adds_what_is_new(distinct, cut):
    """Keys that are added together or one after the other are all found again."""
    table, order = HashMap(), list(distinct)
    for part in (order[:cut], order[cut:]):
        table.add(hashes(part), ints(map(order.index, part)))
    assert list(range(len(order))) == table.get(hashes(order)).tolist()
    assert table.get(hashes(())).tolist() == []


@PROPERTY
@given(st.lists(rows(groups, groups, st.integers(0, 400)), max_size=5), st.data())
def test_contacts_equal_sets(batches, data):
    """New rows, sizes of groups and what each holds, also once old steps are forgotten."""
    twin, contacts, floor = naive.Contacts(), Contacts(entries_max=1 << 20), 0
    for batch in batches:
        late = [(g, e, max(s, floor)) for g, e, s in batch]
        group, element, step = columns(late, 3)
        new, _ = twin.add(group.tolist(), element.tolist(), step.tolist())
        found, held = contacts.add(group.astype(np.uint64) + 1, element.astype(np.uint64), step)
        assert new == found.tolist()
        at_most = contacts.distinct(group.astype(np.uint64) + 1).tolist()
        there = [len(set(contacts.of(number + 1)[0].tolist())) for number in group.tolist()]
        assert there == at_most
        for number, count in zip(group.tolist(), held.tolist(), strict=True):
            elements, of_steps = contacts.of(number + 1)
            there = list(zip(elements.tolist(), of_steps.tolist(), strict=True))
            assert len(set(there)) == len(there) == count
            alive = {(e, s) for e, s in twin.of_group[number] if s >= floor}
            assert alive == {(e, s) for e, s in there if s >= floor}
            assert set(there) <= twin.of_group[number]
        floor = max(floor, data.draw(st.integers(0, 400)))
        contacts.forget(floor)


@PROPERTY
@given(st.lists(rows(groups, groups, st.integers(0, 9)), max_size=5), st.data())
def test_contacts_that_are_taken_back_are_gone_until_they_come_again(batches, data):
    """Also in what is stored, where a chunk that is still open comes again and again."""
    twin, contacts, copy = set(), Contacts(entries_max=1 << 20), Contacts(entries_max=1 << 20)
    for batch in batches:
        group, element, step = columns(batch, 3)
        found, _ = contacts.add(group.astype(np.uint64) + 1, element.astype(np.uint64), step)
        fresh = [row for row in dict.fromkeys(batch) if row not in twin]
        assert [row for row, new in zip(batch, found.tolist(), strict=True) if new] == fresh
        twin |= set(batch)
        if twin:
            for gone in data.draw(st.lists(st.sampled_from(sorted(twin)))):
                contacts.remove(gone[0] + 1, gone[1], gone[2])
                twin.discard(gone)
        if data.draw(st.booleans()):
            contacts.forget(0)
        for number, chunk in contacts.changes():
            copy.restore(number, chunk)
        for held in (contacts, copy):
            there = [
                (number, *row)
                for number in {number for number, _, _ in twin} | {0}
                for row in zip(*(column.tolist() for column in held.of(number + 1)), strict=True)
            ]
            assert twin == set(there)
            assert len(there) == len(twin)


def test_contacts_give_up_the_oldest_when_full():
    """The limit holds, what goes early is counted, and the newest half stays."""
    contacts = Contacts(entries_max=100)
    step = np.arange(150)
    contacts.add(hashes([1] * 150), hashes(range(150)), step)
    contacts.forget(20)
    assert contacts.size <= 100
    elements, _ = contacts.of(1)
    assert list(range(150 - contacts.size, 150)) == elements.tolist()
    assert 150 - contacts.size - 20 == contacts.evicted


def test_contacts_of_one_step_give_up_the_earlier_half_when_full():
    """A step of a day may hold more than there is room for; its newer half stays."""
    contacts = Contacts(entries_max=100)
    contacts.add(hashes([1] * 150), hashes(range(150)), np.full(150, 7))
    contacts.forget(7)
    elements, _ = contacts.of(1)
    assert list(range(100, 150)) == elements.tolist()
    assert contacts.evicted == 100


@PROPERTY
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-6, 6)), unique=True),
    st.integers(0, 30),
    st.integers(0, 3),
    st.integers(1, 3),
)
def test_window_counts_equal_counting_in_every_window(contacts, known, length, stride):
    """Whether a contact was known from the start or is added makes no difference."""
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
    """While windows end no earlier than what was forgotten, nothing changes."""
    twin, episodes, floor = naive.Episodes(length), Episodes(length), -100
    for key, step in rows:
        end = max(step, floor)
        new = episodes.note(key, [end])
        assert twin.note(key, [end]) == ([] if new is None else [new])
        floor = max(floor, step - 2)
        episodes.forget(floor)


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
def test_adding_to_a_ring_is_totals_and_write(batches, dtype):
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
def test_a_ring_takes_off_what_it_added(added, taken):
    """Never below zero, nothing of a full cell, and nothing of a period that is not kept."""
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


def test_cells_that_are_no_whole_table_are_refused():
    with pytest.raises(ValueError, match="copy"):
        scatter.add(np.zeros((4, 4))[:, :2], ints([1]), ints([1]), ints([1]))


@PROPERTY
@given(st.lists(rows(groups, st.integers(0, 1), st.integers(2, 4)), max_size=4))
def test_a_cell_remembers_what_all_its_elements_were(batches):
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
@given(st.integers(0, 3), st.integers(0, 2), st.integers(0, 9), st.integers(0, 9))
def test_a_row_written_earlier_settles_to_what_a_ring_that_turned_holds(back, ahead, then, later):
    """Whether a row was held or read back, the periods that went by are empty in it."""
    held, stored = PeriodRing(back, ahead), PeriodRing(back, ahead)
    periods = then + np.arange(-back, ahead + 1)
    cells = np.zeros((1, held.width), np.int64)
    held.write(cells, 0 * periods, periods, periods + 100, then)
    read_back = cells.copy()
    held.turn(cells, then + later)

    stored.newest = then + later
    stored.catch_up(read_back, ints([0]), ints([then]))

    assert cells.tolist() == read_back.tolist()


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES_MAX", 3 * 12)


CHUNK_ENTRY = np.dtype([("key", "<u8"), ("expiry", "<i4")])
STEPS_OF_A_LOG = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 7)),
        st.tuples(st.just("move"), st.booleans()),
        st.tuples(st.just("later"), st.integers(1, 4)),
        st.tuples(st.just("lost writer"), st.integers(0, 9)),
    ),
    max_size=12,
)


@settings(PROPERTY, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS_OF_A_LOG)
def test_what_is_remembered_is_in_the_compacted_log(small_chunks, plan):
    """After any number of moves a reader gets what is still valid, and no lost writer's work."""
    log, stored, alive, hour, key = ChunkLog(CHUNK_ENTRY), {}, {}, 0, 0
    for what, value in plan:
        if what == "write":
            entries = np.array([(key + n, hour + 3) for n in range(value)], CHUNK_ENTRY)
            key += value
            alive |= {int(k): int(e) for k, e in entries.tolist()}
            stored |= dict(log.write(entries, hour))
        elif what == "move":
            log = ChunkLog(CHUNK_ENTRY)
            for number, chunk in stored.items():
                log.take(number, chunk)
        elif what == "later":
            hour += value
        else:
            stored[value] = np.array([(10**6, hour + 99)], CHUNK_ENTRY).tobytes()
            log.disown(value)
            entries = np.array([(k, e) for k, e in alive.items() if e >= hour], CHUNK_ENTRY)
            stored |= dict(log.restart() + log.write(entries, hour))
    read = {
        int(k): int(e) for c in stored.values() for k, e in np.frombuffer(c, CHUNK_ENTRY).tolist()
    }
    assert {k: e for k, e in alive.items() if e >= hour}.items() <= read.items()
    assert read.items() <= alive.items()


@PROPERTY
@given(st.lists(st.text(max_size=4)))
def test_hashes_of_strings_and_of_their_bytes_agree(texts):
    """A customer is the same one, read from JSON or from a changelog's key."""
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    of_text, of_bytes = hash_strings(texts), hash_strings([text.encode() for text in texts])
    assert of_text.tolist() == of_bytes.tolist()
    assert 0 not in of_text.tolist()
    assert len(set(texts)) == len(set(of_text.tolist()))


@PROPERTY
@given(rows(st.integers(0, 3), st.integers(0, 3)))
def test_mixed_hashes_tell_pairs_apart(rows):
    """Both columns count, and so does their order; nothing mixes to zero."""
    one, other = (column.astype(np.uint64) for column in columns(rows, 2))
    mixed = mix(one, other)
    assert len(set(rows)) == len(set(mixed.tolist()))
    assert 0 not in mixed.tolist()


@PROPERTY
@given(st.lists(groups, max_size=20))
def test_rounds_take_each_group_once_and_in_order(group):
    """Folded round by round, a group's rows come one after the other."""
    taken = [turn.tolist() for turn in rounds(ints(group))]
    assert sorted(n for turn in taken for n in turn) == list(range(len(group)))
    for number, turn in enumerate(taken):
        assert [group[:row].count(group[row]) for row in turn] == [number] * len(turn)


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from((1, 2, 5, 40))), min_size=1))
def test_a_vote_finds_who_has_more_than_half_and_never_says_too_much(ballots):
    """Of a share s it sees 2 s - 1 at least, in whatever order the weights come."""
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
def test_linear_counting_errs_as_little_as_it_says(bits, error, share):
    """The standard error, over many maps of as many elements; and no bias to speak of."""
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
def test_running_totals_of_several_amounts_equal_those_of_each(rows):
    """Amounts that are added together are added each for itself."""
    group, *both = columns(rows, 3)
    start = group * 100
    together = running_totals(group, np.stack(both, axis=1), np.stack([start, start], axis=1))
    for column, amount in enumerate(both):
        assert running_totals(group, amount, start).tolist() == together[:, column].tolist()


@PROPERTY
@given(rows(groups, st.integers(-9, 9)), st.integers(0, 12))
def test_bounded_walks_equal_the_loop(rows, depth):
    """Each group walks on its own, and as low as the bound at most."""
    group, step = columns(rows, 2)
    start = np.maximum(group * 3 - 5, -depth)
    expected = naive.bounded_walk(group.tolist(), step.tolist(), start.tolist(), -depth)
    assert expected == bounded_walk(group, step, start, -depth).tolist()


def test_a_walk_decides_as_often_wrongly_as_it_may_and_no_more():
    """Of honest customers fewer than alpha are ever taken for scanners before they are cleared."""
    walk, rng, people = Walk.of(0.8, 0.2, 0.01, 0.99), np.random.default_rng(7), 20_000
    place, taken = np.zeros(people, np.int64), np.zeros(people, bool)
    undecided = np.ones(people, bool)
    while undecided.any():
        place += np.where(rng.random(people) < 0.8, walk.succeeded, walk.failed)
        taken |= undecided & (place >= walk.upper)
        undecided &= (walk.lower < place) & (place < walk.upper)
    assert 0 < taken.mean() < 0.01


CELL_BATCHES = st.lists(
    st.tuples(st.integers(0, 3), rows(groups, st.integers(0, 3), amounts, amounts)), max_size=6
)


@settings(PROPERTY, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CELL_BATCHES, st.sampled_from((2, 3, 4, 6, 1000)), st.booleans(), st.booleans())
def test_cells_equal_a_dict_of_as_many(monkeypatch, batches, room, single, move):
    """What goes when there is no room is the same in one batch or many, and after a move."""
    for name in ("PAGE_CELLS", "FEW"):
        monkeypatch.setattr(cells, name, 2)
    twin, held, log, newest = naive.Cells(room), Cells(room, 2), {}, 10
    for ahead, batch in batches:
        newest += ahead
        late = [(g, newest - s, a, b) for g, s, a, b in batch]
        group, step, *both = columns(late, 4)
        needed = np.full(len(late), newest - 3)
        expected = [twin.add(g, s, [a, b], newest - 3) for g, s, a, b in late]
        columns_of_batch = group.astype(np.uint64) + 1, step, np.stack(both, axis=1), needed
        ends = range(len(late) + 1) if single else (0, len(late))
        total, there = [], []
        for start, end in itertools.pairwise(ends):
            added = held.add(*(column[start:end] for column in columns_of_batch))
            total += added.total.tolist()
            there += added.held.tolist()
        assert expected == [t if h else None for t, h in zip(total, there, strict=True)]
        assert (twin.floor, twin.evicted) == (held.floor, held.evicted)
        held.forget(newest - 3)
        alive = [cell for cell in twin.cells if cell[1] >= newest - 3]
        shown = held.get(hashes(g + 1 for g, _ in alive), ints(s for _, s in alive))
        assert [twin.cells[cell] for cell in alive] == shown.tolist()
        if move:
            log |= dict(held.changes())
            memory, held = held.remember(), Cells(room, 2)
            for number, page in log.items():
                held.restore(number, page)
            held.recall(memory)
