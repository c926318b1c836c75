"""`fairuse explain`: looks an action up, computes its findings again, and prints the page."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console

from detectors.policies.editions import Edition, decode_edition, load_policy
from schemas.policy import Policy
from schemas.records import Action, Customer, Finding
from streams.clock import wall_clock
from streams.explain.grounds import ExplainError, Records, grounds_of
from streams.explain.html import html_of
from streams.explain.page import Explanation, PageWriter
from streams.explain.recompute import PolicyHistory, Recomputation, recompute
from streams.explain.spans import InputGone, TopicSpan, read_files, spans_of
from streams.explain.terminal import show
from streams.explain.topics import read_topics
from streams.files.sources import Chunk, files_of, read_lines, read_records
from streams.settings import WorkerSettings

action_decoder = msgspec.json.Decoder(Action)
finding_decoder = msgspec.json.Decoder(Finding)
customer_decoder = msgspec.json.Decoder(Customer)


@dataclass(frozen=True, slots=True)
class Files(Records):
    """Records in NDJSON or Parquet files, as a replay reads and writes them."""

    actions_path: Path
    findings_path: Path
    customers_path: Path | None
    policies_path: Path | None = None

    def actions(self) -> Iterator[Action]:
        """Read every action."""
        return read_records(self.actions_path, action_decoder)

    def findings(self, customer_id: str) -> Iterator[Finding]:
        """Read every finding."""
        return read_records(self.findings_path, finding_decoder)

    def customers(self, customer_id: str) -> Iterator[Customer]:
        """Read every customer, if there is a file of them."""
        if self.customers_path is not None:
            yield from read_records(self.customers_path, customer_decoder)

    def policies(self) -> Iterator[bytes]:
        """Read the lines of the file of policies, if there is one."""
        if self.policies_path is not None:
            yield from (line for _, line in read_lines(self.policies_path))


def explain(
    action_id: str,
    records: Records,
    usage: Callable[[Finding], tuple[Iterable[Chunk], int]],
    policy: Policy,
    dedup_entries_max: int,
) -> Explanation:
    """Look an action up and compute its findings again.

    Parameters
    ----------
    action_id
        The action.
    records
        Where actions, findings, customers and policies are.
    usage
        Gives the events that a finding's evidence names, and the number of partitions they were
        split into. It raises `InputGone`, at once or while the events are read.
    policy
        The policy that the workers were started with.
    dedup_entries_max
        Event ids remembered at most, for each kind of event.

    Returns
    -------
    The action, and what came of computing its findings again.

    Raises
    ------
    ExplainError
        The action, its rule or one of its findings is not there.
    """
    grounds = grounds_of(
        action_id, records.actions, lambda action: records.findings(action.customer_id)
    )
    if grounds.action.rule not in policy.rules:
        raise ExplainError(f"policy {policy.name} has no rule {grounds.action.rule}: name another")
    policies = PolicyHistory(policy, list(_editions(records.policies(), policy)))
    outcomes: list[Recomputation | InputGone] = []
    for finding in grounds.findings:
        try:
            chunks, partitions = usage(finding)
            customers = records.customers(finding.customer_id)
            outcomes.append(
                recompute(finding, policies, customers, chunks, partitions, dedup_entries_max)
            )
        except InputGone as gone:
            outcomes.append(gone)
    return Explanation(grounds, outcomes, policies.name_for(grounds.action.policy))


def _editions(records: Iterable[bytes], base: Policy) -> Iterator[Edition]:
    """The policies that fit the first one; the workers refused the others."""
    for record in records:
        with suppress(ValueError):
            yield decode_edition(record, base)


def run_explain(
    action_id: str,
    inputs: list[Path],
    records: Records,
    language: str,
    html: Path | None,
    settings: WorkerSettings,
) -> None:
    """Explain an action: print the page, and write it as HTML if that is asked for.

    Parameters
    ----------
    action_id
        The action.
    inputs
        Files or folders with the usage; if there are none, it is where the evidence says.
    records
        Where actions, findings, customers and policies are.
    language
        One of `LANGUAGES`.
    html
        The file to write; None for none.
    settings
        Policy, broker, and number of partitions.

    Raises
    ------
    ExplainError
        The action can't be explained, differs from its input, or its input is gone.
    """
    policy = load_policy(Path(settings.policy) if settings.policy else None)
    files = files_of(inputs)

    def usage(finding: Finding) -> tuple[Iterable[Chunk], int]:
        spans = spans_of(finding.evidence)
        if not spans:
            raise InputGone("unnamed")
        in_topics = [span for span in spans if isinstance(span, TopicSpan)]
        if files or not in_topics:
            return read_files(spans, files, wall_clock), settings.partitions
        return read_topics(in_topics, settings.broker), 1

    explained = explain(action_id, records, usage, policy, settings.dedup_entries_max)
    writer = PageWriter(language, policy.timezone)
    page = writer.page(explained)
    show(page, Console())
    if html is not None:
        try:
            html.write_text(html_of(page), encoding="utf-8")
        except OSError as error:
            raise ExplainError(
                f"{html} can't be written ({error.strerror}): name another"
            ) from None
    if explained.verdict == "differs":
        raise ExplainError(f"action {action_id} does not agree with its input: see what differs")
    for outcome in explained.outcomes:
        if isinstance(outcome, InputGone):
            what = PageWriter("en", policy.timezone).gone(outcome)
            raise ExplainError(
                f"the input of action {action_id} is gone ({what}): name it as it was"
            )
