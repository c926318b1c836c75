"""What the rules about distinct things share: too many of them in a group, within a window.

A group is what a rule says it is: a customer, or a customer and one host, or one message. A window
is so many whole steps and the step it ends with; without any it is a calendar period.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.rolling import Episodes, WindowCounts, distinct_in_windows
from detectors.kernels.running import group_starts
from detectors.periods.ring import Periods, Steps
from detectors.rules.contract import Batch, Customers, Hit, Standing
from detectors.state.columns import Field
from detectors.state.contacts import Contacts
from detectors.state.log import Log, LogsOfRule
from schemas.hashing import Hashes, mix
from schemas.policy import Policy, Positive, RuleParameters
from schemas.records import Window
from schemas.units import HOUR_MS, Ints, Mask


class DistinctParameters(RuleParameters, kw_only=True, frozen=True):
    """`contacts_max` bounds what a partition remembers, `retention_hours` is how late one may be.

    Past the bound the oldest go early and are counted: breaches may be missed, none is made up.
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
    """A window's length besides the step it ends with; it moves on by `stride` steps."""

    steps: int
    stride: int = 1


class Windows(NamedTuple):
    """How time is cut: steps, the spans of them that are windows, and how late an event may be."""

    periods: Periods
    spans: tuple[Span, ...]
    retained: int


class Seen(NamedTuple):
    """Elements seen in groups: row of the batch, span, and how many are a breach; shape (k,)."""

    row: Ints
    span: Ints
    group: Hashes
    element: Hashes
    enough: Ints


class Start(NamedTuple):
    """Where a stretch of hot windows starts: at which row, and what the first of them holds.

    The group is zero where the rule has but one for each customer and unit.
    """

    row: int
    span: int
    end: int
    observed: int
    enough: int
    group: int = 0


