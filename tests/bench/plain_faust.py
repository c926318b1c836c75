"""The six rules as Faust's documentation shows it: an agent per topic, and a loop over events.

Everything is Faust's default. It does less than the worker: it tells no duplicates, forgets no old
periods, takes rolling windows on the clock's grid, and judges no closed month.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

import faust

from tests.bench.children import say, told
from tests.bench.scales import PARTITIONS

APP_ID, FINDINGS = "bench-plain", "plain-findings"
TABLES = ("sms_daily", "sms_monthly", "voice_daily", "data_monthly", "data_total", "stored")
CONTACTS = "contacts"
TOPICS = (FINDINGS, *(f"{APP_ID}-{table}-changelog" for table in (*TABLES, CONTACTS)))
"""Have to be there: Faust 0.15.3 makes them, and fails on those that it made too late to see."""

ZONE = ZoneInfo("Europe/Brussels")
SMS_DAILY, SMS_MONTHLY = 350, 10_000
VOICE_DAILY_MS = 21_600_000
SCAN_MS, SCAN_PORTS, SCAN_HOSTS = 300_000, 15, 25
CAPACITY_BYTES = 1_000_000_000


class Usage(faust.Record, serializer="json", abstract=True):
    type: str
    event_id: str
    customer_id: str
    event_time_ms: int


class Sms(Usage):
    recipient: str
    direction: str = "mo"


class Voice(Usage):
    other_party: str
    duration_ms: int
    direction: str = "mo"


class Data(Usage):
    bytes_uplink: int
    bytes_downlink: int


class Flow(Usage):
    source_address: str
    destination_address: str
    protocol: int
    destination_port: int
    state: str


class Storage(Usage):
    used_bytes: int


class PlainRules:
    """What each event adds to the tables, and what is found by it."""

    def __init__(self, app: faust.App) -> None:
        self.findings = app.topic(FINDINGS, value_serializer="json")
        tables = {name: app.Table(name, default=int) for name in TABLES}
        self.sms_daily, self.sms_monthly = tables["sms_daily"], tables["sms_monthly"]
        self.voice_daily, self.stored = tables["voice_daily"], tables["stored"]
        self.data_monthly, self.data_total = tables["data_monthly"], tables["data_total"]
        self.contacts = app.Table(CONTACTS, default=list)

    async def sms(self, event: Sms) -> None:
        if event.direction != "mo":
            return
        day, month = periods_of(event)
        self.sms_daily[day] += 1
        self.sms_monthly[month] += 1
        if self.sms_daily[day] == SMS_DAILY + 1:
            await self.find("sms_daily", event, self.sms_daily[day])
        if self.sms_monthly[month] == SMS_MONTHLY + 1:
            await self.find("sms_monthly", event, self.sms_monthly[month])

    async def voice(self, event: Voice) -> None:
        if event.direction != "mo":
            return
        day, _ = periods_of(event)
        before_ms = self.voice_daily[day]
        self.voice_daily[day] += event.duration_ms
        if before_ms <= VOICE_DAILY_MS < self.voice_daily[day]:
            await self.find("voice_daily", event, self.voice_daily[day])

    async def data(self, event: Data) -> None:
        _, month = periods_of(event)
        used = event.bytes_uplink + event.bytes_downlink
        self.data_monthly[month] += used
        self.data_total[month[-7:]] += used

    async def flow(self, event: Flow) -> None:
        if event.state == "established":
            return
        port, host = event.destination_port, event.destination_address
        step = event.event_time_ms // SCAN_MS
        await self.contact(event, f"{event.customer_id}/{host}/{step}", port, SCAN_PORTS)
        await self.contact(event, f"{event.customer_id}/{port}/{step}", host, SCAN_HOSTS)

    async def contact(self, event: Flow, group: str, contact: int | str, limit: int) -> None:
        known = self.contacts[group]
        if contact in known:
            return
        self.contacts[group] = [*known, contact]
        if len(known) + 1 == limit:
            await self.find("portscan", event, limit)

    async def storage(self, event: Storage) -> None:
        was_above = self.stored[event.customer_id] > CAPACITY_BYTES
        self.stored[event.customer_id] = event.used_bytes
        if (event.used_bytes > CAPACITY_BYTES) != was_above:
            await self.find("storage_capacity", event, event.used_bytes)

    async def find(self, rule: str, event: Usage, observed: int) -> None:
        finding = {"rule": rule, "customer_id": event.customer_id, "observed": observed}
        await self.findings.send(key=event.customer_id, value=finding)


def periods_of(event: Usage) -> tuple[str, str]:
    """Keys of the customer's local day and month."""
    local = datetime.fromtimestamp(event.event_time_ms / 1000, ZONE)
    return f"{event.customer_id}/{local:%Y-%m-%d}", f"{event.customer_id}/{local:%Y-%m}"


class Count:
    """Events taken in, and when the last one was."""

    events = 0
    last = 0.0

    def one(self) -> None:
        self.events += 1
        self.last = perf_counter()


def plain_app(bootstrap: str, settings: dict[str, Any], count: Count) -> faust.App:
    app = faust.App(
        APP_ID,
        broker=";".join(f"kafka://{address}" for address in bootstrap.split(",")),
        store="memory://",
        topic_partitions=PARTITIONS,
        web_enabled=False,
        **settings,
    )
    rules = PlainRules(app)

    def agent(topic: str, model: type[Usage], rule: Callable[..., Awaitable[None]]) -> None:
        async def follow(stream: AsyncIterator[Usage]) -> None:
            async for event in stream:
                await rule(event)
                count.one()

        app.agent(app.topic(topic, value_type=model), name=topic)(follow)

    agent("usage.sms", Sms, rules.sms)
    agent("usage.voice", Voice, rules.voice)
    agent("usage.data", Data, rules.data)
    agent("usage.flow", Flow, rules.flow)
    agent("usage.storage", Storage, rules.storage)
    return app


def main(bootstrap: str, settings: dict[str, Any], warm_seconds: float, seconds: float) -> None:
    count = Count()
    app = plain_app(bootstrap, settings, count)

    @app.task
    async def measure() -> None:
        while not count.events:
            await asyncio.sleep(0.05)
        await asyncio.sleep(warm_seconds)
        events, started = count.events, count.last
        await asyncio.sleep(seconds)
        say(events=count.events - events, seconds=count.last - started)
        # Nobody needs the rest, and an orderly end would first send all that waits.
        os._exit(0)

    faust.Worker(app, loglevel="WARNING", console_port=None, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main(**told())
