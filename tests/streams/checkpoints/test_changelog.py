"""Checkpoints on a simulated log: whatever is cut, late or compacted, a reader counts right.

The state is how often each word of an input came, and its memory is how much of the input was
read. So a reader is right when it has counted just the words before the place it goes on from: a
lost row shows as too little, one that counted twice as too much.
"""

import copy
import subprocess
import sys
from collections import Counter
from contextlib import suppress

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from detectors.state.version import STATE_VERSION, LayoutError
from streams.checkpoints.changelog import (
    HEADER,
    LINEAGE_MAX,
    MARKER_KEY,
    Changelog,
    ChangelogError,
)

WORDS = "abcdef"
CHECKPOINTS_KEPT = 3
"""Compaction stays behind so many finished checkpoints, as an hour's lag stays behind seconds."""


class Book:
    """How often each word of the input came, and how many words were read."""

    def __init__(self):
        self.counts = {}
        self.read = 0
        self.touched = set()

    def fold(self, word):
        self.counts[word] = self.counts.get(word, 0) + 1
        self.touched.add(word)
        self.read += 1

    def changes(self, everything):
        words = sorted(self.counts) if everything else sorted(self.touched)
        self.touched = set()
        return [(word.encode(), b"%d" % self.counts[word]) for word in words]

    def remember(self):
        return b"%d" % self.read

    def restore(self, keys, values):
        for key, value in zip(keys, values, strict=True):
            self.counts[key.decode()] = int(value)

    def recall(self, memory):
        self.read = int(memory)

    def rewrite(self, keys):
        self.touched |= {key.decode() for key in keys} & set(self.counts)


class Log:
    """One partition of a compacted topic."""

    def __init__(self):
        self.records = []
        self.end = 0

    def append(self, records):
        """Append a batch; its first offset and its number of records."""
        first = self.end
        self.records += [(first + n, *record) for n, record in enumerate(records)]
        self.end += len(records)
        return first, len(records)

    def compact(self, end):
        """Below `end`, keep only the newest record of each key."""
        newest = {key: offset for offset, key, _ in self.records if offset < end}
        self.records = [r for r in self.records if r[0] >= end or newest[r[1]] == r[0]]


class Worker:
    """Follows the log, takes over, reads the input and writes checkpoints, a batch at a time."""

    def __init__(self, number, log):
        self.log = log
        self.book = Book()
        self.changelog = Changelog(self.book, number)
        self.unsent, self.places, self.memory = [], [], b""
        self.fresh = self.idle = False
        self.finished = None

    def follow(self):
        self.changelog.read(self.log.records)
        return self

    def take_over(self):
        self.changelog.take_over()
        self.finished, self.idle = None, True
        return self

    def fold(self, words):
        self.idle = False
        for word in words:
            self.book.fold(word)
        return self

    def begin(self):
        """Put a checkpoint together; nothing of it is sent yet."""
        everything, self.changelog.foreign = self.changelog.foreign, False
        header = self.changelog.header()
        self.unsent = [(key, header + value) for key, value in self.book.changes(everything)]
        self.memory = self.book.remember()
        self.unsent.append((MARKER_KEY, self.changelog.next_marker(self.memory)))
        self.places, self.idle = [], False
        return self

    def send(self, most):
        """Let a batch reach the log; the marker has one of its own."""
        rows = min(most, len(self.unsent) - 1) or 1
        batch, self.unsent = self.unsent[:rows], self.unsent[rows:]
        self.places.append(self.log.append(batch))
        return self

    def note(self):
        """What comes after the marker was delivered."""
        self.changelog.wrote(self.places, self.memory)
        self.finished = int(self.memory)
        return self

    def send_all(self):
        while self.unsent:
            self.send(2)
        return self

    def checkpoint(self):
        return self.begin().send_all().note()


def reader_of(log):
    """A worker that takes over now."""
    return Worker(0, log).follow().take_over()


