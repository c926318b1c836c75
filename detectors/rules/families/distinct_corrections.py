"""How rules about distinct things take an event back, and the windows that hold too few without it.

What other events show in the same step stays. A window with too few left is "cleared"; where a
stretch goes on in other windows without one that was reported, its first is reported instead.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.rolling import distinct_in_windows
from detectors.rules.contract import Batch, Correction, Customers, Hit
from detectors.rules.families.distinct import DistinctRule, Start
from schemas.hashing import Hashes
from schemas.policy import Policy
from schemas.units import Ints


class Place(NamedTuple):
    """Where an element was seen: its group, which span is asked about, and in which step."""

    group: int
    span: int
    step: int
    enough: int


class CorrectableDistinct(DistinctRule):
    """A rule about distinct things whose events can be taken back.

    An event keeps what it counted (`kept`) if its siblings of the step are not all remembered, or
    a window with the step is not: late, or evicted.
    """

    remembers: ClassVar[Mapping[str, tuple[str, ...]]]

    def __init__(self, parameters: Any, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.kept = 0

    @property
    def siblings_ms(self) -> int:
        """An event's siblings are those of its step."""
        return self.parameters.step_seconds * 1000

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Forget the contact that only this event showed, and withdraw what rests on it."""
        seen, event = self.seen(batch, customers), correction.siblings.event
        if len(seen.row) == 0 or not self.accepts(event.time_ms, event.watermark_ms)[0]:
            return []
        (element,) = seen.element.tolist()
        (step,) = self.periods.period_of(batch.time_ms).tolist()
        place = Place(int(seen.group[0]), int(seen.span[0]), step, int(seen.enough[0]))
        (newest,) = self.periods.period_of(batch.watermark_ms).tolist()
        whole = self._whole_from(newest)
        if step < whole or self.periods.bounds(step)[0] < correction.siblings.complete_ms:
            self.kept += 1
            return []
        shown = self._shown(correction.siblings.others, place, customers)
        if element in shown:
            return []
        self._forget_contact(place, element, shown)
        customer = int(customers.directory.hashes(batch.slot)[0])
        return self._withdrawn(batch, correction, customer, place, whole)

    def _whole_from(self, newest: int) -> int:
        """The first end of a window of which every step is still remembered."""
        return max(newest - self.retained, self.contacts.lost_step + 1 + self.longest)

    def _shown(self, events: Batch, place: Place, customers: Customers) -> Hashes:
        """The elements that other events show in a place, each once."""
        seen = self.seen(events, customers)
        counts = self.accepts(events.time_ms, events.watermark_ms)[seen.row]
        counts &= self.periods.period_of(events.time_ms[seen.row]) == place.step
        return np.unique(seen.element[counts & (seen.group == np.uint64(place.group))])

    def _forget_contact(self, place: Place, element: int, shown: Hashes) -> None:
        """Of a step that was full more may have been shown than is remembered."""
        self.contacts.remove(place.group, element, place.step)
        was_full = self._unsaturate(place.group, place.step, place.enough)
        group = np.full(len(shown), place.group, np.uint64)
        self.contacts.add(group, shown, np.full(len(shown), place.step))
        if was_full and len(shown) >= place.enough:
            self._saturate(place.group, place.step, place.enough)

    def _withdrawn(
        self, batch: Batch, correction: Correction, customer: int, place: Place, whole: int
    ) -> list[Hit]:
        """See again which windows of a group are hot, from the first one that is whole on."""
        held = self._held(place, whole)
        episodes = self.episodes[place.span]
        hot = [end for end, count in held.items() if count >= place.enough]
        episodes.narrow(place.group, whole, hot)
        before = self.reported.get(customer, [])
        after = [
            entry
            for entry in before
            if entry[-1] != place.group or self._end(entry) < whole or self._end(entry) in hot
        ]
        told = [self._end(entry) for entry in after if entry[-1] == place.group]
        for first, last in episodes.stretches.get(place.group, ()):
            if first >= whole and not any(first <= end <= last for end in told):
                start = Start(0, place.span, first, held[first], place.enough, place.group)
                after.append(self._entry(start))
        self.reported[customer] = after
        hits = []
        for level, entries, others in (("cleared", before, after), ("breach", after, before)):
            firsts = {first for first, *_ in others}
            for end in sorted({self._end(e) for e in entries if e[0] not in firsts}):
                observed = held.get(end, 0)
                start = Start(0, place.span, end, observed, place.enough, place.group)
                hits.append(correction.told(self.hit(batch, start, level, {})))
        return hits

    def _held(self, place: Place, whole: int) -> dict[int, int]:
        """How many distinct elements each window of a group holds, by its end, from `whole` on."""
        elements, steps = self.contacts.of(place.group)
        near = steps >= whole - self.longest
        span = self.spans[place.span]
        first, held = distinct_in_windows(elements[near], steps[near], *span)
        ends: Ints = first + span.stride * np.arange(len(held))
        counts = zip(ends.tolist(), held.tolist(), strict=True)
        return {end: count for end, count in counts if end >= whole}

    def _end(self, entry: list[int]) -> int:
        """The step that a reported window ends with."""
        first, span, *_ = entry
        return first + self.spans[span].steps

    def _is_news(self, customer: int, start: Start) -> bool:
        """What crosses in a window that was reported is remembered, for that may be withdrawn."""
        is_news = super()._is_news(customer, start)
        if not is_news:
            self.reported[customer].append(self._entry(start))
        return is_news

    def remember(self) -> Any:
        """Besides what the rule keeps, the last step of which contacts were evicted."""
        return [*super().remember(), self.contacts.lost_step]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        *memory, self.contacts.lost_step = memory
        super().recall(memory)
