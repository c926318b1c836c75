"""What the rules about distinct things share: a group has too many of them within a window.

Each rule says what a group is: a customer, or a customer and one host, or one message. Windows are
made of steps; a window is hot when its group has as many distinct elements in it as the threshold,
or more. A stretch is a run of hot windows that follow each other: it is one breach.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Struct, convert
from numpy.typing import NDArray

from detectors.kernels.rolling import Episodes, WindowCounts, distinct_in_windows
from detectors.kernels.running import group_starts
from detectors.periods.ring import Periods, Steps
from detectors.rules.contract import Batch, Customers, Declaration, Hit, Standing
from detectors.state.columns import Field
from detectors.state.contacts import Contacts
from detectors.state.log import Log, LogsOfRule
from schemas.hashing import Hashes, mix
from schemas.policy import Policy, Positive, RuleParameters
from schemas.records import Level, Window
from schemas.units import HOUR_MS, Ints, Mask


class DistinctParameters(RuleParameters, kw_only=True, frozen=True):
    """`contacts_max` is how many contacts a partition remembers, `retention_hours` for how long.

    With more contacts the oldest are forgotten early, and counted: breaches may be missed, none is
    made up.
    """

    retention_hours: Positive
    contacts_max: Positive


class RollingParameters(DistinctParameters, kw_only=True, frozen=True):
    """A rolling window and the steps it is made of."""

    length_seconds: Positive
    step_seconds: Positive

    def __post_init__(self) -> None:
        """Refuse a window that is not made of whole steps."""
        super().__post_init__()
        if self.length_seconds % self.step_seconds:
            raise ValueError("`length_seconds` has to be a multiple of `step_seconds`")


class Span(NamedTuple):
    """A window is the step it ends with and `steps` steps before it; it moves by `stride` steps.

    With no steps before it a window is one step: a calendar day.
    """

    steps: int
    stride: int = 1


class Windows(NamedTuple):
    """The steps of time, the spans that are windows, and by how many steps an event may be late."""

    periods: Periods
    spans: tuple[Span, ...]
    retained: int


class Sightings(NamedTuple):
    """Elements seen in groups; columns of shape (k,).

    `row` is the row in the batch, `span` the index of the window's span, `threshold` the number of
    distinct elements from which on a window of the group is hot.
    """

    row: Ints
    span: Ints
    group: Hashes
    element: Hashes
    threshold: Ints

    @classmethod
    def of_spans(cls, row: Ints, *spans: tuple[Hashes, Hashes, int | Ints]) -> "Sightings":
        """The given rows once for each span, with the group, element and threshold of that span."""
        return cls(
            row=np.tile(row, len(spans)),
            span=np.repeat(np.arange(len(spans)), len(row)),
            group=np.concatenate([group for group, _, _ in spans]),
            element=np.concatenate([element for _, element, _ in spans]),
            threshold=np.concatenate([np.broadcast_to(each, len(row)) for _, _, each in spans]),
        )

    def take(self, rows: Ints | Mask) -> "Sightings":
        """The given rows, in the given order."""
        row, span, group, element, threshold = self
        return Sightings(row[rows], span[rows], group[rows], element[rows], threshold[rows])


class Crossing(NamedTuple):
    """A row with which a stretch of hot windows starts; `end` is the last step of the first one.

    `observed` is what that window holds. The group is zero if the rule has only one for each
    customer and unit.
    """

    row: int
    span: int
    end: int
    observed: int
    threshold: int
    group: int = 0


class Report(Struct, frozen=True, order=True):
    """A window that was reported; `first` is the step that it begins with."""

    first: int
    span: int
    observed: int
    limit: int
    group: int


class DistinctMemory(Struct, frozen=True):
    """Stretches of hot windows by span and group, and reports by customer (both as hashes).

    `lost_step` is the last step of which contacts were forgotten early.
    """

    stretches: list[dict[int, list[list[int]]]]
    reported: dict[int, list[Report]]
    lost_step: int


class DistinctRule(LogsOfRule):
    """Report the event with which a group has too many distinct elements in a window.

    A breach that goes on is one finding. Of several groups of a customer that cross in the same
    window only the first is reported. A subclass says which elements an event shows in which groups
    (`sightings`), and what the evidence says of them (`evidence`).
    """

    name: ClassVar[str]
    declaration: ClassVar[Declaration]
    reads: ClassVar[tuple[str, ...]]
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]]
    window_kind: ClassVar[Literal["rolling", "day"]] = "rolling"
    """What each span counts."""
    limit_counts: ClassVar[bool] = False
    """Whether the limit itself is a breach ("or more")."""
    reports_kept_longer: int = 0
    """Steps for which reports are kept after no event in time can reach their windows any more."""

    def __init__(self, parameters: Any, policy: Policy) -> None:
        self.parameters = parameters
        self.fields: tuple[Field, ...] = ()
        self.periods, self.spans, self.retained = self.windows(policy)
        self.longest = max(span.steps for span in self.spans)
        self.strides = np.array([span.stride for span in self.spans])
        self.contacts = Contacts(parameters.contacts_max, slack=self.retained // 24)
        self.logs: tuple[Log, ...] = (self.contacts,)
        self.episodes = [Episodes(span.steps) for span in self.spans]
        self.reported: dict[int, list[Report]] = {}
        self.saturated: dict[int, int] = {}
        """Steps of groups that reach the threshold by themselves; see `_saturate`."""

    @property
    def evicted(self) -> int:
        """Contacts forgotten early because there were more than `contacts_max`."""
        return self.contacts.evicted

    def windows(self, policy: Policy) -> Windows:
        """Steps and windows as in `RollingParameters`, one span for each unit."""
        step_ms = self.parameters.step_seconds * 1000
        span = Span(self.parameters.length_seconds // self.parameters.step_seconds)
        retained = self.parameters.retention_hours * HOUR_MS // step_ms
        return Windows(Steps(step_ms), (span,) * len(self.declaration.units), retained)

    def sightings(self, batch: Batch, customers: Customers) -> Sightings:
        """Which elements the events show in which groups."""
        raise NotImplementedError

    def evidence(self, batch: Batch, crossing: Crossing) -> dict[str, Any]:
        """What distinguishes the group from the customer's other groups."""
        return {}

    def is_breach(self, batch: Batch, row: int) -> bool:
        """Whether a window that is hot with this row is a breach."""
        return True

    def history_from_ms(self) -> int | None:
        """Start of the history that decides besides the window; None if there is none."""
        return None

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's step is still remembered."""
        newest = self.periods.period_of(watermark_ms)
        return self.periods.period_of(time_ms) >= newest - self.retained

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Remember the elements that a batch shows, and report the groups that cross."""
        seen = self.sightings(batch, customers)
        # The batch may hold events that are in time for another rule only.
        in_time = self.accepts(batch.time_ms, batch.watermark_ms)[seen.row]
        if not in_time.all():
            seen = seen.take(in_time)
        hits = list(self._hits(batch, customers, seen)) if len(seen.row) else []
        self._forget(int(self.periods.period_of(batch.watermark_ms[-1:])[0]))
        return hits

    def _hits(self, batch: Batch, customers: Customers, seen: Sightings) -> Iterator[Hit]:
        """The hits of a batch, in the order of rows."""
        for crossing in sorted(self._crossings(batch, seen)):
            customer = customers.directory.hash(batch.slot[crossing.row])
            if self._record_report(customer, crossing):
                yield from self.hits_of(batch, customer, crossing)

    def hits_of(self, batch: Batch, customer: int, crossing: Crossing) -> Iterator[Hit]:
        """The breach, and further hits that follow from it."""
        yield self.hit(batch, crossing, "breach", self.evidence(batch, crossing))

    def _crossings(self, batch: Batch, seen: Sightings) -> list[Crossing]:
        """Add contacts; the crossings they lead to, one group after the other.

        Only groups with enough distinct elements in all their steps are looked at row by row.
        """
        step = self.periods.period_of(batch.time_ms[seen.row])
        step = step - step % self.strides[seen.span]
        if self.saturated:
            full = np.fromiter(self.saturated, np.uint64, len(self.saturated))
            counts = ~np.isin(mix(seen.group, step, seen.threshold), full)
            seen, step = seen.take(counts), step[counts]
        is_new, held = self.contacts.add(seen.group, seen.element, step)
        many = np.flatnonzero(is_new & (held >= seen.threshold))
        likely, at = np.unique(seen.group[many], return_index=True)
        likely = likely[self.contacts.distinct(likely) >= seen.threshold[many[at]]]
        fresh = np.flatnonzero(is_new & np.isin(seen.group, likely))
        fresh = fresh[np.argsort(seen.group[fresh], kind="stable")]
        crossings: list[Crossing] = []
        for rows in np.split(fresh, group_starts(seen.group[fresh])[1:]) if len(fresh) else ():
            crossings += self._crossings_of_group(batch, seen.take(rows), step[rows])
        return crossings

    def _crossings_of_group(self, batch: Batch, seen: Sightings, steps: Ints) -> list[Crossing]:
        """Count one group's new contacts row by row, and find the rows that start a stretch."""
        key, span, threshold = int(seen.group[0]), int(seen.span[0]), int(seen.threshold[0])
        length, episodes = self.spans[span].steps, self.episodes[span]
        distinct = np.unique(steps).tolist()
        if all(episodes.covers(key, step, step + length) for step in distinct):
            return []
        elements, all_steps = self.contacts.of(key)
        near = (all_steps >= distinct[0] - length) & (all_steps <= distinct[-1] + length)
        elements, all_steps = elements[near], all_steps[near]
        if int(distinct_in_windows(elements, all_steps, *self.spans[span])[1].max()) < threshold:
            return []
        old = len(elements) - len(steps)
        counts = WindowCounts(elements[:old], all_steps[:old], *self.spans[span])
        in_step = Counter(all_steps[:old].tolist())
        crossings = []
        new = zip(seen.row.tolist(), elements[old:].tolist(), steps.tolist(), strict=True)
        for row, element, step in new:
            counts.add(element, step)
            in_step[step] += 1
            hot = {
                end: held
                for end in counts.ends(step)
                if (held := counts.held[end]) >= threshold and not episodes.covers(key, end, end)
            }
            if hot and not self.is_breach(batch, row):
                continue
            if in_step[step] >= threshold:
                self._saturate(key, step, threshold)
            end = episodes.note(key, hot)
            if end is not None:
                crossings.append(Crossing(row, span, end, hot[end], threshold, key))
        return crossings

    def _saturate(self, key: int, step: int, threshold: int) -> None:
        """Ignore further contacts of a step: every window with it is hot already."""
        self.saturated[_step_key(key, step, threshold)] = step

    def _unsaturate(self, key: int, step: int, threshold: int) -> bool:
        """Count contacts of a step again; returns whether they were ignored until now."""
        return self.saturated.pop(_step_key(key, step, threshold), None) is not None

    def _record_report(self, customer: int, crossing: Crossing) -> bool:
        """Record that a window is reported; False if the customer has a report in it already."""
        first = self._first(crossing)
        reported = self.reported.setdefault(customer, [])
        if any(first == other.first for other in reported):
            return False
        reported.append(self._report(crossing))
        return True

    def _report(self, crossing: Crossing) -> Report:
        first, limit = self._first(crossing), self._limit(crossing)
        return Report(first, crossing.span, crossing.observed, limit, crossing.group)

    def _first(self, crossing: Crossing) -> int:
        """The step that the window begins with."""
        return crossing.end - self.spans[crossing.span].steps

    def _limit(self, crossing: Crossing) -> int:
        return crossing.threshold if self.limit_counts else crossing.threshold - 1

    def _forget(self, newest: int) -> None:
        """Drop the state of steps that no event in time can reach any more."""
        floor = newest - self.retained - 2 * self.longest
        self.contacts.forget(floor + self.longest)
        for episodes in self.episodes:
            episodes.forget(floor)
        self.saturated = {key: step for key, step in self.saturated.items() if step >= floor}
        oldest = floor - self.reports_kept_longer
        kept = ((c, [r for r in held if r.first >= oldest]) for c, held in self.reported.items())
        self.reported = {customer: held for customer, held in kept if held}

    def hit(self, batch: Batch, crossing: Crossing, level: Level, more: dict[str, Any]) -> Hit:
        """The hit about the first hot window of a stretch."""
        return Hit(
            slot=int(batch.slot[crossing.row]),
            event_time_ms=int(batch.time_ms[crossing.row]),
            level=level,
            window=self._window(self._first(crossing), crossing.span),
            observed=crossing.observed,
            limit=self._limit(crossing),
            unit=self.declaration.units[crossing.span].name,
            offset=int(batch.offset[crossing.row]),
            evidence=more,
            rests_on_ms=self.history_from_ms(),
        )

    def _window(self, first: int, span: int) -> Window:
        length, stride = self.spans[span]
        return Window(
            kind=self.window_kind,
            start_ms=self.periods.bounds(first)[0],
            end_ms=self.periods.bounds(first + length + stride - 1)[1],
        )

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Nothing to do: each contact is stored with its step."""

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The customer's latest breach that is still remembered; nothing without a breach."""
        customer = customers.directory.hash(slot)
        return [
            Standing(
                window=self._window(report.first, report.span),
                observed=report.observed,
                limit=report.limit,
                unit=self.declaration.units[report.span].name,
            )
            for report in sorted(self.reported.get(customer, []))[-1:]
        ]

    def remember(self) -> Any:
        """A `DistinctMemory`; the contacts are a log."""
        stretches = [episodes.stretches for episodes in self.episodes]
        return DistinctMemory(stretches, self.reported, self.contacts.lost_step)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, DistinctMemory)
        for episodes, stretches in zip(self.episodes, kept.stretches, strict=True):
            episodes.stretches = stretches
        self.reported, self.contacts.lost_step = kept.reported, kept.lost_step


def _step_key(group: int, step: int, threshold: int) -> int:
    """A hash of a step of a group, under a threshold."""
    return int(mix(*np.array([[group], [step], [threshold]], np.uint64))[0])