def twin_of(worker):
    """A copy that reads the same log and leaves the worker itself as it is."""
    return copy.deepcopy(worker, {id(worker.log): worker.log})


def assert_right(worker, words):
    """It counted every word before its place in the input, and each one once."""
    assert Counter(words[: worker.book.read]) == worker.book.counts


# -- whatever happens -----------------------------------------------------------------------------


class Partition(RuleBasedStateMachine):
    """One partition in the hands of workers that crash, pause, wake up, and take over.

    `holder` is the worker that the group named last; the others that ever held the partition and
    still run are lost ones: they don't know it yet. `committed` is where the next worker's input
    begins.
    """

    @initialize(words=st.text(WORDS, min_size=12, max_size=40))
    def start(self, words):
        self.words = words
        self.log = Log()
        self.ends = []
        self.committed = 0
        self.number = 0
        self.holder = None
        self.lost = []
        self.standbys = []

    def running(self):
        return ([self.holder] if self.holder else []) + self.lost

    def pick(self, workers, at):
        return workers[at % len(workers)]

    def drop(self, worker):
        if worker is self.holder:
            self.holder = None
        else:
            self.lost.remove(worker)

    @precondition(lambda self: len(self.standbys) < 2)
    @rule()
    def a_standby_starts(self):
        self.number += 1
        self.standbys.append(Worker(self.number, self.log))

    @precondition(lambda self: self.standbys)
    @rule(at=st.integers(0, 1))
    def a_standby_follows(self, at):
        standby = self.pick(self.standbys, at).follow()
        standby.fresh = self.holder is None

    @precondition(lambda self: self.holder is None and any(s.fresh for s in self.standbys))
    @rule()
    def the_group_names_a_holder(self):
        worker = next(standby for standby in self.standbys if standby.fresh)
        self.standbys.remove(worker)
        for standby in self.standbys:
            standby.fresh = False
        self.holder = worker.take_over()
        # Its input begins at the committed place, and what it knows already is left out.
        assert worker.book.read >= self.committed

    @precondition(lambda self: self.holder)
    @rule()
    def the_holder_loses_touch(self):
        self.lost.append(self.holder)
        self.holder = None

    @precondition(lambda self: self.holder and not self.holder.unsent)
    @rule()
    def the_holder_becomes_a_standby(self):
        """It is told in good time: a last checkpoint, and then it only follows."""
        self.finish(self.holder.begin().send_all())
        if self.holder:
            self.set_aside()

    @precondition(lambda self: self.holder and self.holder.idle)
    @rule()
    def the_holder_is_sent_away_at_once(self):
        """It took over and did nothing yet, so it writes nothing either."""
        self.set_aside()

    def set_aside(self):
        worker, self.holder = self.holder, None
        worker.fresh = False
        with suppress(ChangelogError):
            worker.changelog.release()
            self.standbys.append(worker)

    @precondition(lambda self: self.holder and not self.holder.unsent)
    @rule()
    def the_holder_reads_and_is_interrupted(self):
        """A rebalance that another one overtakes: it reads, but does not take over anew."""
        try:
            self.holder.follow()
        except ChangelogError:
            self.holder = None

    @precondition(lambda self: any(not worker.unsent for worker in self.running()))
    @rule(at=st.integers(0, 3))
    def the_group_names_an_old_holder(self, at):
        """The same worker again, or a lost one that came back before it knew; first it finishes."""
        worker = self.pick([w for w in self.running() if not w.unsent], at)
        if worker is not self.holder and self.holder is not None:
            return
        self.finish(worker.begin().send_all())
        if worker not in self.running():
            return
        self.drop(worker)
        with suppress(ChangelogError):
            self.holder = worker.follow().take_over()
            for standby in self.standbys:
                standby.fresh = False
            assert worker.book.read >= self.committed

    @precondition(lambda self: self.running())
    @rule(at=st.integers(0, 3), count=st.integers(1, 4))
    def a_worker_reads_input(self, at, count):
        worker = self.pick(self.running(), at)
        worker.fold(self.words[worker.book.read :][:count])

    @precondition(lambda self: self.running())
    @rule(at=st.integers(0, 3), batches=st.lists(st.integers(1, 3), max_size=4))
    def a_worker_writes(self, at, batches):
        """Begin or go on with a checkpoint, and come as far as the batches do."""
        worker = self.pick(self.running(), at)
        if not worker.unsent:
            worker.begin()
        for rows in batches:
            if worker.unsent:
                worker.send(rows)
        if not worker.unsent:
            self.finish(worker)

    @precondition(lambda self: self.running())
    @rule(at=st.integers(0, 3))
    def a_worker_finishes_a_checkpoint(self, at):
        worker = self.pick(self.running(), at)
        if not worker.unsent:
            worker.begin()
        self.finish(worker.send_all())

    def finish(self, worker):
        try:
            worker.note()
        except ChangelogError:
            self.drop(worker)
            return
        if worker is self.holder:
            self.committed = worker.finished
            self.ends.append(self.log.end)

    @precondition(lambda self: self.running())
    @rule(at=st.integers(0, 3), marker_lands=st.booleans())
    def a_worker_crashes(self, at, marker_lands):
        worker = self.pick(self.running(), at)
        if marker_lands and len(worker.unsent) == 1:
            worker.send(1)
        self.drop(worker)

    @precondition(lambda self: len(self.ends) > CHECKPOINTS_KEPT)
    @rule()
    def the_log_is_compacted(self):
        self.log.compact(self.ends[-CHECKPOINTS_KEPT])

    @invariant()
    def whoever_reads_now_is_right(self):
        if not hasattr(self, "log"):
            return
        followers = [twin_of(standby).follow().take_over() for standby in self.standbys]
        for reader in (reader_of(self.log), *followers):
            assert_right(reader, self.words)
            assert reader.book.read >= self.committed
            if self.holder is not None and self.holder.finished is not None:
                assert reader.book.read == self.holder.finished


