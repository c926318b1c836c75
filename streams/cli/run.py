"""What the commands do after their arguments were read."""

import logging
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import click
import msgspec
import pyarrow.parquet as pq
from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from detectors.policies.editions import load_policy, read_document
from schemas.events import Event
from schemas.policy import Policy
from schemas.records import Customer, Decision, EnforcementResult
from streams.files.parquet_events import arrow_schema, table_of
from streams.files.sinks import Sink, writable
from streams.files.sources import files_of, read_records
from streams.replay.replay import ASSUMED, Replay
from streams.settings import EnforcementSettings, SettingsError, WorkerSettings
from streams.synthetic.generator import Operator, OperatorShape
from streams.synthetic.scoreboard import Scoreboard, read_planted
from streams.worker.collector import calm_collector


def run_worker(settings: WorkerSettings, log_level: str) -> int:
    """Run a worker until it is stopped.

    Parameters
    ----------
    settings
        The worker's settings.
    log_level
        Name of a level of `logging`.

    Returns
    -------
    Exit code of the process.

    Raises
    ------
    PolicyError
        The policy file cannot be used.
    SettingsError
        The port is taken.
    TopicsError
        No broker answers, or the topics do not fit.
    StartError
        The worker could not start for another reason.
    """
    from streams.broker.topics import TopicsError, check_topics  # noqa: PLC0415
    from streams.worker.app import create_app  # noqa: PLC0415
    from streams.worker.process import Worker  # noqa: PLC0415

    load_policy(Path(settings.policy) if settings.policy else None)
    _refuse_taken(settings.host, settings.port)
    problems = check_topics(settings.broker, settings.app_id)
    if problems:
        raise TopicsError("; ".join(problems))
    app = create_app(settings)
    return Worker(app, loglevel=log_level.upper(), quiet=True).run()


def _refuse_taken(host: str, port: int) -> None:
    """Raise `SettingsError` if the port is taken; a worker would find out only after its start."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise SettingsError(
            f"port {port} of {host} can't be used ({error.strerror}): give another --port or --host"
        ) from None


def run_enforcement(settings: EnforcementSettings, dry_run: bool, log_level: str) -> None:
    """Carry out actions until the process is stopped.

    Parameters
    ----------
    settings
        Enforcement's settings.
    dry_run
        Whether to print what would be done, and do nothing.
    log_level
        Name of a level of `logging`.
    """
    from streams.enforce.consumer import run_enforce  # noqa: PLC0415

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    # What its errors mean for the user is said in our own sentences.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    run_enforce(settings, dry_run)


def _progress(title: str) -> Progress:
    """Make a progress bar that shows on a terminal only."""
    return Progress(
        TextColumn(title),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Terminal(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


@dataclass(frozen=True, slots=True)
class Known:
    """Files that a replay reads besides usage; each may be None."""

    customers: Path | None
    policies: Path | None
    """Policies that take effect during the input."""
    results: Path | None
    """What became of actions; without it every action counts as carried out at once."""
    decisions: Path | None
    planted: Path | None
    """Whom each rule should find."""


def run_replay(
    inputs: list[Path],
    known: Known,
    findings: str | None,
    actions: str | None,
    dead_letters: str | None,
    settings: WorkerSettings,
) -> None:
    """Replay files, write what follows, and print a summary on standard error.

    Parameters
    ----------
    inputs
        Files and folders of usage.
    known
        The other files.
    findings, actions, dead_letters
        Files to write to, `-` for standard output; None to write none.
    settings
        Policy, partitions and limits.
    """
    planted = known.planted
    scores = Scoreboard(read_planted(planted) if planted else {})
    policy = load_policy(Path(settings.policy) if settings.policy else None)
    files = files_of(inputs)
    calm_collector()
    replay = _replay_of(policy, known, settings)
    found = decided = 0
    with ExitStack() as stack:
        sinks = [stack.enter_context(Sink(path)) for path in (findings, actions, dead_letters)]
        bar = stack.enter_context(_progress("replay"))
        task = bar.add_task("", total=sum(file.stat().st_size for file in files))
        before = [replay.hear_files(_answers(known))]
        if known.policies:
            before.append(replay.announce_policies(known.policies))
        for results in chain(before, replay.run(files)):
            for sink, records in zip(
                sinks, (results.findings, results.actions, results.dead_letters), strict=True
            ):
                sink.write(records)
            scores.see(results.findings)
            found += len(results.findings)
            decided += len(results.actions)
            bar.update(task, completed=results.read_bytes or None)
    counts = replay.counts
    refused = ", ".join(f"{reason} {n}" for reason, n in sorted(replay.reasons.items())) or "none"
    click.echo(
        f"{counts['events']} events counted, {counts['duplicates']} duplicates, "
        f"{counts['late']} late; {found} findings, {decided} actions; dead letters: {refused}",
        err=True,
    )
    held = replay.ladders.held_count
    if held:
        click.echo(
            f"the brake holds {held} more actions: look at them, then release it in --decisions",
            err=True,
        )
    if planted is not None:
        Terminal(stderr=True).print(scores.table())


def run_publish(file: Path, begins: datetime, share_percent: int, settings: WorkerSettings) -> None:
    """Check a policy and put it on its topic.

    Parameters
    ----------
    file
        The policy document.
    begins
        Event time from which it holds; in the policy's time zone if it names none.
    share_percent
        How many customers in a hundred it is for.
    settings
        The broker, and the policy that the workers were started with.
    """
    from streams.broker.produce import policy_record, send_policy  # noqa: PLC0415

    base = load_policy(Path(settings.policy) if settings.policy else None)
    record = policy_record(read_document(file), begins, share_percent, base)
    send_policy(settings.broker, record)
    starts = datetime.fromtimestamp(record.effective_ms / 1000, UTC).isoformat()
    click.echo(
        f"{record.name} {record.version} holds from {starts} on "
        f"for {share_percent} % of the customers"
    )


def _replay_of(policy: Policy, known: Known, settings: WorkerSettings) -> Replay:
    """Make a replay that knows the customers' plans."""
    enforcement = ASSUMED if known.results is None else None
    replay = Replay(policy, settings.partitions, settings.dedup_entries_max, enforcement)
    if known.customers is not None:
        replay.announce(read_records(known.customers, msgspec.json.Decoder(Customer)))
    return replay


