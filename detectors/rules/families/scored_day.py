"""What the rules that score whole days share: several signs, weighted, over several kinds.

Each kind of event closes a day by its own watermark; what it counted then is final. Customers whose
day may reach the score are remembered as candidates until every kind has closed the day, however
long the others take, and only then are they judged. So the order in which kinds come makes no
difference.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.periods.calendar import LONGEST_DAY_MS, calendar
from detectors.periods.closing import PeriodCloser
from detectors.rules.contract import Batch, Correction, Customers, Hit, RuleOutput
from detectors.rules.families.closing import ClosingRuleBase
from detectors.state.columns import Field
from detectors.state.period_columns import PeriodColumns
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.records import Level, Window
from schemas.units import HOUR_MS, Ints, Mask

OPEN_BACK = 1
"""Days before the newest that still take events: less than a day's lateness reaches no further."""

PerMille = Annotated[int, Meta(ge=0, le=1000)]
Seen = dict[str, list[int]]
"""What a candidate's day showed, by kind of event."""


class ScoredParameters(RuleParameters, kw_only=True, frozen=True):
    """A day with a score of `score_min` or more counts; it closes `lateness_hours` past its end.

    `retention_periods`: by how many days one kind of event may be ahead of the others.
    `candidates_max` bounds who is remembered until the other kinds have closed the day too.
    """

    score_min: Annotated[int, Meta(ge=1, le=1000), LIVE]
    lateness_hours: Annotated[int, Meta(ge=0, le=23)]
    retention_periods: Positive
    candidates_max: Positive
    applies_to: Annotated[Literal["consumer", "all"], LIVE] = "consumer"