TestPartition = Partition.TestCase
TestPartition.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, print_blob=True
)


# -- what may go wrong, one by one ----------------------------------------------------------------


@pytest.fixture
def log():
    return Log()


def first_holder(log, words=""):
    """The partition's first worker, with one checkpoint."""
    return Worker(1, log).take_over().fold(words).checkpoint()


def assert_read(log, counts, read):
    """What whoever reads the log now ends with."""
    assert_stands(reader_of(log), counts, read)


def assert_stands(worker, counts, read):
    assert (counts, read) == (worker.book.counts, worker.book.read)


def test_a_reader_ends_with_the_last_checkpoint(log):
    holder = first_holder(log, "abab")
    holder.fold("c").checkpoint()
    holder.fold("a")
    assert_read(log, {"a": 2, "b": 2, "c": 1}, 5)


def test_rows_without_their_marker_do_not_count(log):
    holder = first_holder(log, "a")
    holder.fold("ab").begin().send(2)
    assert_read(log, {"a": 1}, 1)


def test_rows_that_a_crash_left_behind_are_written_over(log):
    """Once the next holder wrote, compaction may drop every older image of them."""
    first_holder(log, "a").fold("a").begin().send(1)
    heir = Worker(2, log).follow().take_over()
    heir.checkpoint()
    log.compact(log.end)
    assert_read(log, {"a": 1}, 1)


def test_a_lost_writer_is_noticed_and_its_rows_are_written_over(log):
    """A hole between two checkpoints sets `foreign`; the next one holds every row."""
    lost = first_holder(log, "ab").fold("a").begin().send(1)
    holder = Worker(2, log).follow().take_over().checkpoint()
    assert not holder.changelog.foreign

    lost.send(1)
    holder.fold("c").checkpoint()

    assert holder.changelog.foreign
    holder.begin()
    expected = [b"a", b"b", b"c", MARKER_KEY]
    assert expected == [key for key, _ in holder.unsent]
    holder.send_all().note()
    assert not holder.changelog.foreign
    log.compact(log.end)
    assert_read(log, {"a": 1, "b": 1, "c": 1}, 3)


