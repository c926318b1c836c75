"""Looking for hosts so slowly that no window shows it: most of those asked for do not answer."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.kernels.running import group_starts, stable_order
from detectors.kernels.sequential import Walk, bounded_walk
from detectors.rules.contract import Batch, Customers, Declaration, Hit, Standing
from detectors.state.columns import Field
from detectors.state.event_ids import Duplicates
from detectors.state.log import LogsOfRule
from schemas.amounts import Unit
from schemas.fields import TCP
from schemas.hashing import mix
from schemas.policy import Policy, Positive, RuleParameters
from schemas.records import Window
from schemas.safeguards import LINE
from schemas.units import HOUR_MS, SECOND_MS, Ints, Mask

NEVER = np.iinfo(np.int64).max
Share = Annotated[float, Meta(gt=0, lt=1)]


LIKELIHOOD = Unit(
    "log_likelihood_ratio_millionths",
    "connection attempts to one computer after another, most of which did not answer",
    symbol="log likelihood ratio",
    per=1_000_000,
    digits=1,
)


class SlowScanParameters(RuleParameters, kw_only=True, frozen=True):
    """Shares of first contacts that succeed for honest customers (`theta0`), scanners (`theta1`).

    `alpha` is the probability to take one for the other, `beta` that to find a scanner. A contact
    is the first if there was none in this half of `memory_hours` and the one before, counted from
    1970 on; a scanner is reported again after `memory_hours`. `contacts_max` bounds what one
    partition remembers, `retention_hours` is how late a flow may be.
    """

    theta0: Share
    theta1: Share
    alpha: Share
    beta: Share
    memory_hours: Annotated[int, Meta(ge=2, le=24 * 31, multiple_of=2)]
    retention_hours: Positive
    contacts_max: Positive

    def __post_init__(self) -> None:
        """Refuse what does not go together, or what a cell can't hold."""
        super().__post_init__()
        if self.theta1 >= self.theta0:
            raise ValueError("`theta1` has to be below `theta0`: scanners succeed less often")
        if self.alpha >= self.beta:
            raise ValueError("`alpha` has to be below `beta`")
        if self.retention_hours >= self.memory_hours:
            raise ValueError("`retention_hours` has to be less than `memory_hours`")


