"""The command line, `fairuse`: arguments, help, and how a command ends."""

import sys
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from detectors.state.version import LayoutError
from schemas.policy import PolicyError
from schemas.records import EVERYBODY_PERCENT
from streams.errors import DONE, FAILED, WRONG_USAGE, FairuseError
from streams.settings import EnforcementSettings, WorkerSettings, load_settings

DECISIONS = ("approve", "reject", "exempt", "snooze", "consent", "release_brake")


def _fail(message: str, code: int = FAILED) -> NoReturn:
    """Print one sentence on standard error, and end the process."""
    click.echo(f"fairuse: {message}", err=True)
    sys.exit(code)


def _report_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the function of a command: an error that a person can mend is printed as one sentence,
    and ends the process with its exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except PolicyError as error:
            for mistake in error.mistakes:
                click.echo(f"fairuse: {mistake}", err=True)
            sys.exit(WRONG_USAGE)
        except FairuseError as error:
            _fail(str(error), error.exit_code)
        except LayoutError as error:
            _fail(str(error))
        except BrokenPipeError:
            sys.exit(DONE)
        except KeyboardInterrupt:
            _fail("stopped")

    return run


def _setting(name: str, text: str, kind: Any = str) -> Callable[..., Any]:
    """Declare a flag that overrides the setting of the same name."""
    return click.option(f"--{name.replace('_', '-')}", name, type=kind, help=text, default=None)


