"""Looking for open ports: many ports of one host, or many hosts on one port."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.kernels.contacts import Contacts
from detectors.kernels.rolling import Episodes
from detectors.kernels.running import group_starts
from detectors.rule import Batch, Customers, Hit, Ints, Mask, Standing
from schemas.hashing import mix
from schemas.policy import Policy, Positive, RuleParameters
from schemas.records import Window

VARIANTS = ("vertical", "horizontal")
AtLeastTwo = Annotated[int, Meta(ge=2)]


class PortscanParameters(RuleParameters, kw_only=True, frozen=True):
    """Distinct ports of one host, or hosts on one port, that make a scan; the value itself counts.

    `contacts_max` bounds what one partition remembers, `retention_hours` is how late a flow may be.
    """

    vertical_ports: AtLeastTwo
    horizontal_hosts: AtLeastTwo
    length_seconds: Positive
    step_seconds: Positive
    retention_hours: Positive
    contacts_max: Positive

    def __post_init__(self) -> None:
        """Refuse a window that is not made of whole steps."""
        super().__post_init__()
        if self.length_seconds % self.step_seconds:
            raise ValueError("`length_seconds` has to be a multiple of `step_seconds`")


class Start(NamedTuple):
    """Where a stretch of hot windows starts: at which row, and how many contacts its end saw."""

    row: int
    variant: int
    end: int
    observed: int


class Portscan:
    """Report a customer whose refused or unanswered flows reach many ports, or many hosts.

    What it catches: vertical and horizontal scans faster than the limit within the rolling window,
    in whatever order the flows come. A scan that goes on is one finding; a later one is another,
    and so is another victim. What it misses: scans slower than the window, and of open ports only.
    False alarms: peer-to-peer clients that try many dead peers on one port; established flows,
    broadcast and multicast never count.

    References
    ----------
    Clause base-internet/aup 2. Limits as in Zeek's scan detection.
    """

    name: ClassVar[str] = "portscan"
    reads: ClassVar[tuple[str, ...]] = ("flow",)
    longest_ms: ClassVar[int] = 0
    Parameters: ClassVar[type[PortscanParameters]] = PortscanParameters

    def __init__(self, parameters: PortscanParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.fields = ()
        self.step_ms = parameters.step_seconds * 1000
        self.steps = parameters.length_seconds // parameters.step_seconds
        self.retained = parameters.retention_hours * 3_600_000 // self.step_ms
        self.limits = (parameters.vertical_ports, parameters.horizontal_hosts)
        self.contacts = Contacts(parameters.contacts_max)
        self.episodes = Episodes(self.steps)
        self.reported: dict[int, list[int]] = {}
        self.saturated: dict[int, int] = {}

    @property
    def evicted(self) -> int:
        """Contacts forgotten early for lack of room."""
        return self.contacts.evicted

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the flow's step is still remembered."""
        return time_ms // self.step_ms >= watermark_ms // self.step_ms - self.retained

    def step(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Remember the failed contacts and look closely at the groups that have enough of them."""
        fields = batch.fields
        row = np.flatnonzero(
            fields["is_failed"]
            & fields["is_outbound"]
            & ~fields["is_to_group"]
            & (fields["destination_port"] >= 0)
        )
        hits = self._scans(batch, customers, row) if len(row) else []
        self._forget(batch.newest_ms // self.step_ms - self.retained - 2 * self.steps)
        return hits

    def _scans(self, batch: Batch, customers: Customers, row: Ints) -> list[Hit]:
        customer = customers.directory.hashes(batch.slot[row])
        host = batch.fields["destination_address"][row]
        port = batch.fields["destination_port"][row].astype(np.uint64)
        step = batch.time_ms[row] // self.step_ms
        one = np.ones(len(row), np.uint64)
        # Each flow is a contact twice: a port of its host, and a host on its port.
        group = np.r_[mix(customer, one, host), mix(customer, one + one, port)]
        element, step, twice = np.r_[port + one, host], np.r_[step, step], np.r_[row, row]
        variant = np.repeat((0, 1), len(row))
        if self.saturated:
            full = np.fromiter(self.saturated, np.uint64, len(self.saturated))
            open_ = ~np.isin(mix(group, step.astype(np.uint64)), full)
            group, element, step = group[open_], element[open_], step[open_]
            twice, variant = twice[open_], variant[open_]
        first, held = self.contacts.add(group, element, step)
        likely = np.unique(group[first & (held >= np.take(self.limits, variant))])
        fresh = np.flatnonzero(first & np.isin(group, likely))
        fresh = fresh[np.argsort(group[fresh], kind="stable")]
        starts: list[Start] = []
        for at in np.split(fresh, group_starts(group[fresh])[1:]) if len(fresh) else ():
            starts += self._walk(int(group[at[0]]), int(variant[at[0]]), twice[at], step[at])
        # Groups were walked one after the other; which of them comes first is the rows' matter.
        return [self._hit(batch, s) for s in sorted(starts) if self._is_news(batch, customers, s)]

    def _walk(self, key: int, variant: int, rows: Ints, steps: Ints) -> list[Start]:
        """Add one group's new contacts one by one, as a person would, and note where it is hot."""
        distinct = np.unique(steps).tolist()
        if all(self.episodes.covers(key, step, step + self.steps) for step in distinct):
            return []
        limit = self.limits[variant]
        elements, all_steps = self.contacts.of(key)
        old = len(elements) - len(rows)
        by_step: dict[int, set[int]] = {}
        for element, step in zip(elements[:old].tolist(), all_steps[:old].tolist(), strict=True):
            by_step.setdefault(step, set()).add(element)
        starts = []
        for row, element, step in zip(
            rows.tolist(), elements[old:].tolist(), steps.tolist(), strict=True
        ):
            by_step.setdefault(step, set()).add(element)
            if len(by_step[step]) >= limit:
                self._saturate(key, step)
            hot = self._hot_windows(by_step, key, step, limit)
            end = self.episodes.note(key, hot)
            if end is not None:
                starts.append(Start(row, variant, end, hot[end]))
        return starts

    def _is_news(self, batch: Batch, customers: Customers, start: Start) -> bool:
        """Whether nothing of the customer was reported in this window yet; it is from now on."""
        customer = int(customers.directory.hashes(batch.slot[start.row : start.row + 1])[0])
        reported = self.reported.setdefault(customer, [])
        if start.end in reported:
            return False
        reported.append(start.end)
        return True

    def _hot_windows(
        self, by_step: dict[int, set[int]], key: int, this: int, limit: int
    ) -> dict[int, int]:
        """Ends and distinct counts of the windows with step `this` that turn hot now."""
        hot = {}
        for end in range(this, this + self.steps + 1):
            if not self.episodes.covers(key, end, end):
                inside = [by_step[s] for s in range(end - self.steps, end + 1) if s in by_step]
                count = len(set().union(*inside))
                if count >= limit:
                    hot[end] = count
        return hot

    def _saturate(self, key: int, step: int) -> None:
        """Every window with this step is hot from now on: more contacts in it change nothing."""
        columns = np.array([[key], [step]], np.uint64)
        self.saturated[int(mix(*columns)[0])] = step

    def _forget(self, floor: int) -> None:
        """Drop what no flow that still counts can reach."""
        self.contacts.forget(floor)
        self.episodes.forget(floor)
        self.saturated = {key: step for key, step in self.saturated.items() if step >= floor}
        kept = ((c, [end for end in ends if end >= floor]) for c, ends in self.reported.items())
        self.reported = {customer: ends for customer, ends in kept if ends}

    def _hit(self, batch: Batch, start: Start) -> Hit:
        row, variant, end, observed = start
        start_ms, end_ms = (end - self.steps) * self.step_ms, (end + 1) * self.step_ms
        fixed = (
            {"destination_address": batch.fields["destination_address_text"][row]}
            if variant == 0
            else {"destination_port": int(batch.fields["destination_port"][row])}
        )
        return Hit(
            slot=int(batch.slot[row]),
            event_time_ms=int(batch.time_ms[row]),
            level="breach",
            window=Window(kind="rolling", start_ms=start_ms, end_ms=end_ms),
            observed=observed,
            limit=self.limits[variant],
            unit="ports" if variant == 0 else "hosts",
            offset=int(batch.offset[row]),
            evidence={"variant": VARIANTS[variant], **fixed},
        )

    def settle(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Nothing to do: contacts carry their step."""

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The customer's latest scan that still takes late flows; quiet customers show nothing."""
        customer = int(customers.directory.hashes(np.array([slot]))[0])
        return [
            Standing(
                window=Window(
                    kind="rolling",
                    start_ms=(end - self.steps) * self.step_ms,
                    end_ms=(end + 1) * self.step_ms,
                ),
                observed=min(self.limits),
                limit=min(self.limits),
                unit="contacts",
            )
            for end in sorted(self.reported.get(customer, []))[-1:]
        ]

    def changes(self) -> list[tuple[int, bytes]]:
        """Chunks of contacts to store."""
        return self.contacts.changes()

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored chunk of contacts."""
        self.contacts.restore(number, stored)

    def rewrite(self, number: int | None = None) -> None:
        """Store every contact anew at the next checkpoint, over chunk `number` too."""
        self.contacts.rewrite(number)

    def arrays(self) -> dict[str, NDArray]:
        """Every contact, for a snapshot."""
        return self.contacts.arrays()

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        self.contacts.take_arrays(arrays)

    def remember(self) -> Any:
        """Stretches of hot windows, and the windows already reported, by customer."""
        return [list(self.episodes.stretches.items()), list(self.reported.items())]

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        stretches, reported = memory
        self.episodes.stretches = dict(stretches)
        self.reported = dict(reported)
