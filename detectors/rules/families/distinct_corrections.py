"""How rules about distinct things handle corrections: an event is taken back.

The windows of its group are counted again without it. A reported window that is no longer hot is
"cleared". Where a stretch goes on in windows that were not reported, its first one is reported.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.rolling import distinct_in_windows
from detectors.periods.calendar import LONGEST_DAY_MS
from detectors.periods.ring import Steps
from detectors.rules.contract import Batch, Correction, Customers, Hit
from detectors.rules.families.distinct import Crossing, DistinctRule, Report
from schemas.hashing import Hashes
from schemas.policy import Policy
from schemas.records import Level
from schemas.units import Ints


class Place(NamedTuple):
    """Where an element was seen: in a step of a group, with the group's span and threshold."""

    group: int
    span: int
    step: int
    threshold: int


class CorrectableDistinct(DistinctRule):
    """A rule about distinct things whose events can be taken back.

    `kept` counts the events that still count after a correction: not all other events of the step
    are remembered, or the contacts of a window with the step are not (late, or forgotten early).
    """

    remembers: ClassVar[Mapping[str, tuple[str, ...]]]

    def __init__(self, parameters: Any, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.kept = 0
        # An event's siblings are those of its step.
        steps = self.periods
        self.siblings_ms = steps.step_ms if isinstance(steps, Steps) else LONGEST_DAY_MS

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Remove the contact if no other event shows it, and report what changes by that."""
        seen, event = self.sightings(batch, customers), correction.siblings.event
        if len(seen.row) == 0 or not self.accepts(event.time_ms, event.watermark_ms)[0]:
            return []
        (element,) = seen.element.tolist()
        (step,) = self.periods.period_of(batch.time_ms).tolist()
        place = Place(int(seen.group[0]), int(seen.span[0]), step, int(seen.threshold[0]))
        (newest,) = self.periods.period_of(batch.watermark_ms).tolist()
        complete = self._complete_from(newest)
        if step < complete or self.periods.bounds(step)[0] < correction.siblings.complete_ms:
            self.kept += 1
            return []
        others = self._elements_at(correction.siblings.others, place, customers)
        if element in others:
            return []
        self._remove_contact(place, element, others)
        customer = customers.directory.hash(batch.slot[0])
        return self._corrected_hits(batch, correction, customer, place, complete)

    def _complete_from(self, newest: int) -> int:
        """The first end of a window of which all contacts are still remembered."""
        return max(newest - self.retained, self.contacts.lost_step + 1 + self.longest)

    def _elements_at(self, events: Batch, place: Place, customers: Customers) -> Hashes:
        """The distinct elements that events show at a place."""
        seen = self.sightings(events, customers)
        counts = self.accepts(events.time_ms, events.watermark_ms)[seen.row]
        counts &= self.periods.period_of(events.time_ms[seen.row]) == place.step
        return np.unique(seen.element[counts & (seen.group == np.uint64(place.group))])

    def _remove_contact(self, place: Place, element: int, others: Hashes) -> None:
        """Remove a contact, and add those of other events that a saturated step ignored."""
        self.contacts.remove(place.group, element, place.step)
        was_saturated = self._unsaturate(place.group, place.step, place.threshold)
        group = np.full(len(others), place.group, np.uint64)
        self.contacts.add(group, others, np.full(len(others), place.step))
        if was_saturated and len(others) >= place.threshold:
            self._saturate(place.group, place.step, place.threshold)

    def _corrected_hits(
        self, batch: Batch, correction: Correction, customer: int, place: Place, complete: int
    ) -> list[Hit]:
        """Count a group's windows again, from the end `complete` on, and report the differences."""
        counts = self._window_counts(place, complete)
        episodes = self.episodes[place.span]
        hot = [end for end, count in counts.items() if count >= place.threshold]
        episodes.narrow(place.group, complete, hot)
        before = self.reported.get(customer, [])
        after = [
            report
            for report in before
            if report.group != place.group
            or self._end(report) < complete
            or self._end(report) in hot
        ]
        reported_ends = [self._end(report) for report in after if report.group == place.group]
        for first, last in episodes.stretches.get(place.group, ()):
            if first >= complete and not any(first <= end <= last for end in reported_ends):
                crossing = self._crossing(place, first, counts[first])
                after.append(self._report(crossing))
        self.reported[customer] = after
        changes: tuple[tuple[Level, list[Report], list[Report]], ...] = (
            ("cleared", before, after),
            ("breach", after, before),
        )
        hits = []
        for level, reports, others in changes:
            firsts = {other.first for other in others}
            for end in sorted({self._end(r) for r in reports if r.first not in firsts}):
                crossing = self._crossing(place, end, counts.get(end, 0))
                hits.append(correction.caused(self.hit(batch, crossing, level, {})))
        return hits

    def _crossing(self, place: Place, end: int, observed: int) -> Crossing:
        """A window of a group that a correction changes; the batch has its one row."""
        return Crossing(0, place.span, end, observed, place.threshold, place.group)

    def _window_counts(self, place: Place, complete: int) -> dict[int, int]:
        """Distinct elements in each window of a group, by the window's end, from `complete` on."""
        elements, steps = self.contacts.of(place.group)
        near = steps >= complete - self.longest
        span = self.spans[place.span]
        first, held = distinct_in_windows(elements[near], steps[near], *span)
        ends: Ints = first + span.stride * np.arange(len(held))
        counts = zip(ends.tolist(), held.tolist(), strict=True)
        return {end: count for end, count in counts if end >= complete}

    def _end(self, report: Report) -> int:
        """The step that a reported window ends with."""
        return report.first + self.spans[report.span].steps

    def _record_report(self, customer: int, crossing: Crossing) -> bool:
        """Also record crossings in a reported window, for a correction may clear that report."""
        is_recorded = super()._record_report(customer, crossing)
        if not is_recorded:
            self.reported[customer].append(self._report(crossing))
        return is_recorded
