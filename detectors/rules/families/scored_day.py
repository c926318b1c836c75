"""What the rules that score whole days share: weighted signs, over several kinds of events.

Each kind of event closes a day by its own watermark; its counts are final then. Customers whose day
may reach the score are remembered as candidates until every kind has closed the day. Only then is
the day scored, so the order in which kinds come makes no difference.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta, Struct, convert
from numpy.typing import NDArray

from detectors.periods.calendar import LONGEST_DAY_MS, calendar
from detectors.periods.closing import PeriodCloser
from detectors.rules.contract import (
    Batch,
    Correction,
    Customers,
    Declaration,
    Hit,
    RuleOutput,
    Standing,
)
from detectors.rules.families.closing import ClosingRuleBase
from detectors.state.columns import Field
from detectors.state.period_columns import PeriodColumns
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.records import Level
from schemas.units import HOUR_MS, Ints, Mask

OPEN_BACK = 1
"""Days before the newest that still take events; the lateness is always less than a day."""

PerMille = Annotated[int, Meta(ge=0, le=1000)]
Features = dict[str, int]
"""Numbers of a customer's day of one kind of event, by name: its score is computed from them."""


class ScoredParameters(RuleParameters, kw_only=True, frozen=True):
    """A day with a score of `score_min` or more is in breach; it closes `lateness_hours` late.

    `retention_periods`: by how many days one kind of event may be ahead of the others.
    `candidates_max`: how many candidates are remembered until all kinds have closed their days.
    """

    score_min: Annotated[int, Meta(ge=1, le=1000), LIVE]
    lateness_hours: Annotated[int, Meta(ge=0, le=23)]
    retention_periods: Positive
    candidates_max: Positive
    applies_to: Annotated[Literal["consumer", "all"], LIVE] = "consumer"


class ScoredMemory(Struct, frozen=True):
    """How far each kind and the scoring have come, the candidates, and who was in breach.

    `newest` is each kind's newest day, `passed` the last day that it closed, `scored` the last
    scored day. `candidates` are by day, customer and kind; `reported` are customers by day.
    """

    newest: dict[str, int]
    passed: dict[str, int]
    scored: int
    closing: Any
    candidates: dict[int, dict[str, dict[str, Features]]]
    reported: dict[int, list[str]]


