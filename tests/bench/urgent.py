"""How soon a flood is answered while a worker has everything else to catch up with.

All other usage is put on the topics at once; then a customer each tick begins to flood an address.
"""

import asyncio
import json
from time import perf_counter

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.events import Flow
from schemas.topics import ACTIONS
from schemas.units import MINUTE_MS
from streams.broker.partitioner import partition_of
from tests.bench.figures import BenchError
from tests.bench.latency import ANSWER_SECONDS_MAX, LOAD_START_MS, Latencies
from tests.bench.producing import Feed, feed
from tests.bench.scales import PARTITIONS
from tests.bench.traffic import KINDS, SPAN_MS, Traffic, encode

FLOODS = 20
TICK_SECONDS = 0.1
BACKLOG_START_MS = LOAD_START_MS + SPAN_MS
"""After the load under which other latencies are measured."""

FLOOD_START_MS = BACKLOG_START_MS + SPAN_MS
PACKETS = 2_000_000
"""A minute; the policy allows 20,000 a second."""


async def measure(bootstrap: str, backlog: Traffic) -> Latencies:
    """Seconds from the flow that makes it a flood to the suspension, read by a consumer."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    sent: dict[str, float] = {}
    answered: dict[str, float] = {}
    try:
        consumer.assign([TopicPartition(ACTIONS, n) for n in range(PARTITIONS)])
        await consumer.seek_to_end()
        async with feed(bootstrap) as into:
            started = perf_counter()
            await _put_all_but_flows(into, backlog)
            following = asyncio.create_task(_follow(consumer, answered))
            for number in range(FLOODS):
                await asyncio.sleep(TICK_SECONDS)
                await _flood(into, f"flooder-{number}", sent)
            await asyncio.wait_for(following, ANSWER_SECONDS_MAX)
    except TimeoutError:
        raise BenchError(f"{FLOODS - len(answered)} of {FLOODS} floods got no answer") from None
    finally:
        await consumer.stop()
    seconds = [answered[customer] - sent[customer] for customer in sent]
    return Latencies(seconds, len(backlog) / (perf_counter() - started))


async def _put_all_but_flows(into: Feed, backlog: Traffic) -> None:
    rest = np.flatnonzero(backlog.kind != KINDS.index("flow"))
    others = Traffic(
        [backlog.values[row] for row in rest.tolist()],
        [backlog.keys[row] for row in rest.tolist()],
        backlog.kind[rest],
        backlog.partition[rest],
    )
    await into.stretch(others, 0, len(others))
    await into.delivered()


async def _flood(into: Feed, customer: str, sent: dict[str, float]) -> None:
    """Two minutes of a flood, the second of which makes it one."""
    flows = [
        Flow(
            event_id=f"{customer}-{minute}",
            customer_id=customer,
            event_time_ms=FLOOD_START_MS + minute * MINUTE_MS,
            source_address="10.0.0.1",
            destination_address="192.0.2.9",
            protocol=17,
            packets=PACKETS,
            bytes=PACKETS * 60,
            state="unanswered",
        )
        for minute in range(2)
    ]
    key = customer.encode()
    sent[customer] = perf_counter()
    values = [encode(flow) for flow in flows]
    await into.put("usage.flow", partition_of(key, PARTITIONS), [key] * len(values), values)


async def _follow(consumer: AIOKafkaConsumer, answered: dict[str, float]) -> None:
    """Note when each suspension comes; ends with the last one."""
    while len(answered) < FLOODS:
        fetched = await consumer.getmany(timeout_ms=1_000)
        now = perf_counter()
        for record in (record for part in fetched.values() for record in part):
            action = json.loads(record.value)
            if (action["rule"], action["kind"]) == ("ddos", "suspend"):
                answered.setdefault(action["customer_id"], now)
