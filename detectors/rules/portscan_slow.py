"""Scans so slow that no window shows them: most of the hosts that are contacted do not answer."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct, convert
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
    """Shares of first contacts that succeed: of honest customers (`theta0`), scanners (`theta1`).

    `alpha` is the probability to report an honest customer, `beta` that to find a scanner. Time is
    divided into periods of half of `memory_hours`, from 1970 on; a contact is the first if there
    was none in its period and the one before. A scanner is reported again after `memory_hours`.
    `contacts_max` is how many contacts one partition remembers, `retention_hours` how late a flow
    may be.
    """

    theta0: Share
    theta1: Share
    alpha: Share
    beta: Share
    memory_hours: Annotated[int, Meta(ge=2, le=24 * 31, multiple_of=2)]
    retention_hours: Positive
    contacts_max: Positive

    def __post_init__(self) -> None:
        """Refuse parameters that contradict each other."""
        super().__post_init__()
        if self.theta1 >= self.theta0:
            raise ValueError("`theta1` has to be below `theta0`: scanners succeed less often")
        if self.alpha >= self.beta:
            raise ValueError("`alpha` has to be below `beta`")
        if self.retention_hours >= self.memory_hours:
            raise ValueError("`retention_hours` has to be less than `memory_hours`")


class SlowScanMemory(Struct, frozen=True):
    """The event time from which contacts move the CUSUM."""

    cusum_from_ms: int


class PortscanSlow(LogsOfRule):
    """Report a customer whose first contacts fail as a scanner's do, however long it takes.

    What it catches: by a sequential test, slow scans of many hosts. A first TCP contact with a host
    that fails raises the likelihood ratio of a scanner, one that succeeds lowers it; the customer
    is reported when it passes the upper threshold. The ratio begins at the lower threshold and
    never falls below it (a CUSUM): nothing before it last stood there makes a difference.
    What it misses: scans of one host (see portscan), over UDP, and of hosts that mostly answer; a
    scanner whose line makes as many successful first contacts as failed ones. A reported customer
    is not watched for `memory_hours`.
    Delay: with the default numbers nineteen failed first contacts more than successful ones.
    False alarms: at most `alpha` of honest customers for each test, if their contacts succeed with
    `theta0` and independently; that does not hold for a line whose every contact fails for a while
    (an outage elsewhere). Peer-to-peer traffic that mostly succeeds is far from it. Of 9,000
    generated customers (docs/CURVES.md, seeds 1 to 3) 19 were wrongly found: eight of 120 lines
    with an outage of up to 18 hosts, eleven of 120 with peers of whom half or more answer. Of the
    users of two published recordings of Zeek nobody was.

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
        self.cusum_from_ms = 0
        self.fields = (
            Field("slow_walk", "<i4"),
            Field("slow_since_s", "<u4"),
            Field("slow_reported_hour", "<u4"),
        )

    @property
    def evicted(self) -> int:
        """Contacts forgotten early because there were more than `contacts_max`."""
        return self.contacts.evicted

    def start_cusum(self, start_ms: int) -> None:
        """Only remember contacts before an event time, to recompute a finding's window."""
        self.cusum_from_ms = start_ms

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether each flow is at most `retention_hours` late, shape (n,)."""
        hours = watermark_ms // HOUR_MS - time_ms // HOUR_MS
        return hours <= self.parameters.retention_hours

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Move each customer's CUSUM by the first contacts in the batch."""
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
        """Rows of the TCP flows that are first contacts, and failed or were answered, sorted.

        Whether a contact is the first depends only on its period and the one before.
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
        """Whether the customer was not reported within the last `memory_hours`, shape (k,)."""
        hour = batch.watermark_ms[row] // HOUR_MS
        again = (reported_hour == 0) | (hour > reported_hour + self.parameters.memory_hours)
        return again & (batch.time_ms[row] >= self.cusum_from_ms)

    def _places(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints) -> Ints:
        """The CUSUM after each row, shape (k,); the column has its height above `lower`."""
        slot, failed = batch.slot[row], batch.fields["is_failed"][row]
        move = np.where(failed, self.walk.failed, self.walk.succeeded)
        start = columns["slow_walk"][slot, 0].astype(np.int64)
        return bounded_walk(slot, move, start + self.walk.lower, self.walk.lower)

    def _store(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints, place: Ints) -> None:
        """Store each customer's CUSUM after these rows, and the start of its way up."""
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
        """Find the contacts at which one customer's CUSUM passes the upper threshold."""
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
            # Contacts in the two periods before decide which contacts of the window are first ones.
            rests_on_ms=window.start_ms - self.parameters.memory_hours * HOUR_MS,
        )

    def _window(self, columns: Mapping[str, NDArray], slot: int) -> Window:
        start_ms = int(columns["slow_since_s"][slot, 0]) * SECOND_MS
        return Window(kind="state", start_ms=start_ms, end_ms=None)

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Nothing to do: a CUSUM does not change with time."""

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The customer's CUSUM and the upper threshold; nothing while it is at its lower bound."""
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
        """A `SlowScanMemory`; the contacts are a log, the CUSUM is in the columns."""
        return SlowScanMemory(self.cusum_from_ms)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        self.cusum_from_ms = convert(memory, SlowScanMemory).cusum_from_ms
