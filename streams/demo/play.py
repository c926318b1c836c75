"""`fairuse demo`: two months of an operator in seconds, with an embedded broker and a worker."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiokafka
import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from detectors.rules.registry import UNITS
from schemas.events import Event, Voice
from schemas.records import Action, Customer, Finding
from schemas.topics import ACTIONS, CUSTOMERS, FINDINGS, POLICIES, USAGE_PREFIX
from streams.broker.partitioner import partitions_of
from streams.broker.topics import create_topics
from streams.clock import wall_clock
from streams.demo.embedded_broker import EmbeddedBroker, ends_with_parent, refuse_taken
from streams.demo.mishap import LIMIT_MS, RULE, VERSION, ordinary_calls, wrong_policy
from streams.errors import FairuseError
from streams.synthetic.generator import Operator, OperatorShape
from streams.synthetic.scoreboard import Scoreboard

PARTITIONS = 4
BATCH_BYTES = 262_144
ROWS_SHOWN = 12
READY_SECONDS_MAX = 30
ANSWER_SECONDS_MAX = 10
STUCK_SECONDS_MAX = 20
"""Time without progress, s, after which the demo no longer waits for the worker."""

PIPE_WIDTH = 110
SILENCE_SECONDS = 1.5
"""Time without new output, s, after which the output of what was read is complete."""

encode = msgspec.json.Encoder().encode
WORKER_SETTINGS = {
    "FAIRUSE_IDEMPOTENCE": "false",
    "FAIRUSE_STANDBYS": "0",
    "FAIRUSE_ASSUME_ENFORCEMENT": "true",
    "FAIRUSE_SESSION_TIMEOUT_SECONDS": "10",
    "FAIRUSE_REBALANCE_TIMEOUT_SECONDS": "4",
    "FAIRUSE_CHECKPOINT_SECONDS": "1",
}


class DemoError(FairuseError):
    """The demo can't go on; the message says what to do."""


@dataclass(slots=True)
class Output:
    """What the worker has sent so far, each record once."""

    findings: dict[str, Finding] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)
    newest_at: float = 0.0

    def under(self, version: str) -> list[Finding]:
        """Select the findings under a version of the policy.

        Parameters
        ----------
        version
            The version.

        Returns
        -------
        Its findings.
        """
        return [each for each in self.findings.values() if each.policy.version == version]


def run_demo(customers: int, days: int, seed: int, port: int, broker_port: int | None) -> int:
    """Play the demo.

    Parameters
    ----------
    customers, days, seed
        Shape of the synthetic operator.
    port
        Port of the worker's pages.
    broker_port
        Port of the embedded broker; None for any that is free.

    Returns
    -------
    The exit code.
    """
    refuse_taken(port)
    terminal = Console()
    if not terminal.is_terminal:
        terminal = Console(width=PIPE_WIDTH)
    operator = Operator(OperatorShape(customers=customers, days=days, seed=seed))
    with EmbeddedBroker(broker_port) as broker, tempfile.TemporaryDirectory() as folder:
        create_topics(broker.bootstrap, PARTITIONS, 1, "fairuse")
        worker = _start_worker(broker.bootstrap, port, Path(folder))
        try:
            asyncio.run(_play(operator, broker.bootstrap, port, worker, terminal))
        finally:
            _stop(worker)
    return 0


def _start_worker(bootstrap: str, port: int, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "streams", "worker", "--broker", bootstrap]
    command += ["--port", str(port), "--data-dir", str(folder / "data"), "--log-level", "error"]
    with (folder / "worker.log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | WORKER_SETTINGS,
            start_new_session=True,
            preexec_fn=ends_with_parent(),  # noqa: PLW1509 - started before any thread
        )


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """Kill the worker: its state is not needed any more."""
    worker.kill()
    worker.wait()