class ScoredDays(ClosingRuleBase):
    """Judge a customer's local day by a score, once it is closed for every kind that is read.

    A subclass names its columns by kind (`rings`, the one that is still counted first), counts
    (`count`), names those who may reach the score (`candidates_of`), and scores them (`score`).
    """

    name: ClassVar[str]
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
        self.candidates: dict[int, dict[str, Seen]] = {}
        self.passed = dict.fromkeys(self.reads, -1)
        self.closing = PeriodCloser(self.days, parameters.lateness_hours * HOUR_MS, 1)
        self.judged = -1
        self.reported: dict[int, list[str]] = {}
        """Who was in breach on the days that may be judged again."""
        self.kept = 0

    # -- what a rule says of itself -------------------------------------------------------------

    def rings_of(self, parameters: Any) -> dict[str, list[PeriodColumns]]:
        """The columns of each kind; the first still takes events, the others look further back."""
        raise NotImplementedError

    def count(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints, day: Ints) -> None:
        """Add rows to the cells of their days, which are all held."""
        raise NotImplementedError

    def candidates_of(
        self, columns: Mapping[str, NDArray], kind: str, day: int, customers: Customers
    ) -> Iterator[tuple[int, list[int]]]:
        """Who may reach the score on a day that this kind has closed, and what was seen of them."""
        raise NotImplementedError

    def score(
        self, columns: Mapping[str, NDArray], day: int, slot: int, seen: Seen
    ) -> tuple[int, dict[str, Any]]:
        """A candidate's score for a closed day, and the evidence of it."""
        raise NotImplementedError

    # -- events ---------------------------------------------------------------------------------

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's day is not closed for its kind."""
        return self.days.period_of(time_ms) > self.closing_period(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Count a batch; find the candidates of the days that its kind has closed."""
        kind, closing = batch.kind, self.closing_period(batch.watermark_ms)
        self._find(columns, kind, int(closing[0]), customers)
        hits = self._relieve(columns, customers)
        day = self.days.period_of(batch.time_ms)
        newest = int(self.days.period_of(batch.watermark_ms[-1:])[0])
        for ring in self.rings[kind]:
            ring.turn(columns, newest)
        row = np.flatnonzero((day > closing) & (day > self.judged))
        if len(row):
            self.count(columns, batch, row, day[row])
        return hits

    def _find(
        self, columns: Mapping[str, NDArray], kind: str, last: int, customers: Customers
    ) -> None:
        """Remember the candidates of a kind's days up to `last`: nothing is added to them now."""
        ring = self.rings[kind][0].ring
        first = max(0, self.passed[kind] + 1, self.judged + 1, ring.newest - ring.back)
        for day in range(first, min(last, ring.newest) + 1):
            of_day = self.candidates.setdefault(day, {})
            for slot, seen in self.candidates_of(columns, kind, day, customers):
                name = customers.directory.name(slot).decode()
                of_day.setdefault(name, {})[kind] = seen
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
        self._find(columns, kind, last, customers)

    def _relieve(self, columns: Mapping[str, NDArray], customers: Customers) -> list[Hit]:
        """Past `candidates_max` the oldest days are judged without what has not come yet."""
        hits = []
        while sum(map(len, self.candidates.values())) > self.parameters.candidates_max:
            hits += self._judge_through(columns, min(self.candidates), customers)
        return hits

    # -- closed days ----------------------------------------------------------------------------

    def close_periods(
        self, columns: Mapping[str, NDArray], days: range, customers: Customers
    ) -> RuleOutput:
        """Judge every day that all kinds have passed."""
        for kind in self.reads:
            self._find(columns, kind, days[-1], customers)
        return RuleOutput(hits=tuple(self._judge_through(columns, days[-1], customers)))

    def _judge_through(
        self, columns: Mapping[str, NDArray], last: int, customers: Customers
    ) -> list[Hit]:
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
        self.judged = max(self.judged, last)
        held = self.judged - OPEN_BACK
        self.reported = {day: names for day, names in self.reported.items() if day >= held}
        self.forget()
        return hits

    def forget(self) -> None:
        """Drop what no day after the last judged one needs."""

    def withdraw(self, name: str, day: int) -> None:
        """Forget that a customer's day was in breach."""

    def hits(
        self, name: str, slot: int, day: int, score: int, evidence: dict[str, Any]
    ) -> list[Hit]:
        """What a customer's day that reached the score leads to."""
        return [self.hit(slot, "breach", day, day, score, evidence)]

    def hit(
        self, slot: int, level: Level, day: int, judged: int, score: int, evidence: dict[str, Any]
    ) -> Hit:
        """A finding about `day`, seen at the end of the day `judged`."""
        start_ms, end_ms = self.days.bounds(day)
        return Hit(
            slot=slot,
            event_time_ms=self.days.bounds(judged)[1],
            level=level,
            window=Window(kind="day", start_ms=start_ms, end_ms=end_ms),
            observed=score,
            limit=self.parameters.score_min,
            unit=f"{self.name} per mille",
            offset=None,
            evidence=evidence,
        )

    # -- corrections ----------------------------------------------------------------------------

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Count the customer's day again without the event; if it was judged, judge it again."""
        kind, slot = batch.kind, int(batch.slot[0])
        self._find(columns, kind, int(self.closing_period(batch.watermark_ms)[0]), customers)
        hits = self._relieve(columns, customers)
        event = correction.siblings.event
        if not self.accepts(event.time_ms, event.watermark_ms)[0]:
            return hits
        (day,) = self.days.period_of(batch.time_ms).tolist()
        is_whole = self.days.bounds(day)[0] >= correction.siblings.complete_ms
        if not is_whole or not self._can_judge(kind, day):
            self.kept += 1
            return hits
        self._count_again(columns, kind, slot, day, correction.siblings.others)
        name = customers.directory.name(slot).decode()
        if day <= self.judged:
            judged = self._judge_again(columns, name, slot, day, customers)
            hits += [correction.told(hit) for hit in judged]
        elif day <= self.passed[kind]:
            self._find_again(columns, kind, name, slot, day, customers)
        return hits

    def _can_judge(self, kind: str, day: int) -> bool:
        """Whether a kind still holds a day, and, if it was judged, every kind that had it does."""
        kinds = self.reads if day <= self.judged else (kind,)
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

    def _seen_of(
        self,
        columns: Mapping[str, NDArray],
        kind: str,
        slot: int,
        day: int,
        customers: Customers,
    ) -> list[int] | None:
        """What a candidate's day showed; None for who is no candidate."""
        found = self.candidates_of(columns, kind, day, customers)
        return next((seen for of_slot, seen in found if of_slot == slot), None)

    def _find_again(
        self,
        columns: Mapping[str, NDArray],
        kind: str,
        name: str,
        slot: int,
        day: int,
        customers: Customers,
    ) -> None:
        """See whether a customer is still a candidate, or has become one."""
        of_day = self.candidates.setdefault(day, {})
        seen = of_day.setdefault(name, {})
        seen.pop(kind, None)
        shown = self._seen_of(columns, kind, slot, day, customers)
        if shown is not None:
            seen[kind] = shown
        of_day = {who: by_kind for who, by_kind in of_day.items() if by_kind}
        self.candidates[day] = of_day
        if not of_day:
            del self.candidates[day]

    def _judge_again(
        self,
        columns: Mapping[str, NDArray],
        name: str,
        slot: int,
        day: int,
        customers: Customers,
    ) -> list[Hit]:
        """Judge a customer's day by what its cells hold now: "cleared", in breach anew, or none."""
        seen, score, evidence = {}, 0, {}
        for kind in self.reads:
            if self.rings[kind][0].holds(day):
                shown = self._seen_of(columns, kind, slot, day, customers)
                if shown is not None:
                    seen[kind] = shown
        if seen:
            score, evidence = self.score(columns, day, slot, seen)
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
        """Empty the cells that later days took over since a row was written."""
        for ring in self.rings[kind]:
            ring.catch_up(columns, slots, self.days.period_of(written_ms))

    def remember(self) -> Any:
        """How far each kind and the judging have come, and who is still to be judged."""
        newest = {kind: self.rings[kind][0].ring.newest for kind in self.reads}
        candidates = [
            [day, name, seen]
            for day, of_day in self.candidates.items()
            for name, seen in of_day.items()
        ]
        progress = [newest, self.passed, self.judged, self.closing.remember()]
        reported = [[day, names] for day, names in self.reported.items() if names]
        return [*progress, candidates, reported]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        newest, passed, self.judged, closing, candidates, reported = memory
        self.reported = dict(reported)
        self.closing.recall(closing)
        self.passed = dict(passed)
        for kind, day in newest.items():
            for ring in self.rings[kind]:
                ring.ring.newest = day
        self.candidates = {}
        for day, name, seen in candidates:
            self.candidates.setdefault(day, {})[name] = seen
