"""The rules of a partition and their columns, each under the policy of the event time asked."""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import msgspec
from numpy.typing import NDArray

from detectors.policies.editions import Edition
from detectors.policies.timeline import Timeline
from detectors.rules.contract import (
    Batch,
    ClosingRule,
    CohortRule,
    CorrectableRule,
    Correction,
    Hit,
    Rule,
    RuleOutput,
)
from detectors.rules.registry import RULES
from detectors.state.columns import ColumnGroup, Field
from detectors.state.customers import Customers
from detectors.state.log import Log
from schemas.policy import Policy
from schemas.records import CohortAverage

EARLY_MEANS_MAX = 10_000
"""Means that wait until their period is closed; past that the oldest are forgotten."""


@dataclass(slots=True)
class Progress:
    """Watermarks by kind of event: of the last event the rules saw (0 for none) and of the first.

    Events that were screened out may have moved the partition's own watermark further.
    """

    stepped_ms: dict[str, int]
    began_ms: dict[str, int] = field(default_factory=dict)

    def lowest_ms(self, kinds: Iterable[str]) -> int:
        """The lowest watermark of these kinds."""
        return min(self.stepped_ms[kind] for kind in kinds)

    def has_begun(self, kinds: Iterable[str], time_ms: int) -> bool:
        """Whether any of these kinds began before an instant."""
        return any(kind in self.began_ms and self.began_ms[kind] < time_ms for kind in kinds)


class Reported(NamedTuple):
    """What a rule reported, and the event time whose policy it was asked under."""

    rule: str
    time_ms: int
    output: RuleOutput


