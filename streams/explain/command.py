"""What `fairuse explain` does, once the command line is read."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from rich.console import Console

from detectors.policies.editions import Edition, decode_edition, load_policy
from schemas.policy import Policy
from schemas.records import Action, Customer, Finding
from streams.clock import wall_clock
from streams.explain.case import ExplainError, case_of
from streams.explain.html import html_of
from streams.explain.page import Explanation, PageWriter
from streams.explain.recompute import PolicyHistory, Recomputation, recompute
from streams.explain.spans import InputGone, TopicSpan, read_files, spans_of
from streams.explain.terminal import show
from streams.explain.topics import read_topics
from streams.files.sources import Chunk, files_of, read_lines, read_records
from streams.settings import Settings

action_decoder = msgspec.json.Decoder(Action)
finding_decoder = msgspec.json.Decoder(Finding)
customer_decoder = msgspec.json.Decoder(Customer)


class Records(Protocol):
    """Where everything is that belongs to an action, but the usage."""

    def actions(self) -> Iterable[Action]:
        """Every action, in order."""
        ...

    def findings(self, customer_id: str) -> Iterable[Finding]:
        """Findings, in order, those of the customer among them."""
        ...

    def customers(self, customer_id: str) -> Iterable[Customer]:
        """Who has which plan, all of the customer's partition among them."""
        ...

    def policies(self) -> Iterable[bytes]:
        """Policies that took effect while events flowed, as their topic has them."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """Records in files of NDJSON or Parquet, as a replay reads and writes them."""

    actions_path: Path
    findings_path: Path
    customers_path: Path | None
    policies_path: Path | None = None

    def actions(self) -> Iterator[Action]:
        """Every action, in order."""
        return read_records(self.actions_path, action_decoder)

    def findings(self, customer_id: str) -> Iterator[Finding]:
        """Every finding, in order."""
        return read_records(self.findings_path, finding_decoder)

    def customers(self, customer_id: str) -> Iterator[Customer]:
        """Every customer."""
        if self.customers_path is not None:
            yield from read_records(self.customers_path, customer_decoder)

    def policies(self) -> Iterator[bytes]:
        """The lines of a file of policies."""
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

    `usage` gives what a finding's evidence names, and into how many partitions that was split; it
    raises `InputGone` then or on the way.
    """
    case = case_of(action_id, records.actions, lambda action: records.findings(action.customer_id))
    if case.action.rule not in policy.rules:
        raise ExplainError(f"policy {policy.name} has no rule {case.action.rule}: name another")
    policies = PolicyHistory(policy, list(_editions(records.policies(), policy)))
    outcomes: list[Recomputation | InputGone] = []
    for finding in case.findings:
        try:
            chunks, partitions = usage(finding)
            customers = records.customers(finding.customer_id)
            outcomes.append(
                recompute(finding, policies, customers, chunks, partitions, dedup_entries_max)
            )
        except InputGone as gone:
            outcomes.append(gone)
    return Explanation(case, outcomes, policies.name_for(case.action.policy))


def _editions(records: Iterable[bytes], base: Policy) -> Iterator[Edition]:
    """What took effect; the workers refused the rest, or ran under another policy than this."""
    for record in records:
        with suppress(ValueError):
            yield decode_edition(record, base)


def run_explain(
    action_id: str,
    inputs: list[Path],
    records: Records,
    language: str,
    html: Path | None,
    settings: Settings,
) -> None:
    """Explain an action; raise `ExplainError` unless its evidence agrees."""
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
