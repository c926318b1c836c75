"""Whom a rule finds at each of several thresholds, and how that compares with who was planted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

import msgspec

from detectors.rules.registry import RULES
from schemas.policy import Policy, RuleParameters
from schemas.records import Customer, Finding
from streams.files.sources import Chunk
from streams.replay.replay import Replay
from streams.settings import WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A threshold of a rule and the values it takes.

    `label` names the axis with its unit, of which one takes `unit_size` of the parameter's.
    """

    rule: str
    parameter: str
    thresholds: Sequence[float]
    label: str
    unit_size: int = 1
    is_logarithmic: bool = False

    def set_in(self, policy: Policy) -> float:
        """The threshold that a policy sets."""
        return getattr(policy.rules[self.rule], self.parameter)

    def shown(self, threshold: float) -> str:
        """A threshold in the unit of the axis."""
        return f"{threshold / self.unit_size:g}"


SWEEPS = (
    Sweep(
        rule="gateway",
        parameter="score_min",
        thresholds=range(50, 1001, 50),
        label="score of a day, points of 1000",
    ),
    Sweep(
        rule="gateway",
        parameter="calls_min",
        thresholds=range(10, 151, 10),
        label="calls made in a day",
    ),
    Sweep(
        rule="machine",
        parameter="score_min",
        thresholds=range(100, 1001, 100),
        label="score of a day, points of 1000",
    ),
    Sweep(
        rule="machine",
        parameter="variation_percent",
        thresholds=(*range(0, 10, 2), *range(10, 31, 4), 40, 50),
        label="coefficient of variation of the gaps, percent",
    ),
    Sweep(
        rule="deviation",
        parameter="z_min",
        thresholds=range(1, 13),
        label="robust z-score of a week",
    ),
    Sweep(
        rule="monitoring",
        parameter="share_per_mille",
        thresholds=range(525, 1001, 25),
        label="share of one partner, percent",
        unit_size=10,
    ),
    Sweep(
        rule="monitoring",
        parameter="talk_ms_min",
        thresholds=range(1_800_000, 25_200_001, 1_800_000),
        label="calls of a day, hours",
        unit_size=3_600_000,
    ),
    Sweep(
        rule="sharing",
        parameter="devices",
        thresholds=range(2, 11),
        label="devices of a day",
    ),
    Sweep(
        rule="sms_bulk",
        parameter="recipients",
        thresholds=range(20, 301, 20),
        label="recipients in an hour",
    ),
    Sweep(
        rule="sms_bulk",
        parameter="answered_percent",
        thresholds=(1, 2, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50),
        label="recipients who ever answered, percent",
    ),
    Sweep(
        rule="portscan_slow",
        parameter="alpha",
        thresholds=tuple(float(f"1e-{exponent}") for exponent in range(1, 16)),
        label="probability alpha of a false alarm, each test",
        is_logarithmic=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Tally:
    """Customers: those who were planted, those of them who were found, and who else was."""

    planted: int
    found: int
    wrong: int

    def __add__(self, other: "Tally") -> "Tally":
        """Of two populations together."""
        return Tally(
            self.planted + other.planted, self.found + other.found, self.wrong + other.wrong
        )

    @property
    def precision(self) -> float | None:
        """Share of those found who were planted; none where nobody is found."""
        everybody = self.found + self.wrong
        return self.found / everybody if everybody else None

    @property
    def recall(self) -> float:
        """Share of those planted who are found."""
        return self.found / self.planted

    @property
    def is_perfect(self) -> bool:
        """Whether all who were planted are found, and nobody else."""
        return self.found == self.planted and self.wrong == 0


NOBODY = Tally(0, 0, 0)


@dataclass(slots=True)
class Point:
    """What a threshold leads to: in the clear cases that the operator plants, and in graded ones.

    `others` counts who else is found, by the part that they play.
    """

    clear: Tally = NOBODY
    graded: Tally = NOBODY
    others: Counter[str] = field(default_factory=Counter)


Curve = dict[float, Point]


def perfect_range(curve: Curve, around: float) -> tuple[float, float] | None:
    """The stretch of thresholds about this one at which precision and recall are both 1.0.

    Those of the clear cases, that is; lowest first, none if it is not so at `around`.
    """
    stretches = groupby(sorted(curve), lambda threshold: curve[threshold].clear.is_perfect)
    for is_perfect, stretch in stretches:
        held = list(stretch)
        if is_perfect and around in held:
            return held[0], held[-1]
    return None


class Planted(NamedTuple):
    """Whom a rule is to find, and whose being found is neither right nor wrong."""

    must: AbstractSet[str]
    may: AbstractSet[str]

    def tally(self, found: AbstractSet[str]) -> Tally:
        """How what was found compares."""
        return Tally(len(self.must), len(self.must & found), len(found - self.must - self.may))


class Events(NamedTuple):
    """Customers, their events as columns, and over how many partitions they are split."""

    customers: Sequence[Customer]
    chunks: Sequence[Chunk]
    partitions: int

    def of_kinds(self, kinds: Iterable[str]) -> "Events":
        """Without the kinds that a rule does not read."""
        kept = [
            replace(chunk, columns=[c for c in chunk.columns if c.kind in kinds])
            for chunk in self.chunks
        ]
        return self._replace(chunks=kept)


def found_at(events: Events, policy: Policy, sweep: Sweep) -> Iterator[tuple[float, set[str]]]:
    """Each threshold, and the customers whom the rule finds at it if it is alone in the policy.

    A rule that asks for "regularly" has found whom it reports as regular: before that, there is a
    notice and nothing else.
    """
    events = events.of_kinds(RULES[sweep.rule].reads)
    parameters = policy.rules[sweep.rule]
    level = "regular" if hasattr(parameters, "regular_periods") else "breach"
    for threshold in sweep.thresholds:
        changed = msgspec.structs.replace(parameters, **{sweep.parameter: threshold})
        findings = _findings(events, policy, sweep.rule, changed)
        yield threshold, {each.customer_id for each in findings if each.level == level}


def _findings(
    events: Events, policy: Policy, rule: str, parameters: RuleParameters
) -> Iterator[Finding]:
    """What a rule alone says of the events."""
    alone = msgspec.structs.replace(policy, rules={rule: parameters})
    replay = Replay(alone, events.partitions, WorkerSettings().dedup_entries_max)
    replay.announce(events.customers)
    for chunk in events.chunks:
        yield from replay.take(chunk).findings
    yield from replay.end().findings