async def _play(
    operator: Operator,
    bootstrap: str,
    port: int,
    worker: subprocess.Popen[bytes],
    terminal: Console,
) -> None:
    output = Output()
    bar = Progress(
        TextColumn("[bold]usage"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )
    task = bar.add_task("", total=operator.event_count_estimate)
    async with AsyncExitStack() as stack:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=bootstrap, max_batch_size=BATCH_BYTES
        )
        await producer.start()
        stack.push_async_callback(producer.stop)
        with terminal.status("starting broker and worker"):
            await _wait_ready(port, worker)
            await _announce(producer, operator.customers(), port)
        reader = asyncio.create_task(_read(bootstrap, output))
        stack.callback(reader.cancel)
        started = time.monotonic()
        with Live(console=terminal, refresh_per_second=4, transient=True) as live:
            sent = last_ms = 0
            for day in operator.days():
                await _send(producer, day)
                sent += len(day)
                last_ms = day[-1].event_time_ms
                bar.update(task, completed=sent)
                live.update(_picture(bar, output))
                _check(worker)
            await _wait_until_done(port, sent, output, worker)
            bar.update(task, completed=sent, total=sent)
            live.update(_picture(bar, output))
        seconds = time.monotonic() - started
        terminal.print(_picture(bar, output))
        _print_summary(terminal, operator, output, await _metrics(port), sent, seconds)
        with terminal.status("somebody publishes a wrong limit"):
            begins_ms = last_ms + 1
            calls = ordinary_calls(operator.customers(), begins_ms)
            await _let_mishap_happen(producer, calls, begins_ms, port, output, worker)
        _print_mishap(terminal, output, await _metrics(port))


async def _let_mishap_happen(
    producer: Any,
    calls: list[Voice],
    begins_ms: int,
    port: int,
    output: Output,
    worker: subprocess.Popen[bytes],
) -> None:
    """Publish the wrong policy, and let all customers call once the worker has taken it in."""
    counted, policy = _counted(await _metrics(port)), wrong_policy(begins_ms)
    await producer.send_and_wait(POLICIES, encode(policy), key=policy.name.encode(), partition=0)
    await _send(producer, calls[:1])
    deadline = time.monotonic() + READY_SECONDS_MAX
    while f'version="{VERSION}"' not in await _metrics(port):
        if time.monotonic() > deadline:
            raise DemoError("the worker did not take in the policy: try again")
        await asyncio.sleep(0.1)
    await _send(producer, calls[1:])
    await _wait_until_done(port, counted + len(calls), output, worker)


async def _wait_ready(port: int, worker: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        _check(worker)
        with suppress(OSError, urllib.error.HTTPError):
            if json.loads(await asyncio.to_thread(_get, port, "/health"))["ready"]:
                return
        await asyncio.sleep(0.1)
    raise DemoError(f"the worker was not ready within {READY_SECONDS_MAX} s: try again")


def _check(worker: subprocess.Popen[bytes]) -> None:
    if worker.poll() is not None:
        raise DemoError("the worker ended early: run `fairuse worker` by hand to see why")


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}{path}", timeout=ANSWER_SECONDS_MAX
    ) as answer:
        return bytes(answer.read())


async def _announce(producer: Any, customers: list[Customer], port: int) -> None:
    """Send the customers, and wait until the worker knows them, before any use."""
    rows = [(CUSTOMERS, c.customer_id.encode(), encode(c)) for c in customers]
    await _submit(producer, rows)
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        held = _metric(await _metrics(port), "fairuse_state_rows")
        if held >= len(customers):
            return
        await asyncio.sleep(0.1)
    raise DemoError("the worker did not take in the customers: try again")


async def _send(producer: Any, day: Sequence[Event]) -> None:
    await _submit(
        producer,
        [
            (
                f"{USAGE_PREFIX}{event.__struct_config__.tag}",
                event.customer_id.encode(),
                encode(event),
            )
            for event in day
        ],
    )


async def _submit(producer: Any, rows: list[tuple[str, bytes, bytes]]) -> None:
    """Send (topic, key, value) in whole batches, in order, and wait for delivery."""
    numbers = partitions_of([key for _, key, _ in rows], PARTITIONS).tolist()
    batches: dict[tuple[str, int], Any] = {}
    waiting = []
    now_ms = wall_clock()
    for (topic, key, value), number in zip(rows, numbers, strict=True):
        batch = batches.setdefault((topic, number), producer.create_batch())
        if batch.append(key=key, value=value, timestamp=now_ms) is None:
            waiting.append(await producer.send_batch(batch, topic, partition=number))
            batch = batches[topic, number] = producer.create_batch()
            batch.append(key=key, value=value, timestamp=now_ms)
    for (topic, number), batch in batches.items():
        if batch.record_count():
            waiting.append(await producer.send_batch(batch, topic, partition=number))
    await asyncio.gather(*waiting)