class DistinctRule(LogsOfRule):
    """Report a group that holds too many distinct elements in a window, at the one that crosses.

    A breach that goes on is one finding. Of groups that cross in the same window of a customer the
    first is reported. A subclass says what was seen (`seen`), and what the evidence tells of it.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]]
    window_kind: ClassVar[Literal["rolling", "day"]] = "rolling"
    units: ClassVar[tuple[str, ...]]
    """What is counted, for each span."""
    limit_counts: ClassVar[bool] = False
    """Whether the limit itself is a breach ("or more")."""

    def __init__(self, parameters: Any, policy: Policy) -> None:
        self.parameters = parameters
        self.fields: tuple[Field, ...] = ()
        self.periods, self.spans, self.retained = self.windows(policy)
        self.longest = max(span.steps for span in self.spans)
        self.strides = np.array([span.stride for span in self.spans])
        self.reported_back = 0
        self.contacts = Contacts(parameters.contacts_max, slack=self.retained // 24)
        self.logs: tuple[Log, ...] = (self.contacts,)
        self.episodes = [Episodes(span.steps) for span in self.spans]
        self.reported: dict[int, list[list[int]]] = {}
        self.saturated: dict[int, int] = {}

    @property
    def evicted(self) -> int:
        """Contacts forgotten early for lack of room."""
        return self.contacts.evicted

    def windows(self, policy: Policy) -> Windows:
        """Steps and windows as `RollingParameters` have them, one window for each unit."""
        step_ms = self.parameters.step_seconds * 1000
        span = Span(self.parameters.length_seconds // self.parameters.step_seconds)
        retained = self.parameters.retention_hours * HOUR_MS // step_ms
        return Windows(Steps(step_ms), (span,) * len(self.units), retained)

    def seen(self, batch: Batch, customers: Customers) -> Seen:
        """Which elements were seen in which groups."""
        raise NotImplementedError

    def evidence(self, batch: Batch, start: Start) -> dict[str, Any]:
        """What tells the group from others of the customer."""
        return {}

    def is_breach(self, batch: Batch, row: int) -> bool:
        """Whether a window that holds too many elements at this row is a breach."""
        return True

    def history_from_ms(self) -> int | None:
        """Where the history begins that decides besides the window, if there is any."""
        return None

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the event's step is still remembered."""
        newest = self.periods.period_of(watermark_ms)
        return self.periods.period_of(time_ms) >= newest - self.retained

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Remember what was seen and look closely at the groups that have enough of it."""
        seen = self.seen(batch, customers)
        # Another rule may take later events than this one does.
        in_time = self.accepts(batch.time_ms, batch.watermark_ms)[seen.row]
        if not in_time.all():
            seen = Seen(*(column[in_time] for column in seen))
        hits = list(self._hits(batch, customers, seen)) if len(seen.row) else []
        self._forget(int(self.periods.period_of(batch.watermark_ms[-1:])[0]))
        return hits

    def _hits(self, batch: Batch, customers: Customers, seen: Seen) -> Iterator[Hit]:
        """Groups were walked one after the other; which comes first is the rows' matter."""
        for start in sorted(self._starts(batch, seen)):
            slot = batch.slot[start.row : start.row + 1]
            customer = int(customers.directory.hashes(slot)[0])
            if self._is_news(customer, start):
                yield from self.told(batch, customer, start)

    def told(self, batch: Batch, customer: int, start: Start) -> Iterator[Hit]:
        """The finding, and what else it leads to."""
        yield self.hit(batch, start, "breach", self.evidence(batch, start))

    def _starts(self, batch: Batch, seen: Seen) -> list[Start]:
        step = self.periods.period_of(batch.time_ms[seen.row])
        step = step - step % self.strides[seen.span]
        if self.saturated:
            full = np.fromiter(self.saturated, np.uint64, len(self.saturated))
            open_ = ~np.isin(mix(seen.group, step, seen.enough), full)
            seen, step = Seen(*(column[open_] for column in seen)), step[open_]
        first, held = self.contacts.add(seen.group, seen.element, step)
        many = np.flatnonzero(first & (held >= seen.enough))
        likely, at = np.unique(seen.group[many], return_index=True)
        likely = likely[self.contacts.distinct(likely) >= seen.enough[many[at]]]
        fresh = np.flatnonzero(first & np.isin(seen.group, likely))
        fresh = fresh[np.argsort(seen.group[fresh], kind="stable")]
        starts: list[Start] = []
        for rows in np.split(fresh, group_starts(seen.group[fresh])[1:]) if len(fresh) else ():
            starts += self._walk(batch, Seen(*(column[rows] for column in seen)), step[rows])
        return starts

    def _walk(self, batch: Batch, seen: Seen, steps: Ints) -> list[Start]:
        """Add one group's new contacts one by one, as a person would, and note where it is hot."""
        key, span, enough = int(seen.group[0]), int(seen.span[0]), int(seen.enough[0])
        length, episodes = self.spans[span].steps, self.episodes[span]
        distinct = np.unique(steps).tolist()
        if all(episodes.covers(key, step, step + length) for step in distinct):
            return []
        elements, all_steps = self.contacts.of(key)
        near = (all_steps >= distinct[0] - length) & (all_steps <= distinct[-1] + length)
        elements, all_steps = elements[near], all_steps[near]
        if int(distinct_in_windows(elements, all_steps, *self.spans[span])[1].max()) < enough:
            return []
        old = len(elements) - len(steps)
        counts = WindowCounts(elements[:old], all_steps[:old], *self.spans[span])
        in_step = Counter(all_steps[:old].tolist())
        starts = []
        new = zip(seen.row.tolist(), elements[old:].tolist(), steps.tolist(), strict=True)
        for row, element, step in new:
            counts.add(element, step)
            in_step[step] += 1
            hot = {
                end: held
                for end in counts.ends(step)
                if (held := counts.held[end]) >= enough and not episodes.covers(key, end, end)
            }
            if hot and not self.is_breach(batch, row):
                continue
            if in_step[step] >= enough:
                self._saturate(key, step, enough)
            end = episodes.note(key, hot)
            if end is not None:
                starts.append(Start(row, span, end, hot[end], enough, key))
        return starts

    def _saturate(self, key: int, step: int, enough: int) -> None:
        """Every window with this step is hot from now on: more contacts in it change nothing."""
        self.saturated[_full(key, step, enough)] = step

    def _unsaturate(self, key: int, step: int, enough: int) -> bool:
        """Have a step count again; tell whether it did not."""
        return self.saturated.pop(_full(key, step, enough), None) is not None

    def _is_news(self, customer: int, start: Start) -> bool:
        """Whether nothing of the customer was reported in this window yet; it is from now on."""
        first = self._first(start)
        reported = self.reported.setdefault(customer, [])
        if any(first == other for other, *_ in reported):
            return False
        reported.append(self._entry(start))
        return True

    def _entry(self, start: Start) -> list[int]:
        """What is remembered of a reported window: where it begins first, its group last."""
        first, limit = self._first(start), self._limit(start)
        return [first, start.span, start.observed, limit, start.group]

    def _first(self, start: Start) -> int:
        """The step that the window begins with."""
        return start.end - self.spans[start.span].steps

    def _limit(self, start: Start) -> int:
        return start.enough if self.limit_counts else start.enough - 1

    def _forget(self, newest: int) -> None:
        """Drop what no event that still counts can reach."""
        floor = newest - self.retained - 2 * self.longest
        self.contacts.forget(floor + self.longest)
        for episodes in self.episodes:
            episodes.forget(floor)
        self.saturated = {key: step for key, step in self.saturated.items() if step >= floor}
        oldest = floor - self.reported_back
        kept = ((c, [r for r in held if r[0] >= oldest]) for c, held in self.reported.items())
        self.reported = {customer: held for customer, held in kept if held}

    def hit(self, batch: Batch, start: Start, level: str, more: dict[str, Any]) -> Hit:
        """The finding about the first hot window of a stretch."""
        return Hit(
            slot=int(batch.slot[start.row]),
            event_time_ms=int(batch.time_ms[start.row]),
            level=level,
            window=self._window(self._first(start), start.span),
            observed=start.observed,
            limit=self._limit(start),
            unit=self.units[start.span],
            offset=int(batch.offset[start.row]),
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
        """Nothing to do: contacts carry their step."""

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The customer's latest breach that still takes late events; others show nothing."""
        customer = int(customers.directory.hashes(np.array([slot]))[0])
        return [
            Standing(
                window=self._window(first, span),
                observed=observed,
                limit=limit,
                unit=self.units[span],
            )
            for first, span, observed, limit, _ in sorted(self.reported.get(customer, []))[-1:]
        ]

    def remember(self) -> Any:
        """Stretches of hot windows by span, and the windows already reported, by customer."""
        stretches = [list(episodes.stretches.items()) for episodes in self.episodes]
        return [stretches, list(self.reported.items())]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        stretches, reported = memory
        for episodes, of_span in zip(self.episodes, stretches, strict=True):
            episodes.stretches = dict(of_span)
        self.reported = dict(reported)


def _full(key: int, step: int, enough: int) -> int:
    """What stands for a step of a group that holds enough."""
    return int(mix(*np.array([[key], [step], [enough]], np.uint64))[0])