def test_a_marker_that_lands_during_a_take_over_ends_the_new_writer(log):
    """The new writer never read it, so what it writes must not count; its successor reads both."""
    lost = first_holder(log).fold("a").begin().send(1)
    holder = Worker(2, log).follow().take_over().fold("b")
    lost.send(1)

    with pytest.raises(ChangelogError, match="restart it"):
        holder.checkpoint()

    assert_read(log, {"a": 1}, 1)


def test_of_two_that_take_over_at_once_the_first_to_write_stays(log):
    """Both begin the same epoch, even a partition's very first one."""
    slow, quick = Worker(1, log).take_over(), Worker(2, log).take_over()
    quick.fold("a").checkpoint()

    with pytest.raises(ChangelogError):
        slow.fold("ab").checkpoint()

    quick.fold("b").checkpoint()
    assert_read(log, {"a": 1, "b": 1}, 2)


def test_a_lost_writer_that_goes_on_never_gets_the_partition_back(log):
    """However many checkpoints it writes, and whatever it sees, its epoch stays the older one."""
    lost = first_holder(log, "a")
    holder = Worker(2, log).follow().take_over().fold("b").checkpoint()
    for _ in range(5):
        lost.checkpoint()
        assert_read(log, {"a": 1, "b": 1}, 2)
    holder.fold("c").checkpoint()
    assert_read(log, {"a": 1, "b": 1, "c": 1}, 3)


def test_a_second_take_over_before_any_checkpoint_is_no_better_than_the_first(log):
    """Two rebalances in a row: what landed since the reading still goes before the claim."""
    lost = first_holder(log).fold("a").begin().send(1)
    holder = Worker(2, log).follow().take_over().take_over()
    lost.send(1)

    with pytest.raises(ChangelogError):
        holder.checkpoint()

    assert_read(log, {"a": 1}, 1)


def test_a_holder_that_stays_claims_the_partition_anew(log):
    """Another may have taken over in between, and its first checkpoint may be on its way."""
    holder = first_holder(log, "a")
    between = Worker(2, log).follow().take_over().begin()
    holder.follow().take_over()
    between.send(1)

    with pytest.raises(ChangelogError):
        holder.fold("b").checkpoint()

    assert_read(log, {"a": 1}, 1)


def test_what_a_holder_read_before_a_rebalance_ended_is_written_over_after_it(log):
    """The rebalance was overtaken by the next one, and a checkpoint came between the two."""
    lost = first_holder(log, "a").fold("a").begin()
    holder = Worker(2, log).follow().take_over().checkpoint()
    lost.send(1)
    holder.follow().fold("b").checkpoint()

    holder.follow().take_over().checkpoint()

    log.compact(log.end)
    assert_read(log, {"a": 1, "b": 1}, 2)


def test_a_writer_that_lost_the_partition_ends_when_it_reads_of_it(log):
    lost = first_holder(log, "a")
    Worker(2, log).follow().take_over().fold("b").checkpoint()
    with pytest.raises(ChangelogError, match="took over"):
        lost.follow()


def test_a_writer_with_a_hole_behind_it_can_not_become_a_copy(log):
    """It did not read what the other one wrote, so it does not know where it stands."""
    lost = first_holder(log).fold("a").begin().send(1)
    holder = Worker(2, log).follow().take_over().checkpoint()
    lost.send(1)
    holder.checkpoint()
    with pytest.raises(ChangelogError):
        holder.changelog.release()


def test_a_holder_sent_away_before_it_wrote_follows_on(log):
    """It keeps what it read and could not judge yet, and what it still had to write over."""
    before = first_holder(log).fold("a").begin().send(1)
    guest = Worker(2, log).follow().take_over()
    guest.changelog.release()
    before.send(1).note()
    guest.follow().take_over()
    assert_stands(guest, {"a": 1}, 1)