async def _read(bootstrap: str, output: Output) -> None:
    """Read findings and actions as a dashboard would; repeated ids are dropped."""
    decoders = {
        FINDINGS: msgspec.json.Decoder(Finding),
        ACTIONS: msgspec.json.Decoder(Action),
    }
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(
            [aiokafka.TopicPartition(topic, n) for topic in decoders for n in range(PARTITIONS)]
        )
        while True:
            for part, records in (await consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    read = decoders[part.topic].decode(record.value)
                    if part.topic == FINDINGS:
                        output.findings[read.finding_id] = read
                    else:
                        output.actions[read.action_id] = read
                    output.newest_at = time.monotonic()
    finally:
        await consumer.stop()


async def _wait_until_done(
    port: int, sent: float, output: Output, worker: subprocess.Popen[bytes]
) -> None:
    """Wait until the worker has counted all events and sends nothing more, or makes no progress."""
    counted, moved = 0.0, time.monotonic()
    while time.monotonic() - moved < STUCK_SECONDS_MAX:
        _check(worker)
        before, counted = counted, _counted(await _metrics(port))
        if counted > before:
            moved = time.monotonic()
        if counted >= sent and time.monotonic() - max(output.newest_at, moved) > SILENCE_SECONDS:
            return
        await asyncio.sleep(0.2)


async def _metrics(port: int) -> str:
    return (await asyncio.to_thread(_get, port, "/metrics")).decode()


def _metric(text: str, name: str) -> float:
    """Sum of a metric over its labels."""
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return sum(float(value) for key, value in rows if key.split("{")[0] == name)


def _counted(text: str) -> float:
    names = ("events", "duplicates", "dead_letters")
    return sum(_metric(text, f"fairuse_{name}_total") for name in names)


def _picture(bar: Progress, output: Output) -> Table:
    """The progress bar over the newest actions."""
    grid = Table.grid()
    grid.add_row(bar)
    grid.add_row(f"{len(output.findings)} findings, {len(output.actions)} actions; the newest:")
    grid.add_row(_actions_table(list(output.actions.values())[-ROWS_SHOWN:], output.findings))
    return grid


def _actions_table(actions: list[Action], findings: dict[str, Finding]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("rule", "customer", "observed", "limit", "action", "clause"):
        right = name in ("observed", "limit")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for action in actions:
        finding = findings.get(action.finding_ids[0])
        if finding is not None:
            table.add_row(
                action.rule,
                action.customer_id,
                UNITS[finding.unit].short(finding.observed),
                UNITS[finding.unit].number(finding.limit),
                action.kind,
                action.clause,
            )
    return table


def _print_summary(
    terminal: Console, operator: Operator, output: Output, metrics: str, sent: int, seconds: float
) -> None:
    """Print who was planted and who was found, with the totals."""
    scores = Scoreboard(operator.expected)
    scores.see(output.findings.values())
    terminal.print()
    terminal.print(scores.table())
    dead = int(_metric(metrics, "fairuse_dead_letters_total"))
    kinds = Counter(action.kind for action in output.actions.values())
    told = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    terminal.print(
        f"\n{sent:,} events of {len(operator.customers()):,} customers in {seconds:.1f} s "
        f"({sent / seconds:,.0f} events/s, generator, broker and worker on this machine), "
        f"{dead} dead letters\nactions: {told}"
    )


def _print_mishap(terminal: Console, output: Output, metrics: str) -> None:
    """Print what the brake let through and what it holds back."""
    under = output.under(VERSION)
    found = {finding.finding_id for finding in under}
    out = sum(not found.isdisjoint(action.finding_ids) for action in output.actions.values())
    held = int(_metric(metrics, "fairuse_held_actions"))
    customers = len({finding.customer_id for finding in under})
    terminal.print(
        f"\nthen a policy was published by mistake: {LIMIT_MS // 60_000} minute of calls a day in "
        f"place of six hours. {customers:,} customers are in breach within the hour; {out} notices "
        f"went out, then the brake stopped {RULE}: it holds {held:,} actions until a person looks "
        f"at them (`fairuse decide reject --rule {RULE}` drops them)."
    )
