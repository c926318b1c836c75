"""The ladder's clock: no moment comes before what was found by then was heard."""

import asyncio
from types import SimpleNamespace

import pytest

from detectors.ladder.ladder import Ladder
from detectors.policies.editions import load_policy
from schemas.topics import FINDINGS
from streams.broker.outbox import Outbox
from streams.checkpoints.changelog import Changelog
from streams.checkpoints.tables import Shard
from streams.worker.ladder_clock import LadderClock


class Batch(list):
    """As much of aiokafka's batch as is needed; it holds two records."""

    def append(self, **record):
        if len(self) == 2:
            return None
        super().append(record)
        return record

    def record_count(self):
        return len(self)


class Producer:
    """Keeps what it is sent until it is told that it arrived."""

    def __init__(self):
        self.under_way = []

    def create_batch(self):
        return Batch()

    async def send_batch(self, batch, topic, partition):
        future = asyncio.get_running_loop().create_future()
        self.under_way.append(future)
        return future

    async def arrive(self, first_offset):
        """The oldest batch under way begins at this offset."""
        self.under_way.pop(0).set_result(SimpleNamespace(offset=first_offset))
        await asyncio.sleep(0)


class Site:
    """The clock of one partition; the test says how far its usage and its ladder have come."""

    def __init__(self):
        self.ticks = []
        self.reached_ms, self.known_to_ms = 0, 1_000
        self.highwater, self.heard = None, 0
        self.outbox = Outbox(lambda: 0)
        self.outbox.producer = self.producer = Producer()
        usage = SimpleNamespace(processor=SimpleNamespace(customer_count=1))
        ladder = Ladder(3, load_policy())
        self.ladder = Shard(ladder, Changelog(ladder.state, 1), active=True)
        self.clock = LadderClock(
            app=SimpleNamespace(consumer=SimpleNamespace(highwater=lambda tp: self.highwater)),
            detect=SimpleNamespace(active=lambda: {3: usage}),
            ladder=SimpleNamespace(active=lambda: {3: self.ladder}),
            agent=SimpleNamespace(
                outbox=self.outbox, tick=lambda shard, number, ms: self.ticks.append((number, ms))
            ),
            idle=SimpleNamespace(reached_ms=lambda number, shard: self.reached_ms),
            cohorts=SimpleNamespace(known_to_ms=lambda state, ms: min(ms, self.known_to_ms)),
        )

    def tick(self, reached_ms, heard=0):
        """How far time goes on in one beat, None if it stands."""
        self.reached_ms = reached_ms
        self.ladder.state.next_offset[FINDINGS] = heard
        before = len(self.ticks)
        self.clock.tick()
        return self.ticks[-1][1] if len(self.ticks) > before else None


@pytest.fixture
def site():
    return Site()


def test_time_goes_on_with_the_usage_while_nothing_is_found(site):
    assert [site.tick(reached_ms) for reached_ms in (100, 100, 250)] == [100, 100, 250]


def test_time_waits_for_means(site):
    site.known_to_ms = 150
    assert [site.tick(reached_ms) for reached_ms in (100, 250)] == [100, 150]


def test_a_moment_waits_for_what_was_found_by_then(site):
    """Put, sent, delivered and heard; what is found later is none of its business."""

    async def play():
        for _ in range(3):
            site.outbox.put(FINDINGS, 3, None, b"")
        assert site.tick(100) is None, "on its way"
        await site.outbox.send()
        assert site.tick(200) is None
        await site.producer.arrive(40)
        assert site.tick(300) is None, "one batch of two"
        await site.producer.arrive(42)
        site.outbox.put(FINDINGS, 3, None, b"")
        assert site.tick(300, heard=42) is None, "the third is not heard"
        assert site.tick(300, heard=43) == 100
        assert site.tick(300, heard=43) is None, "now the fourth is waited for"

    asyncio.run(play())


def test_a_moment_waits_for_what_another_worker_left(site):
    site.highwater = 8
    assert site.tick(100, heard=7) is None
    assert site.tick(200, heard=8) == 100
    assert site.tick(200, heard=8) == 200


def test_time_does_not_pass_usage_that_went_back_to_a_checkpoint(site):
    site.highwater = 8
    assert site.tick(100, heard=7) is None
    assert site.tick(60, heard=8) == 60


def test_records_of_other_partitions_and_topics_hold_nothing_up(site):
    site.outbox.put(FINDINGS, 2, None, b"")
    site.outbox.put("actions", 3, None, b"")
    assert site.tick(100) == 100