def _output(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """Check that the ending of a file's name says how to write records to it."""
    from streams.files.sinks import ENDINGS, is_output  # noqa: PLC0415

    if given is not None and not is_output(given):
        raise click.BadParameter(f"{given} does not say how to write it: end it in {ENDINGS}")
    return given


def _json_output(
    context: click.Context, parameter: click.Parameter, given: str | None
) -> str | None:
    """Check that a file's name ends in .json."""
    if given is not None and not given.endswith(".json"):
        raise click.BadParameter(f"{given} would hold JSON: end it in .json")
    return given


LOG_LEVEL = click.option(
    "--log-level",
    default="info",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    help="How much is logged.",
)
POLICY = click.Path(exists=True, dir_okay=False)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
@click.version_option(package_name="fairuse")
def main() -> None:
    """Fair-use and abuse detection on usage events, from Kafka topic to action topic."""


@main.command()
@_setting("broker", "Kafka bootstrap addresses, host:port, comma-separated.")
@_setting("app_id", "Consumer group and first part of the changelog topics' names.")
@_setting("policy", "Policy file; the default policy if absent.", POLICY)
@_setting("host", "Address of the HTTP server; other workers redirect to it.")
@_setting("port", "Port of /metrics and /customers.", int)
@_setting("data_dir", "Folder for local snapshots.", click.Path(file_okay=False))
@_setting("instance_id", "Static membership: a restart gets its partitions back at once.")
@LOG_LEVEL
@_report_errors
def worker(log_level: str, **flags: Any) -> None:
    """Run a worker until it is stopped."""
    from streams.cli.run import run_worker  # noqa: PLC0415

    sys.exit(run_worker(load_settings(WorkerSettings, flags), log_level))


@main.command()
@_setting("broker", "Kafka bootstrap addresses, host:port, comma-separated.")
@_setting("app_id", "First part of the consumer group's name.")
@_setting(
    "adapter", "What carries actions out.", click.Choice(["webhook", "radius", "policy-counter"])
)
@_setting("kinds", "Kinds of action to carry out, comma-separated; all the adapter can if absent.")
@_setting("webhook_url", "Where the webhook adapter posts actions.")
@_setting("radius_host", "RADIUS server of the radius adapter.")
@_setting("radius_port", "Its port for CoA-Request and Disconnect-Request.", int)
@_setting("policy_counter_url", "Notification URI of the policy control function.")
@_setting("host", "Address of /metrics.")
@_setting("port", "Port of /metrics.", int)
@_setting("data_dir", "Folder of the state file.", click.Path(file_okay=False))
@click.option("--dry-run", is_flag=True, help="Print what would be done; do and report nothing.")
@LOG_LEVEL
@_report_errors
def enforce(dry_run: bool, log_level: str, **flags: Any) -> None:
    """Carry out actions in a network or another system, and report what became of them."""
    from streams.cli.run import run_enforcement  # noqa: PLC0415

    run_enforcement(load_settings(EnforcementSettings, flags), dry_run, log_level)


@main.command()
@_setting("broker", "Kafka bootstrap addresses, host:port, comma-separated.")
@_setting("app_id", "First part of the changelog topics' names.")
@_setting("partitions", "Partitions of the topics to create.", int)
@_setting("replication", "Copies of each partition.", int)
@click.option("--check", is_flag=True, help="Only check whether the existing topics fit.")
@_report_errors
def topics(check: bool, **flags: Any) -> None:
    """Create the topics, or check that the existing ones fit."""
    from streams.broker.topics import check_topics, create_topics  # noqa: PLC0415

    settings = load_settings(WorkerSettings, flags)
    if not check:
        made = create_topics(
            settings.broker, settings.partitions, settings.replication, settings.app_id
        )
        click.echo(f"{len(made)} topics created" if made else "all topics exist")
    problems = check_topics(settings.broker, settings.app_id)
    for problem in problems:
        click.echo(f"fairuse: {problem}", err=True)
    if problems:
        sys.exit(FAILED)
    click.echo("the topics fit")


@main.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@_setting("policy", "Policy file; the default policy if absent.", POLICY)
@click.option(
    "--customers",
    type=click.Path(path_type=Path, exists=True),
    help="Customers, NDJSON or Parquet.",
)
@click.option("--policies", type=FILE, help="Policies that take effect during the input, NDJSON.")
@click.option(
    "--results",
    type=click.Path(path_type=Path, exists=True),
    help="What became of actions; without it notices arrive and restrictions work at once.",
)
@click.option(
    "--decisions", type=click.Path(path_type=Path, exists=True), help="What people decided."
)
@click.option("--findings", callback=_output, help="Where findings go: .ndjson, .parquet or -.")
@click.option("--actions", callback=_output, help="Where actions go: .ndjson, .parquet or -.")
@click.option(
    "--dead-letters", callback=_output, help="Where unusable records go: .ndjson, .parquet or -."
)
@click.option(
    "--planted",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Who should be found, of `fairuse generate`.",
)
@_setting("partitions", "Partitions that the topics have.", int)
@_report_errors
def replay(
    inputs: tuple[Path, ...],
    customers: Path | None,
    results: Path | None,
    decisions: Path | None,
    policies: Path | None,
    findings: str | None,
    actions: str | None,
    dead_letters: str | None,
    planted: Path | None,
    **flags: Any,
) -> None:
    """Run the same rules over files, without a broker."""
    from streams.cli.run import Known, run_replay  # noqa: PLC0415

    known = Known(customers, policies, results, decisions, planted)
    run_replay(
        list(inputs), known, findings, actions, dead_letters, load_settings(WorkerSettings, flags)
    )


@main.command()
@click.argument("action_id")
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@_setting("broker", "Where the topics are, unless --actions names a file: host:port.")
@click.option(
    "--actions", type=FILE, help="Actions of a replay, NDJSON or Parquet; else the topic."
)
@click.option("--findings", type=FILE, help="Findings of the same replay, NDJSON or Parquet.")
@click.option("--customers", type=FILE, help="Customers, NDJSON or Parquet.")
@click.option("--policies", type=FILE, help="Policies that took effect during the input, NDJSON.")
@_setting("policy", "Policy file; the default policy if absent.", POLICY)
@_setting("partitions", "Partitions that the topics have, or that the replay had.", int)
@click.option("--language", default="en", type=click.Choice(["en", "nl", "fr"]), show_default=True)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page, too.")
@_report_errors
def explain(
    action_id: str,
    inputs: tuple[Path, ...],
    actions: Path | None,
    findings: Path | None,
    customers: Path | None,
    policies: Path | None,
    language: str,
    html: Path | None,
    **flags: Any,
) -> None:
    """Compute the evidence of an action again, and say in words what it is about."""
    from streams.explain.command import Files, run_explain  # noqa: PLC0415
    from streams.explain.topics import Topics  # noqa: PLC0415

    settings = load_settings(WorkerSettings, flags)
    records: Files | Topics
    if actions is not None and findings is not None:
        records = Files(actions, findings, customers, policies)
    elif actions is findings is customers is policies is None:
        records = Topics(settings.broker)
    else:
        _fail("name --actions and --findings, or none of the files", WRONG_USAGE)
    run_explain(action_id, list(inputs), records, language, html, settings)


@main.command()
@click.option("--customers", "customer_count", default=2000, help="How many customers.")
@click.option("--days", default=62, help="How many days.")
@click.option("--seed", default=7, help="The same seed gives the same operator.")
@click.option(
    "--events",
    default="-",
    callback=_output,
    help="Where usage goes: .ndjson, .parquet or - (standard output).",
)
@click.option(
    "--customers-out",
    callback=_output,
    help="Where the customers' plans go: .ndjson, .parquet or -.",
)
@click.option(
    "--planted-out",
    callback=_json_output,
    help="Where parts, and whom each rule must find, go: .json.",
)
@_report_errors
def generate(
    customer_count: int,
    days: int,
    seed: int,
    events: str,
    customers_out: str | None,
    planted_out: str | None,
) -> None:
    """Write a synthetic operator: population, habits, abusers."""
    from streams.cli.run import run_generate  # noqa: PLC0415

    try:
        run_generate(customer_count, days, seed, events, customers_out, planted_out)
    except ValueError as error:
        _fail(str(error), WRONG_USAGE)


@main.command()
@click.argument("kind", type=click.Choice(DECISIONS))
@click.option("--customer", "customer_id", help="Whom it is about; without, a rule or everybody.")
@click.option("--rule", help="The rule it is about; without, all of them.")
@click.option(
    "--action",
    "action_id",
    help="The action that is approved or rejected, or whose case is snoozed.",
)
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True),
    help="How long it holds; an exemption without it holds until further notice.",
)
@click.option("--reason", required=True, help="Why: it is kept with the decision.")
@click.option("--by", "decided_by", required=True, help="Who decided.")
@_setting("broker", "Kafka bootstrap addresses, host:port, comma-separated.")
@_report_errors
def decide(days: float | None, broker: str | None, **fields: str | None) -> None:
    """Put what a person decided on the topic `decisions`."""
    from streams.broker.produce import decision_of, send_decision  # noqa: PLC0415

    given = {name: value for name, value in fields.items() if value is not None}
    decision = decision_of(days, **given)
    count = send_decision(load_settings(WorkerSettings, {"broker": broker}).broker, decision)
    click.echo(f"{decision.kind}: sent to {count} partition{'s' if count > 1 else ''}")


