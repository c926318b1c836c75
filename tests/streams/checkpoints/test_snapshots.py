"""A worker that restarts on its machine goes on from its snapshot."""

import asyncio
from itertools import pairwise

import msgspec

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

PARTITIONS = 4
APP_ID = "fairuse"


def test_a_restart_from_a_snapshot_changes_nothing(kafka, tmp_path):
    operator = Operator(OperatorShape(customers=200, days=40, seed=5))
    lines = [msgspec.json.encode(event) for day in operator.days() for event in day]
    file = tmp_path / "usage.ndjson"
    file.write_bytes(b"\n".join(lines) + b"\n")
    fresh_topics(kafka.bootstrap, APP_ID, PARTITIONS)
    asyncio.run(produce(kafka.bootstrap, customer_records(operator.customers()), PARTITIONS))
    worker = Worker(kafka.bootstrap, tmp_path)
    cuts = [0, len(lines) // 3, 2 * len(lines) // 3, len(lines)]
    try:
        for start, end in pairwise(cuts):
            worker.start().wait_ready()
            asyncio.run(produce(kafka.bootstrap, usage_records(lines[start:end]), PARTITIONS))
            wait_until_committed(kafka.bootstrap, APP_ID)
            if end == len(lines):
                # While the worker runs: its ladders' time passes after the last record.
                customers = operator.customers()
                assert_equal_to_replay(kafka.bootstrap, APP_ID, customers, [file], PARTITIONS)
            assert worker.stop() == 0
            snapshots = list((tmp_path / "w1/fairuse/snapshots").iterdir())
            assert len(snapshots) == 2 * PARTITIONS
    finally:
        worker.alive() and worker.kill()
