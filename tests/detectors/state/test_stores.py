"""What is kept of customers equals a slow twin, also after it was stored and read back."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.state import cells, chunks
from detectors.state.cells import Cells
from detectors.state.chunks import ChunkLog
from detectors.state.contacts import Contacts
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


@PROPERTY
@given(st.lists(rows(groups, groups, st.integers(0, 400)), max_size=5), st.data())
def test_contacts_equal_sets(batches, data):
    """New rows, group sizes and contents are right, also after old steps were forgotten."""
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
    """Also in a copy that is restored from chunks, of which the open one is stored repeatedly."""
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


def test_full_contacts_drop_the_oldest():
    """The bound holds, entries that are dropped early are counted, and the newest half stays."""
    contacts = Contacts(entries_max=100)
    step = np.arange(150)
    contacts.add(hashes([1] * 150), hashes(range(150)), step)
    contacts.forget(20)
    assert contacts.size <= 100
    elements, _ = contacts.of(1)
    assert list(range(150 - contacts.size, 150)) == elements.tolist()
    assert 150 - contacts.size - 20 == contacts.evicted


def test_full_contacts_of_one_step_drop_the_earlier_half():
    """A step of a day may hold more entries than there is room for; the later half stays."""
    contacts = Contacts(entries_max=100)
    contacts.add(hashes([1] * 150), hashes(range(150)), np.full(150, 7))
    contacts.forget(7)
    elements, _ = contacts.of(1)
    assert list(range(100, 150)) == elements.tolist()
    assert contacts.evicted == 100


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
def test_every_valid_entry_can_be_read_from_the_compacted_log(small_chunks, plan):
    """After any number of moves to another worker, and without chunks of a lost writer."""
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


CELL_BATCHES = st.lists(
    st.tuples(st.integers(0, 3), rows(groups, st.integers(0, 3), amounts, amounts)), max_size=6
)


@settings(PROPERTY, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CELL_BATCHES, st.sampled_from((2, 3, 4, 6, 1000)), st.booleans(), st.booleans())
def test_cells_equal_a_bounded_dict(monkeypatch, batches, room, single, move):
    """Without room the same cells are dropped, in one batch or in many, and after a move."""
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
