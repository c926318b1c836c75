"""Checkpoints on a simulated log: whatever is cut, late or compacted, a reader counts right.

The state is how often each word of an input came, and its memory is how much of the input was read. So
a reader is right when it has counted just the words before the place it goes on from: a lost row shows
as too little, one that counted twice as too much.
"""

import copy
from collections import Counter
from contextlib import suppress

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

from streams.changelog import (
    FORMAT,
    HEADER,
    LINEAGE_MAX,
    MARKER_KEY,
    Changelog,
    ChangelogError,
)

WORDS = "abcdef"
ROWS_KEPT = 3
"""Compaction stays behind this many finished checkpoints, as the lag in hours stays behind seconds."""


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
        self.fresh, self.idle = False, True
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


def assert_right(worker, words):
    """It counted every word before its place in the input, and each one once."""
    assert Counter(words[: worker.book.read]) == worker.book.counts


# -- whatever happens -----------------------------------------------------------------------------


class Partition(RuleBasedStateMachine):
    """One partition in the hands of workers that crash, pause, wake up, and take over.

    `holder` is the worker that the group named last; the others that ever held the partition and still
    run are lost ones: they don't know it yet. `committed` is where the next worker's input begins.
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

    @precondition(lambda self: self.holder and not self.holder.unsent)
    @rule(before_its_first_checkpoint=st.just(True))
    def the_holder_is_sent_away_at_once(self, before_its_first_checkpoint):
        """It took over and was never asked to work."""
        if self.holder.finished is None and self.holder.idle:
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
        """Begin or go on with a checkpoint; however far it comes, it may be told of late or never."""
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

    @precondition(lambda self: len(self.ends) > ROWS_KEPT)
    @rule()
    def the_log_is_compacted(self):
        self.log.compact(self.ends[-ROWS_KEPT])

    @invariant()
    def whoever_reads_now_is_right(self):
        if not hasattr(self, "log"):
            return
        followers = [copy.deepcopy(s).follow().take_over() for s in self.standbys]
        for reader in (reader_of(self.log), *followers):
            assert_right(reader, self.words)
            assert reader.book.read >= self.committed
            if self.holder is not None and self.holder.finished is not None:
                assert reader.book.read == self.holder.finished


TestPartition = Partition.TestCase
TestPartition.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, print_blob=True
)
