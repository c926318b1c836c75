"""From the message that crosses a limit to the action, read by a consumer, under load.

A customer each 50 ms is one message short of a lowered limit when the load begins; the message that
crosses it is sent while the load goes on. The load's own customers stay below it.
"""

import asyncio
import gc
import json
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.events import Sms
from schemas.topics import ACTIONS
from streams.broker.partitioner import partition_of
from tests.bench.figures import BenchError
from tests.bench.policies import LIMIT
from tests.bench.producing import Feed, feed
from tests.bench.scales import PARTITIONS
from tests.bench.traffic import SPAN_MS, START_MS, Traffic, encode

TICK_SECONDS = 0.05
LOAD_START_MS = START_MS + SPAN_MS
"""After the events of the run before."""

SETTLE_SECONDS = 1.0
ANSWER_SECONDS_MAX = 30


@dataclass(slots=True)
class Latencies:
    """Seconds from message to action, and how fast the load really came."""

    seconds: list[float]
    loaded_per_s: float

    def percentile_ms(self, percent: float) -> float:
        """The latency that so many percent stay within."""
        return 1000 * float(np.percentile(self.seconds, percent, method="higher"))


@dataclass(slots=True)
class Planted:
    """Customers who cross the limit one by one; when each did, and when the action came."""

    count: int
    sent: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    async def prepare(self, into: Feed) -> None:
        """Bring all of them to the limit."""
        for number in range(self.count):
            await self._texts(into, number, range(LIMIT))

    async def cross(self, into: Feed, number: int) -> None:
        """Send the message that is one too many."""
        self.sent[self._name(number)] = perf_counter()
        await self._texts(into, number, range(LIMIT, LIMIT + 1))

    async def follow(self, consumer: AIOKafkaConsumer) -> None:
        """Note when each action comes; ends with the last one."""
        while len(self.seconds) < self.count:
            fetched = await consumer.getmany(timeout_ms=1_000)
            now = perf_counter()
            for record in (record for part in fetched.values() for record in part):
                customer = json.loads(record.value)["customer_id"]
                if customer in self.sent:
                    self.seconds.setdefault(customer, now - self.sent[customer])

    async def _texts(self, into: Feed, number: int, messages: range) -> None:
        name = self._name(number)
        values = [
            encode(
                Sms(
                    event_id=f"{name}-{message}",
                    customer_id=name,
                    event_time_ms=LOAD_START_MS + message,
                    recipient="32470000000",
                )
            )
            for message in messages
        ]
        key = name.encode()
        partition = partition_of(key, PARTITIONS)
        await into.put("usage.sms", partition, [key] * len(values), values)

    @staticmethod
    def _name(number: int) -> str:
        return f"planted-{number}"


async def measure(bootstrap: str, load: Traffic, seconds: float) -> Latencies:
    """Send the load evenly over so many seconds, and one crossing message each tick."""
    ticks = round(seconds / TICK_SECONDS)
    planted = Planted(ticks)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(ACTIONS, n) for n in range(PARTITIONS)])
        await consumer.seek_to_end()
        async with feed(bootstrap) as into:
            await planted.prepare(into)
            await into.delivered()
            await asyncio.sleep(SETTLE_SECONDS)
            following = asyncio.create_task(planted.follow(consumer))
            took = await _send(into, load, planted, ticks)
            await asyncio.wait_for(following, ANSWER_SECONDS_MAX)
    except TimeoutError:
        missing = planted.count - len(planted.seconds)
        raise BenchError(f"{missing} of {planted.count} actions did not come") from None
    finally:
        await consumer.stop()
    return Latencies(list(planted.seconds.values()), len(load) / took)


async def _send(into: Feed, load: Traffic, planted: Planted, ticks: int) -> float:
    """Seconds it took to send everything."""
    # A collection would walk through the whole load and hold up what is measured.
    gc.collect()
    gc.freeze()
    started = perf_counter()
    for tick in range(ticks):
        await asyncio.sleep(max(0.0, started + tick * TICK_SECONDS - perf_counter()))
        start, end = (len(load) * at // ticks for at in (tick, tick + 1))
        await into.stretch(load, start, end)
        await planted.cross(into, tick)
    await into.delivered()
    gc.unfreeze()
    return perf_counter() - started