def test_rows_of_writers_long_gone_never_begin_to_count(log):
    """A marker names so many earlier writers only; past it everything is written anew."""
    first_holder(log).fold("a").begin().send(1)
    for number in range(2, LINEAGE_MAX + 10):
        heir = Worker(number, log).follow().take_over().checkpoint()
        assert len(heir.changelog.marker.lineage) <= LINEAGE_MAX
    log.compact(log.end)
    assert_read(log, {}, 0)


def test_the_rows_of_early_writers_count_for_ever(log):
    first_holder(log, "ab")
    for number in range(2, LINEAGE_MAX + 10):
        Worker(number, log).follow().take_over().checkpoint()
        log.compact(log.end)
    assert_read(log, {"a": 1, "b": 1}, 2)


def test_a_stray_marker_that_compaction_left_first_does_not_mislead(log):
    """Compaction keeps one marker of the old part, and that may be a lost writer's."""
    lost = first_holder(log, "a").fold("a").begin().send(1)
    holder = Worker(2, log).follow().take_over().fold("bc").checkpoint()
    lost.send(1)
    log.compact(log.end)
    holder.fold("d").checkpoint()
    holder.checkpoint()
    assert_read(log, {"a": 1, "b": 1, "c": 1, "d": 1}, 4)


def test_rows_wait_for_their_own_writers_marker(log):
    """An earlier writer's marker, first in a compacted log, says nothing of a later one's."""
    lost = first_holder(log, "a").begin()
    holder = Worker(2, log).follow().take_over().fold("bc").checkpoint()
    lost.send(1)
    log.compact(log.end)
    holder.fold("d").checkpoint()
    assert_read(log, {"a": 1, "b": 1, "c": 1, "d": 1}, 4)


def test_a_reader_takes_each_record_once(log):
    first_holder(log, "ab")
    worker = Worker(2, log).follow().follow().take_over()
    assert_stands(worker, {"a": 1, "b": 1}, 2)


def test_a_changelog_of_another_format_is_refused(log):
    holder = first_holder(log, "a")
    log.append([(b"a", HEADER.pack(STATE_VERSION + 1, 1, 1, 0) + b"1")])
    holder.checkpoint()
    with pytest.raises(LayoutError, match=f"version {STATE_VERSION + 1}, .* new app id"):
        Worker(2, log).follow()


@pytest.mark.parametrize(
    ("version", "words"),
    [([], "no layout version"), ([STATE_VERSION + 1], f"layout version {STATE_VERSION + 1}")],
)
def test_a_marker_of_another_version_is_refused(log, version, words):
    """Also without rows; releases before this one wrote none into their markers."""
    marker = [1, 1, 0, [], b"", *version]
    log.append([(MARKER_KEY, msgspec.msgpack.encode(marker))])
    with pytest.raises(LayoutError, match=f"{words}, .* new app id"):
        Worker(2, log).follow()


ENDING = """
import logging, sys
from detectors.state.version import LayoutError
from streams.checkpoints.changelog import ChangelogError
from streams.errors import end_worker
logging.basicConfig(level=sys.argv[1])
try:
    raise {error}("start under a new app id")
except Exception as error:
    end_worker(error)
"""


@pytest.mark.parametrize(
    ("error", "level", "shown"),
    [
        ("ChangelogError", "INFO", False),
        ("ChangelogError", "DEBUG", True),
        ("LayoutError", "INFO", False),
        ("KeyError", "INFO", True),
    ],
)
def test_a_changelog_that_can_not_be_read_is_a_sentence_and_a_bug_is_not(error, level, shown):
    """Only what we have to mend is told with where it came from."""
    command = [sys.executable, "-c", ENDING.format(error=error), level]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 1
    assert "start under a new app id" in ended.stderr
    assert shown == ("Traceback" in ended.stderr)