class PortscanSlow(LogsOfRule):
    """Report a customer whose first contacts fail as a scanner's do, however long it takes.

    What it catches: by the sequential test, slow scans of many hosts. A first TCP contact with a
    host that fails makes a scanner more likely, one that succeeds less; the test decides when the
    likelihood ratio passes its upper threshold. It begins at the lower one and never goes below
    (a CUSUM), so that whatever came before it last stood there makes no difference.
    What it misses: scans of one host (see portscan), over UDP, and of hosts that mostly answer; a
    scanner whose line makes as many good new contacts as bad ones. Who was reported is not looked
    at for `memory_hours`.
    Delay: with the default numbers nineteen failed first contacts more than good ones.
    False alarms: at most `alpha` of honest customers for each test, where contacts succeed with
    `theta0` and independently; a line whose every contact fails for a while (an outage beyond us)
    is the exception. Peer-to-peer traffic that mostly succeeds never comes near. Of 9,000 generated
    customers (docs/CURVES.md, seeds 1 to 3) 19 were wrongly found: eight of 120 lines with an
    outage of up to 18 hosts, eleven of 120 with peers of whom half or more answer. Of the users of
    two published recordings of Zeek nobody was.

    References
    ----------
    Clause base-internet/aup 2. Jung, Paxson, Berger and Balakrishnan, IEEE S&P 2004.
    """

    name: ClassVar[str] = "portscan_slow"
    declaration: ClassVar[Declaration] = Declaration(
        section="Network",
        services=LINE,
        urgency="urgency",
        units=(LIKELIHOOD,),
        what="first TCP contacts that fail, by the sequential test",
        limit="a likelihood ratio of {beta} / {alpha:g} of a scanner to an honest line, or more",
        misses="UDP; scans among as many good new contacts",
    )
    reads: ClassVar[tuple[str, ...]] = ("flow",)
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[RuleParameters]] = SlowScanParameters

    def __init__(self, parameters: SlowScanParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.walk = Walk.of(parameters.theta0, parameters.theta1, parameters.alpha, parameters.beta)
        self.contacts = Duplicates(parameters.memory_hours, parameters.contacts_max)
        self.logs = (self.contacts,)
        self.walks_from_ms = 0
        self.fields = (
            Field("slow_walk", "<i4"),
            Field("slow_since_s", "<u4"),
            Field("slow_reported_hour", "<u4"),
        )

    @property
    def evicted(self) -> int:
        """First contacts forgotten early for lack of room."""
        return self.contacts.evicted

    def begin_walks(self, start_ms: int) -> None:
        """Let contacts before an instant only be remembered, to recompute a finding's window."""
        self.walks_from_ms = start_ms

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the flow is late by no more than it may be."""
        hours = watermark_ms // HOUR_MS - time_ms // HOUR_MS
        return hours <= self.parameters.retention_hours

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Move each customer's walk by the first contacts in the batch."""
        reported = columns["slow_reported_hour"][:, 0]
        row = self._first_contacts(batch, customers)
        row = row[self._is_watched(batch, row, reported[batch.slot[row]])]
        row = row[stable_order(batch.slot[row])]
        if len(row) == 0:
            return []
        slot = batch.slot[row]
        place = self._places(columns, batch, row)
        passed = np.unique(slot[place >= self.walk.upper])
        plain = ~np.isin(slot, passed)
        self._store(columns, batch, row[plain], place[plain])
        hits = []
        for each in passed.tolist():
            hits += self._decide(columns, batch, row[slot == each])
        return sorted(hits, key=lambda hit: hit.offset)

    def _first_contacts(self, batch: Batch, customers: Customers) -> Ints:
        """Rows of TCP flows to hosts the customer had no contact with, of known outcome.

        Whether a contact is a first one depends on two periods only, however it was before them.
        """
        fields = batch.fields
        row = np.flatnonzero(
            (fields["is_failed"] | fields["is_answered"])
            & fields["is_outbound"]
            & (fields["protocol"] == TCP)
            & ~fields["is_to_group"]
            & self.accepts(batch.time_ms, batch.watermark_ms)
        )
        key = mix(customers.directory.hashes(batch.slot[row]), fields["destination_address"][row])
        period = batch.watermark_ms[row] // (self.parameters.memory_hours // 2 * HOUR_MS)
        now = mix(key, period.astype(np.uint64))
        _, first = np.unique(now, return_index=True)
        first.sort()
        now, row = now[first], row[first]
        before = mix(key[first], (period[first] - 1).astype(np.uint64))
        known = self.contacts.knows(before) | np.isin(before, now)
        fresh = self.contacts.screen(now, batch.watermark_ms[row])
        return row[fresh & ~known]

    def _is_watched(self, batch: Batch, row: Ints, reported_hour: Ints) -> Mask:
        """Whether the customer was not reported within the memory, shape (k,)."""
        hour = batch.watermark_ms[row] // HOUR_MS
        again = (reported_hour == 0) | (hour > reported_hour + self.parameters.memory_hours)
        return again & (batch.time_ms[row] >= self.walks_from_ms)

    def _places(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints) -> Ints:
        """Where the walks stand after each row, shape (k,); kept is the height above `lower`."""
        slot, failed = batch.slot[row], batch.fields["is_failed"][row]
        move = np.where(failed, self.walk.failed, self.walk.succeeded)
        start = columns["slow_walk"][slot, 0].astype(np.int64)
        return bounded_walk(slot, move, start + self.walk.lower, self.walk.lower)

    def _store(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints, place: Ints) -> None:
        """Keep where the walks of these rows end, and the earliest contact of each way up."""
        slot, seconds = batch.slot[row], batch.time_ms[row] // SECOND_MS
        first = group_starts(slot)
        if len(first) == 0:
            return
        last = np.r_[first[1:], len(row)] - 1
        at = np.arange(len(row))
        turned = np.maximum.reduceat(np.where(place == self.walk.lower, at, -1), first)
        since = columns["slow_since_s"][:, 0]
        before = since[slot[first]].astype(np.int64)
        goes_on = (turned < 0) & (before > 0)
        later = at > np.repeat(turned, last - first + 1)
        earliest = np.minimum.reduceat(np.where(later, seconds, NEVER), first)
        earliest = np.where(goes_on, np.minimum(before, earliest), earliest)
        since[slot[first]] = np.where(turned == last, 0, earliest)
        columns["slow_walk"][slot[last], 0] = place[last] - self.walk.lower

    def _decide(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints) -> list[Hit]:
        """Follow one customer up to the contact that decides; what comes after may begin anew."""
        hits = []
        slot = int(batch.slot[row[0]])
        while len(row):
            place = self._places(columns, batch, row)
            passed = np.flatnonzero(place >= self.walk.upper)
            end = int(passed[0]) + 1 if len(passed) else len(row)
            self._store(columns, batch, row[:end], place[:end])
            if not len(passed):
                break
            hits.append(self._hit(columns, batch, int(row[end - 1]), int(place[end - 1])))
            columns["slow_walk"][slot, 0] = columns["slow_since_s"][slot, 0] = 0
            hour = int(batch.watermark_ms[row[end - 1]]) // HOUR_MS
            columns["slow_reported_hour"][slot, 0] = hour
            row = row[end:]
            row = row[self._is_watched(batch, row, np.full(len(row), hour))]
        return hits

    def _hit(self, columns: Mapping[str, NDArray], batch: Batch, row: int, place: int) -> Hit:
        slot = int(batch.slot[row])
        window = self._window(columns, slot)
        return Hit(
            slot=slot,
            event_time_ms=int(batch.time_ms[row]),
            level="breach",
            window=window,
            observed=place,
            limit=self.walk.upper,
            unit=LIKELIHOOD.name,
            offset=int(batch.offset[row]),
            evidence={
                "destination_address": batch.fields["destination_address_text"][row],
                "failed_contact": self.walk.failed,
                "successful_contact": self.walk.succeeded,
                "lower_threshold": self.walk.lower,
            },
            # Contacts of the two periods before it may be no first ones.
            rests_on_ms=window.start_ms - self.parameters.memory_hours * HOUR_MS,
        )

    def _window(self, columns: Mapping[str, NDArray], slot: int) -> Window:
        start_ms = int(columns["slow_since_s"][slot, 0]) * SECOND_MS
        return Window(kind="state", start_ms=start_ms, end_ms=None)

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Nothing to do: a walk does not age."""

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """Where the customer's walk stands below the upper threshold, if it is under way."""
        if columns["slow_since_s"][slot, 0] == 0:
            return []
        return [
            Standing(
                window=self._window(columns, slot),
                observed=int(columns["slow_walk"][slot, 0]) + self.walk.lower,
                limit=self.walk.upper,
                unit=LIKELIHOOD.name,
            )
        ]

    def remember(self) -> Any:
        """When walks begin; the contacts are a log."""
        return self.walks_from_ms

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        self.walks_from_ms = memory
