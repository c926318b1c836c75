"""Workers that die, pause, come and go, on a broker that stops: nothing is lost or doubled.

These take minutes and run with `pytest -m long`. Of the tests that always run, test_loop.py and
test_live_policies.py kill workers, and test_live.py has two of them share partitions.
"""

import asyncio
import signal
import threading
import time
from pathlib import Path

import msgspec
import pytest

from streams.synthetic.generator import Operator, OperatorShape
from tests.support.harness.live import (
    Worker,
    assert_equal_to_replay,
    customer_records,
    fresh_topics,
    produce,
    usage_records,
    wait_until_committed,
)

pytestmark = pytest.mark.long

PARTITIONS = 8
APP_ID = "fairuse"


class Load(threading.Thread):
    """A generated operator's usage, produced at a rate beside the test."""

    def __init__(self, bootstrap: str, lines: list[bytes], per_second: float) -> None:
        super().__init__(daemon=True)
        self.bootstrap, self.lines, self.per_second = bootstrap, lines, per_second
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            records = usage_records(self.lines)
            asyncio.run(produce(self.bootstrap, records, PARTITIONS, self.per_second))
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        """Wait for the end of the load; raise what went wrong in it."""
        self.join(240)
        assert not self.is_alive(), "the load did not end"
        if self.error is not None:
            raise self.error


class Site:
    """One operator's input on a broker, and the comparison at the end."""

    def __init__(self, kafka, folder: Path, seed: int) -> None:
        self.bootstrap, self.folder = kafka.bootstrap, folder
        # 60 days end in a month that neither the worker nor the end of a replay's input closes.
        operator = Operator(OperatorShape(customers=200, days=60, seed=seed))
        self.customers = operator.customers()
        self.lines = [msgspec.json.encode(event) for day in operator.days() for event in day]
        self.file = folder / "usage.ndjson"
        self.file.write_bytes(b"\n".join(self.lines) + b"\n")
        fresh_topics(self.bootstrap, APP_ID, PARTITIONS)
        asyncio.run(produce(self.bootstrap, customer_records(self.customers), PARTITIONS))

    def load(self, seconds: float) -> Load:
        """Begin to produce the usage, spread over so many seconds."""
        load = Load(self.bootstrap, self.lines, len(self.lines) / seconds)
        load.start()
        return load

    def check(self) -> None:
        """Everything is committed and equals the replay."""
        wait_until_committed(self.bootstrap, APP_ID)
        assert_equal_to_replay(self.bootstrap, APP_ID, self.customers, [self.file], PARTITIONS)


@pytest.fixture
def site(kafka, tmp_path, seed):
    return Site(kafka, tmp_path, seed)


@pytest.fixture
def workers(site):
    """Two workers that do not run yet; whatever became of them, none runs on after the test."""
    both = [Worker(site.bootstrap, site.folder, name) for name in ("w1", "w2")]
    yield both
    for worker in both:
        if worker.alive():
            worker.kill()


def test_a_worker_killed_ten_times_loses_and_doubles_nothing(site, workers, chance):
    worker, _ = workers
    load = site.load(45)
    for _ in range(10):
        worker.start().wait_ready()
        time.sleep(chance.uniform(0.05, 2.5))
        worker.kill()
    worker.start().wait_ready()
    load.finish()
    site.check()
    assert worker.stop() == 0


def test_a_second_worker_that_joins_and_leaves_changes_nothing(site, workers, chance):
    first, second = workers
    first.start().wait_ready()
    load = site.load(45)
    time.sleep(chance.uniform(1, 4))
    second.start().wait_ready()
    time.sleep(chance.uniform(3, 6))
    assert second.stop() == 0
    time.sleep(chance.uniform(1, 3))
    second.start().wait_ready()
    time.sleep(chance.uniform(1, 3))
    second.kill()
    load.finish()
    site.check()
    assert first.stop() == 0


def test_a_broker_that_stops_for_half_a_minute_loses_and_doubles_nothing(
    kafka, site, workers, chance
):
    worker, _ = workers
    worker.start().wait_ready()
    load = site.load(20)
    time.sleep(chance.uniform(2, 8))
    kafka.stop()
    time.sleep(30)
    kafka.start()
    load.finish()
    if not worker.alive():
        worker.start()
    worker.wait_ready()
    site.check()


def test_a_worker_paused_past_its_session_spoils_nothing(site, workers, chance):
    """Another worker has its partitions when it goes on."""
    paused, other = workers
    paused.start().wait_ready()
    load = site.load(40)
    time.sleep(chance.uniform(2, 5))
    paused.signal(signal.SIGSTOP)
    other.start().wait_ready()
    time.sleep(chance.uniform(0, 4))
    paused.signal(signal.SIGCONT)
    paused.wait_ended()
    paused.start().wait_ready()
    load.finish()
    site.check()