@main.group()
def policy() -> None:
    """Policy documents."""


@policy.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_report_errors
def check(file: Path) -> None:
    """Report every mistake in a policy, with its line and remedy."""
    from detectors.policies.editions import load_policy  # noqa: PLC0415

    try:
        found = load_policy(file)
    except PolicyError as error:
        for mistake in error.mistakes:
            click.echo(f"{file}: {mistake}", err=True)
        sys.exit(WRONG_USAGE)
    click.echo(f"{file}: {found.name} {found.version}, {len(found.rules)} rules, no mistakes")


def _instant(context: click.Context, parameter: click.Parameter, given: str) -> datetime:
    """Read an ISO 8601 time."""
    try:
        return datetime.fromisoformat(given)
    except ValueError:
        raise click.BadParameter("write 2026-07-01T00:00 or 2026-07-01T00:00+02:00") from None


@policy.command()
@click.argument("file", type=FILE)
@click.option(
    "--from",
    "begins",
    required=True,
    callback=_instant,
    help="Event time from which on it holds; in the policy's time zone if it names none.",
)
@click.option(
    "--share",
    default=EVERYBODY_PERCENT,
    show_default=True,
    type=click.IntRange(0, EVERYBODY_PERCENT),
    help="For how many customers in a hundred; 0 only shows what it would find.",
)
@_setting("broker", "Kafka bootstrap addresses, host:port, comma-separated.")
@_setting("policy", "Policy file the workers were started with; the default if absent.", POLICY)
@_report_errors
def publish(file: Path, begins: datetime, share: int, **flags: Any) -> None:
    """Have a policy take effect at a time, without a restart."""
    from streams.cli.run import run_publish  # noqa: PLC0415

    run_publish(file, begins, share, load_settings(WorkerSettings, flags))


@main.command()
@click.option("--customers", "customer_count", default=2000, help="How many customers.")
@click.option("--days", default=62, help="How many days.")
@click.option("--seed", default=7, help="The same seed gives the same operator.")
@click.option("--port", default=6066, help="Port of /metrics and /customers.")
@click.option("--broker-port", default=None, type=int, help="Port of the embedded broker.")
@_report_errors
def demo(customer_count: int, days: int, seed: int, port: int, broker_port: int | None) -> None:
    """Play two months of an operator in fast motion, everything on this machine."""
    from streams.demo.play import run_demo  # noqa: PLC0415

    sys.exit(run_demo(customer_count, days, seed, port, broker_port))