def _answers(known: Known) -> Iterator[tuple[Path, Any]]:
    """Yield the files of results and of decisions, with a decoder for each."""
    for path, record in ((known.results, EnforcementResult), (known.decisions, Decision)):
        if path is not None:
            yield path, msgspec.json.Decoder(record)


def run_generate(
    customers: int,
    days: int,
    seed: int,
    events: str,
    customers_out: str | None,
    planted_out: str | None,
) -> None:
    """Write a synthetic operator: usage, customers, and whom each rule should find.

    Parameters
    ----------
    customers
        How many customers.
    days
        How many days.
    seed
        Seed of all random draws.
    events
        File for usage, `-` for standard output.
    customers_out
        File for customers, `-` for standard output; None to write none.
    planted_out
        File for whom each rule should find; None to write none.

    Raises
    ------
    ValueError
        The operator cannot have that shape.
    SinkError
        A file cannot be written.
    """
    operator = Operator(OperatorShape(customers=customers, days=days, seed=seed))
    with Sink(customers_out) as sink:
        sink.write(operator.customers())
    if planted_out is not None:
        planted = {"parts": operator.cast, "rules": operator.expected}
        with writable(planted_out):
            Path(planted_out).write_bytes(msgspec.json.encode(planted, order="sorted") + b"\n")
    with _progress("generate") as bar:
        stream = _counted(operator, bar, bar.add_task("", total=operator.event_count_estimate))
        if Path(events).suffix == ".parquet":
            with writable(events), pq.ParquetWriter(events, arrow_schema()) as writer:
                for day in stream:
                    writer.write_table(table_of(day))
        else:
            with Sink(events) as sink:
                for day in stream:
                    sink.write(day)


def _counted(operator: Operator, bar: Progress, task: Any) -> Iterator[Iterable[Event]]:
    for day in operator.days():
        yield day
        bar.advance(task, len(day))