class RuleSet:
    """Rules that read the same events, each under the policy of the event time it is asked for.

    The state of a rule is the same under all policies, so a rule can switch to another and back.
    That is needed: kinds of event reach the time of a change one after the other, and the mean of
    an old period may come after the change. An event is judged under the policy of its watermark, a
    period under the policy of the watermark that closes it. So the ends of batches and the order of
    kinds make no difference.

    Parameters
    ----------
    timeline
        Which policy holds when.
    customers
        The partition's customers.
    progress
        The watermarks of the partition's rules.
    trial
        The policy on trial that these rules run for; None for those that are for everybody.
    """

    def __init__(
        self,
        timeline: Timeline,
        customers: Customers,
        progress: Progress,
        trial: Edition | None = None,
    ) -> None:
        self.timeline = timeline
        self.customers = customers
        self.progress = progress
        self.trial = trial
        policy = timeline.base
        self.rules: dict[str, Rule] = {
            name: RULES[name](parameters, policy) for name, parameters in policy.rules.items()
        }
        self._policies = dict.fromkeys(self.rules, policy)
        self.closing = [n for n, rule in self.rules.items() if isinstance(rule, ClosingRule)]
        self.cohort = [n for n, rule in self.rules.items() if isinstance(rule, CohortRule)]
        self.others = [name for name in self.rules if name not in self.closing]
        self.uncut = [n for n, rule in self.closing_rules.items() if not rule.cuts_batches]
        self.early: dict[tuple[str, str, int], CohortAverage] = {}
        """Means of periods that are not closed yet, by rule, cohort and start of the period."""
        self.kinds = sorted({kind for rule in self.rules.values() for kind in rule.reads})
        fields = {kind: self._fields_of(kind) for kind in self.kinds}
        self.groups = {k: ColumnGroup(k, of_kind) for k, of_kind in fields.items() if of_kind}
        self._kinds_of = {
            name: [kind for kind in rule.reads if kind in self.groups]
            for name, rule in self.rules.items()
        }

    def _fields_of(self, kind: str) -> list[Field]:
        return [
            field
            for rule in self.rules.values()
            for field in rule.fields
            if kind == (field.kind or rule.reads[0])
        ]

    # -- policies -------------------------------------------------------------------------------

    def policy_at(self, time_ms: int) -> Policy:
        """The policy that holds for these rules at an event time."""
        return self.timeline.policy_at(time_ms, self.trial)

    def at(self, name: str, time_ms: int) -> Rule:
        """A rule with the parameters that hold at an event time."""
        policy = self.policy_at(time_ms)
        if policy is not self._policies[name]:
            self._policies[name] = policy
            if policy.rules[name] != self.rules[name].parameters:
                heir = RULES[name](policy.rules[name], policy)
                hand_over(self.rules[name], heir)
                self.rules[name] = heir
        return self.rules[name]

    def closing_rule(self, name: str, time_ms: int) -> ClosingRule:
        """A rule that judges closed periods, with the parameters that hold at an event time."""
        return cast("ClosingRule", self.at(name, time_ms))

    def cohort_rule(self, name: str, time_ms: int) -> CohortRule:
        """A rule that compares customers, with the parameters that hold at an event time."""
        return cast("CohortRule", self.at(name, time_ms))

    @property
    def closing_rules(self) -> dict[str, ClosingRule]:
        """Those that judge closed periods, as they stand now."""
        return {name: cast("ClosingRule", self.rules[name]) for name in self.closing}

    @property
    def cohort_rules(self) -> dict[str, CohortRule]:
        """Those that compare customers with others, as they stand now."""
        return {name: cast("CohortRule", self.rules[name]) for name in self.cohort}

    def on_trial(self, trial: Edition) -> "RuleSet":
        """A copy of these rules and their state, for a trial that begins later."""
        twin = RuleSet(self.timeline, self.customers, self.progress, trial)
        for kind, group in self.groups.items():
            twin.groups[kind].take_columns({n: c.copy() for n, c in group.columns.items()})
        for name, rule in self.rules.items():
            hand_over(rule, twin.rules[name])
        twin.early = dict(self.early)
        return twin

    # -- events ---------------------------------------------------------------------------------

    def fold(self, names: Iterable[str], batch: Batch) -> Iterator[Reported]:
        """Fold a batch, which lies between two changes of policy, into some of the rules."""
        time_ms = int(batch.watermark_ms[0])
        for name in names:
            if batch.kind in self.rules[name].reads:
                rule = self.at(name, time_ms)
                hits = rule.fold(self.columns_of(name), batch, self.customers)
                if hits:
                    yield _reported(name, time_ms, hits)

    def take_back(self, undone: Batch, correction: Correction) -> Iterator[Reported]:
        """Have the rules undo an event; the batch has the watermark of its correction."""
        for name in self.rules:
            rule = self.at(name, undone.newest_ms)
            if undone.kind in rule.reads and isinstance(rule, CorrectableRule):
                columns = self.columns_of(name)
                hits = rule.take_back(columns, undone, correction, self.customers)
                yield _reported(name, undone.newest_ms, hits)

    # -- closed periods -------------------------------------------------------------------------

    def close(
        self, kind: str, watermark_ms: int, names: Iterable[str] | None = None
    ) -> Iterator[Reported]:
        """Close the periods that all kinds of a rule have passed, now that one has come so far.

        `names` are the rules that are asked; None asks all.
        """
        before_ms = self.progress.stepped_ms[kind]
        changes = self.timeline.changes_between(before_ms, watermark_ms)
        for name in self.closing if names is None else names:
            reads = self.rules[name].reads
            if kind in reads:
                for change_ms in changes:
                    rule = self.closing_rule(name, change_ms - 1)
                    rule.pass_time(self.columns_of(name), kind, change_ms - 1, self.customers)
                others = (self.progress.stepped_ms[other] for other in reads if other != kind)
                yield from self._close_through(name, min([watermark_ms, *others]))

    def close_idle(self, silent: Set[str], now_ms: int) -> Iterator[Reported]:
        """Close periods by the clock where the silent kinds alone hold them open."""
        stepped_ms = self.progress.stepped_ms
        for name in self.closing:
            reads = self.rules[name].reads
            if not silent.isdisjoint(reads):
                times = (now_ms if kind in silent else stepped_ms[kind] for kind in reads)
                yield from self._close_through(name, min(times))

    def end(self, last_event_ms: int) -> Iterator[Reported]:
        """Close every period that ended before the input's last event: no more will come."""
        for name in self.closing:
            yield from self._close_before_changes(name, last_event_ms)
            rule = self.closing_rule(name, last_event_ms)
            closed = rule.close_ended(self.columns_of(name), last_event_ms, self.customers)
            yield Reported(name, last_event_ms, closed)
            yield from self._take_early_means(name)

    def _close_through(self, name: str, reached_ms: int) -> Iterator[Reported]:
        yield from self._close_before_changes(name, reached_ms)
        yield from self._close_at(name, reached_ms)

    def _close_before_changes(self, name: str, reached_ms: int) -> Iterator[Reported]:
        """Close the periods that end before a change of policy under the policy before it.

        There are none before the first event of the rule's kinds.
        """
        reads = self.rules[name].reads
        lowest_ms = self.progress.lowest_ms(reads)
        for change_ms in self.timeline.changes_between(lowest_ms, reached_ms):
            if self.progress.has_begun(reads, change_ms):
                yield from self._close_at(name, change_ms - 1)

    def _close_at(self, name: str, reached_ms: int) -> Iterator[Reported]:
        rule = self.closing_rule(name, reached_ms)
        closed = rule.close(self.columns_of(name), reached_ms, self.customers)
        if closed.holds_anything:
            yield Reported(name, reached_ms, closed)
        yield from self._take_early_means(name)

    def take_mean(self, average: CohortAverage) -> Iterator[Reported]:
        """Compare customers with the mean of a period, once the period is closed here.

        A partition that goes back to a checkpoint may hear a mean before it closes the period.
        """
        if self.cohort_rules[average.rule].has_closed(average.period_start_ms):
            yield self._compare_with_mean(average)
            return
        key = (average.rule, average.cohort, average.period_start_ms)
        self.early.setdefault(key, average)
        while len(self.early) > EARLY_MEANS_MAX:
            del self.early[next(iter(self.early))]

    def _take_early_means(self, name: str) -> Iterator[Reported]:
        rule = cast("CohortRule", self.rules[name])
        for key, average in list(self.early.items()):
            if name == average.rule and rule.has_closed(average.period_start_ms):
                del self.early[key]
                yield self._compare_with_mean(average)

    def _compare_with_mean(self, average: CohortAverage) -> Reported:
        """Compare with a mean under the policy of the moment at which its period closed."""
        closes_ms = self.cohort_rules[average.rule].closes_ms(average.period_end_ms)
        rule = self.cohort_rule(average.rule, closes_ms)
        hits = rule.take_mean(self.columns_of(average.rule), average, self.customers)
        return _reported(average.rule, closes_ms, hits)

    # -- state ----------------------------------------------------------------------------------

    def columns_of(self, name: str) -> Mapping[str, NDArray]:
        """The columns of every kind that a rule reads."""
        kinds = self._kinds_of[name]
        if len(kinds) == 1:
            return self.groups[kinds[0]].columns
        return ChainMap(*(self.groups[kind].columns for kind in kinds))

    def reserve(self, slots: int) -> None:
        """Make room for this many customers."""
        for group in self.groups.values():
            group.reserve(slots)

    @property
    def logs(self) -> dict[str, Log]:
        """The rules that have a log of their own."""
        return {name: rule for name, rule in self.rules.items() if isinstance(rule, Log)}

    def forget_changes(self) -> None:
        """Drop what a checkpoint would have stored: of a trial nothing is stored."""
        for log in self.logs.values():
            log.changes()


def _reported(name: str, time_ms: int, hits: list[Hit]) -> Reported:
    return Reported(name, time_ms, RuleOutput(hits=tuple(hits)))


def hand_over(rule: Rule, heir: Any) -> None:
    """Copy a rule's state, without its columns, to a rule with other parameters."""
    assert rule.fields == heir.fields, "a parameter that shapes columns has changed"
    if isinstance(rule, Log):
        heir.take_arrays({name: array.copy() for name, array in rule.arrays().items()})
        heir.rewrite()
    memory = msgspec.msgpack.encode(rule.remember())
    heir.recall(msgspec.msgpack.decode(memory, strict=False))