class ScoredDays(ClosingRuleBase):
    """Score a customer's local day, once it is closed for every kind of event that is read.

    A subclass names its columns by kind (`rings_of`), counts events (`count`), finds the customers
    who may reach the score (`candidates_of`), and scores them (`score`).
    """

    name: ClassVar[str]
    declaration: ClassVar[Declaration]
    reads: ClassVar[tuple[str, ...]]
    longest_ms: ClassVar[int] = 0
    remembers: ClassVar[Mapping[str, tuple[str, ...]]]
    siblings_ms: ClassVar[int] = LONGEST_DAY_MS

    def __init__(self, parameters: Any, policy: Policy) -> None:
        self.parameters = parameters
        self.days = calendar(policy.timezone, "day")
        self.rings: dict[str, list[PeriodColumns]] = self.rings_of(parameters)
        self.fields: tuple[Field, ...] = tuple(
            field for kind in self.reads for ring in self.rings[kind] for field in ring.fields
        )
        self.candidates: dict[int, dict[str, dict[str, Features]]] = {}
        """Features by day, customer and kind."""
        self.passed = dict.fromkeys(self.reads, -1)
        self.closing = PeriodCloser(self.days, parameters.lateness_hours * HOUR_MS, 1)
        self.scored = -1
        self.reported: dict[int, list[str]] = {}
        """Who was in breach on the days that a correction may score again."""
        self.kept = 0

    # -- what a subclass says -------------------------------------------------------------------

    def rings_of(self, parameters: Any) -> dict[str, list[PeriodColumns]]:
        """Columns by kind; the first of a kind are counted in, the others may keep older days."""
        raise NotImplementedError

    def count(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints, day: Ints) -> None:
        """Add rows of a batch to the cells of their days, which all have cells."""
        raise NotImplementedError

    def candidates_of(
        self, columns: Mapping[str, NDArray], kind: str, day: int, customers: Customers
    ) -> Iterator[tuple[int, Features]]:
        """Slot and features of each customer who may reach the score on a day the kind closed."""
        raise NotImplementedError

    def score(
        self, columns: Mapping[str, NDArray], day: int, slot: int, features: Mapping[str, Features]
    ) -> tuple[int, dict[str, Any]]:
        """A candidate's score for a closed day, by features of each kind, and the evidence."""
        raise NotImplementedError

    # -- events ---------------------------------------------------------------------------------

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's day is still open for its kind."""
        return self.days.period_of(time_ms) > self.closing_period(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Count a batch; find the candidates of the days that its kind has closed."""
        kind, closing = batch.kind, self.closing_period(batch.watermark_ms)
        self._find_candidates(columns, kind, int(closing[0]), customers)
        hits = self._limit_candidates(columns, customers)
        day = self.days.period_of(batch.time_ms)
        newest = int(self.days.period_of(batch.watermark_ms[-1:])[0])
        for ring in self.rings[kind]:
            ring.turn(columns, newest)
        row = np.flatnonzero((day > closing) & (day > self.scored))
        if len(row):
            self.count(columns, batch, row, day[row])
        return hits

    def _find_candidates(
        self, columns: Mapping[str, NDArray], kind: str, last: int, customers: Customers
    ) -> None:
        """Remember the candidates of the days up to `last`, which the kind has closed."""
        ring = self.rings[kind][0].ring
        first = max(0, self.passed[kind] + 1, self.scored + 1, ring.newest - ring.back)
        for day in range(first, min(last, ring.newest) + 1):
            of_day = self.candidates.setdefault(day, {})
            for slot, features in self.candidates_of(columns, kind, day, customers):
                name = customers.directory.name(slot).decode()
                of_day.setdefault(name, {})[kind] = features
            if not of_day:
                del self.candidates[day]
        self.passed[kind] = max(self.passed[kind], last)

    def pass_time(
        self,
        columns: Mapping[str, NDArray],
        kind: str,
        watermark_ms: int,
        customers: Customers,
    ) -> None:
        """Remember the candidates of the days that a kind closes up to a watermark."""
        last = int(self.closing_period(np.array([watermark_ms]))[0])
        self._find_candidates(columns, kind, last, customers)

    def _limit_candidates(self, columns: Mapping[str, NDArray], customers: Customers) -> list[Hit]:
        """With more than `candidates_max`, score the oldest days without the kinds still open."""
        hits = []
        while sum(map(len, self.candidates.values())) > self.parameters.candidates_max:
            hits += self._score_through(columns, min(self.candidates), customers)
        return hits

    # -- closed days ----------------------------------------------------------------------------

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """Score every day that all kinds have closed."""
        for kind in self.reads:
            self._find_candidates(columns, kind, periods[-1], customers)
        return RuleOutput(hits=tuple(self._score_through(columns, periods[-1], customers)))

    def _score_through(
        self, columns: Mapping[str, NDArray], last: int, customers: Customers
    ) -> list[Hit]:
        """Score the candidates of every day up to `last`."""
        hits: list[Hit] = []
        for day in sorted(day for day in self.candidates if day <= last):
            of_day = self.candidates.pop(day)
            names = sorted(of_day)
            slots = customers.directory.find([name.encode() for name in names])
            for name, slot in zip(names, slots.tolist(), strict=True):
                score, evidence = self.score(columns, day, slot, of_day[name])
                if score >= self.parameters.score_min:
                    hits += self.hits(name, slot, day, score, evidence)
                    self.reported.setdefault(day, []).append(name)
        self.scored = max(self.scored, last)
        oldest = self.scored - OPEN_BACK
        self.reported = {day: names for day, names in self.reported.items() if day >= oldest}
        self.forget()
        return hits

    def forget(self) -> None:
        """Drop what no day after the last scored one needs."""

    def withdraw(self, name: str, day: int) -> None:
        """Forget that a customer's day was in breach."""

    def hits(
        self, name: str, slot: int, day: int, score: int, evidence: dict[str, Any]
    ) -> list[Hit]:
        """The hits of a customer's day that reached the score."""
        return [self.hit(slot, "breach", day, day, score, evidence)]

    def hit(
        self, slot: int, level: Level, day: int, scored: int, score: int, evidence: dict[str, Any]
    ) -> Hit:
        """A hit about `day`, known by the score of the day `scored`."""
        return Hit(
            slot=slot,
            event_time_ms=self.days.bounds(scored)[1],
            level=level,
            window=self.days.window(day),
            observed=score,
            limit=self.parameters.score_min,
            unit=self.declaration.units[0].name,
            offset=None,
            evidence=evidence,
        )

    def standing_on(self, day: int, score: int) -> Standing:
        """A day's score so far, and the score of a breach."""
        limit, unit = self.parameters.score_min, self.declaration.units[0].name
        return Standing(window=self.days.window(day), observed=score, limit=limit, unit=unit)

    # -- corrections ----------------------------------------------------------------------------

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Count the customer's day again without the event; a scored day is scored again."""
        kind, slot = batch.kind, int(batch.slot[0])
        closed = int(self.closing_period(batch.watermark_ms)[0])
        self._find_candidates(columns, kind, closed, customers)
        hits = self._limit_candidates(columns, customers)
        event = correction.siblings.event
        if not self.accepts(event.time_ms, event.watermark_ms)[0]:
            return hits
        (day,) = self.days.period_of(batch.time_ms).tolist()
        is_complete = self.days.bounds(day)[0] >= correction.siblings.complete_ms
        if not is_complete or not self._can_recount(kind, day):
            self.kept += 1
            return hits
        self._count_again(columns, kind, slot, day, correction.siblings.others)
        name = customers.directory.name(slot).decode()
        if day <= self.scored:
            again = self._score_again(columns, name, slot, day, customers)
            hits += [correction.caused(hit) for hit in again]
        elif day <= self.passed[kind]:
            self._update_candidate(columns, kind, name, slot, day, customers)
        return hits

    def _can_recount(self, kind: str, day: int) -> bool:
        """Whether a kind has cells of a day; of a scored day no other kind may lack them."""
        kinds = self.reads if day <= self.scored else (kind,)
        rings = [self.rings[each][0].ring for each in kinds]
        return self.rings[kind][0].holds(day) and all(r.newest - r.back <= day for r in rings)

    def _count_again(
        self, columns: Mapping[str, NDArray], kind: str, slot: int, day: int, others: Batch
    ) -> None:
        for ring in self.rings[kind]:
            for cells in ring.at(columns, day).values():
                cells[slot] = 0
        of_each = self.days.period_of(others.time_ms)
        row = np.flatnonzero((of_each == day) & self.accepts(others.time_ms, others.watermark_ms))
        self.count(columns, others, row, of_each[row])

    def _features_of(
        self,
        columns: Mapping[str, NDArray],
        kind: str,
        slot: int,
        day: int,
        customers: Customers,
    ) -> Features | None:
        """The features of a customer's day; None for a customer who is no candidate."""
        found = self.candidates_of(columns, kind, day, customers)
        return next((features for of_slot, features in found if of_slot == slot), None)

    def _update_candidate(
        self,
        columns: Mapping[str, NDArray],
        kind: str,
        name: str,
        slot: int,
        day: int,
        customers: Customers,
    ) -> None:
        """Find out again whether a customer is a candidate by this kind."""
        of_day = self.candidates.setdefault(day, {})
        by_kind = of_day.setdefault(name, {})
        by_kind.pop(kind, None)
        features = self._features_of(columns, kind, slot, day, customers)
        if features is not None:
            by_kind[kind] = features
        of_day = {who: by_kind for who, by_kind in of_day.items() if by_kind}
        self.candidates[day] = of_day
        if not of_day:
            del self.candidates[day]

    def _score_again(
        self,
        columns: Mapping[str, NDArray],
        name: str,
        slot: int,
        day: int,
        customers: Customers,
    ) -> list[Hit]:
        """Score a customer's day by its cells: it is "cleared", newly in breach, or unchanged."""
        features, score, evidence = {}, 0, {}
        for kind in self.reads:
            if self.rings[kind][0].holds(day):
                of_kind = self._features_of(columns, kind, slot, day, customers)
                if of_kind is not None:
                    features[kind] = of_kind
        if features:
            score, evidence = self.score(columns, day, slot, features)
        names = self.reported.get(day, [])
        was, is_breach = name in names, score >= self.parameters.score_min
        if was and not is_breach:
            self.reported[day] = [other for other in names if other != name]
            self.withdraw(name, day)
            return [self.hit(slot, "cleared", day, day, score, evidence)]
        if is_breach and not was:
            self.reported[day] = [*names, name]
            return self.hits(name, slot, day, score, evidence)
        return []

    # -- state ----------------------------------------------------------------------------------

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Zero the cells that were reused for later days after a row was written."""
        for ring in self.rings[kind]:
            ring.catch_up(columns, slots, self.days.period_of(written_ms))

    def remember(self) -> Any:
        """A `ScoredMemory`; the counts are in the columns."""
        return ScoredMemory(
            newest={kind: self.rings[kind][0].ring.newest for kind in self.reads},
            passed=self.passed,
            scored=self.scored,
            closing=self.closing.remember(),
            candidates=self.candidates,
            reported={day: names for day, names in self.reported.items() if names},
        )

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, ScoredMemory)
        for kind, day in kept.newest.items():
            for ring in self.rings[kind]:
                ring.ring.newest = day
        self.passed, self.scored = kept.passed, kept.scored
        self.closing.recall(kept.closing)
        self.candidates, self.reported = kept.candidates, kept.reported
