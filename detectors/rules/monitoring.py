"""A phone used as a baby phone or a bugging device: hours of calls with one partner."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, convert
from numpy.typing import NDArray

from detectors.kernels.chains import rounds
from detectors.kernels.majority import Votes, vote
from detectors.periods.calendar import LONGEST_DAY_MS, SHORTEST_MS, calendar
from detectors.periods.closing import PeriodCloser
from detectors.periods.regular import Regularly, RegularParameters
from detectors.periods.ring import PeriodRing
from detectors.rules.contract import (
    Batch,
    Correction,
    Customers,
    Declaration,
    Hit,
    RuleOutput,
    Siblings,
    Standing,
)
from detectors.rules.families.calls import split
from detectors.rules.families.closing import ClosingMemory, ClosingRuleBase
from detectors.rules.families.counting import CELL
from detectors.state.columns import Field
from schemas.amounts import Unit
from schemas.events import CALL_MS_MAX
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.records import Level
from schemas.units import HOUR_MS, Ints, Mask

AHEAD = 1
"""Days after the newest event's day in which the rest of a call still counts."""

OVERNIGHT_MS = 12 * HOUR_MS
"""A day is voted again only if the calls that reach into it start at most this long before it."""

DAYS_MAX = 64
"""Most days of a customer's row."""

HASH_SHIFT = np.uint64(32)
"""Partners are told apart by the upper half of their hash."""


ONE_NUMBER = Unit(
    "per mille with one number",
    "hours of calls, {observed} % of them with one number",
    symbol="%",
    per=10,
    measure="percent",
)


class MonitoringParameters(RegularParameters, kw_only=True, frozen=True):
    """A breach: of `talk_ms_min` or more in a day, one partner has `share_per_mille` or more.

    A day closes when the watermark is `lateness_hours` past its end.
    """

    share_per_mille: Annotated[int, Meta(gt=500, le=1000), LIVE]
    talk_ms_min: Annotated[int, Meta(ge=1, lt=np.iinfo(CELL).max), LIVE]
    lateness_hours: Positive

    def __post_init__(self) -> None:
        """Refuse parameters that need more days than may be kept."""
        super().__post_init__()
        if self.lateness_hours // 23 + self.regular_window > DAYS_MAX:
            raise ValueError(f"more than {DAYS_MAX} days can't be kept")


class Monitoring(ClosingRuleBase):
    """Report the closed local day with hours of calls, nearly all of them with one partner.

    Calls in both directions count, in each day the part that lies in it; partial records add up.
    The leading partner is found by a majority vote over the day's calls in the order they come. Its
    time is what it talked since it took the lead: never too much, and all of it unless others
    talked first.

    What it catches: an open line to one number for hours; a share of 95 % or more in any order.
    What it misses: a share between 90 and 95 % on a day that began with calls to others; an open
    line that is divided among several numbers; calls that come after their day is closed; the third
    and later days of a call that comes as one record while no other call is seen for days. A
    corrected call stays counted on a day with a call that started more than twelve hours before it.
    Delay: the day's end plus the lateness.
    False alarms: couples and families far apart, a helper's line; only the partner is compared, not
    what is said. Of 9,000 generated customers (docs/CURVES.md, seeds 1 to 3) four were wrongly
    found, all of them among 120 couples apart.

    References
    ----------
    Clause base-mobile 6.3.1(viii).
    """

    name: ClassVar[str] = "monitoring"
    declaration: ClassVar[Declaration] = Declaration(
        section="Calls",
        services=("voice",),
        units=(ONE_NUMBER,),
        what="one partner's share of a day's calls, both directions, once the day is closed",
        limit="{share_per_mille:per_mille} of {talk_ms_min:ms}, or more",
        misses="shares from 90 to 95 % on days that begin with calls to others; an open line over "
        "several numbers; known only two days after the day",
    )
    reads: ClassVar[tuple[str, ...]] = ("voice",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {"voice": ("duration_ms", "other_party")}
    siblings_ms: ClassVar[int] = LONGEST_DAY_MS + OVERNIGHT_MS
    Parameters: ClassVar[type[RuleParameters]] = MonitoringParameters
    longest_ms: ClassVar[int] = CALL_MS_MAX

    def __init__(self, parameters: MonitoringParameters, policy: Policy) -> None:
        self.parameters = parameters
        self.days = calendar(policy.timezone, "day")
        lateness_ms = parameters.lateness_hours * HOUR_MS
        self.regularly = Regularly(parameters.regular_periods, parameters.regular_window)
        back = -(-lateness_ms // SHORTEST_MS["day"])
        # The votes of the open days, and the shares of those and of the days before them.
        self.votes = PeriodRing(back, AHEAD)
        self.shares = PeriodRing(back + parameters.regular_window - 1, AHEAD)
        self.closing = PeriodCloser(self.days, lateness_ms, back)
        self.kept = 0
        self.fields = (
            Field("monitoring_leader", "<u4", self.votes.width),
            Field("monitoring_lead_ms", CELL.str, self.votes.width),
            Field("monitoring_own_ms", CELL.str, self.votes.width),
            Field("monitoring_total_ms", CELL.str, self.votes.width),
            Field("monitoring_share", "<u2", self.shares.width),
        )

    # -- events ---------------------------------------------------------------------------------

    def accepts(self, time_ms: Ints, watermark_ms: Ints) -> Mask:
        """Whether the day on which the call starts is open."""
        return self.days.period_of(time_ms) > self.closing_period(watermark_ms)

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Add each call's part of a day to the vote of that day."""
        self._advance(columns, int(self.days.period_of(batch.watermark_ms[-1:])[0]))
        is_open = self.days.period_of(batch.time_ms) > self.closing.closed
        self._vote(columns, batch, *self._parts(batch, is_open))
        return []

    def _parts(self, batch: Batch, is_open: Mask) -> tuple[Ints, Ints, Ints]:
        """Row, day and length in ms of each part of a call that counts, shape (k,)."""
        newest = self.days.period_of(batch.watermark_ms)
        row = np.flatnonzero(is_open & (batch.fields["duration_ms"] > 0))
        start = batch.time_ms[row]
        call, day, weight = split(self.days, start, start + batch.fields["duration_ms"][row])
        row = row[call]
        reached = day <= newest[row] + AHEAD
        return row[reached], day[reached], weight[reached]

    def _vote(
        self, columns: Mapping[str, NDArray], batch: Batch, row: Ints, day: Ints, weight: Ints
    ) -> None:
        """Add parts of calls to the votes of their days; those of one vote one after the other."""
        slot = batch.slot[row]
        partner = (batch.fields["other_party"][row] >> HASH_SHIFT).astype(np.uint32)
        stored = [columns[field.name] for field in self.fields[:4]]
        place = day % self.votes.width
        for at in rounds(slot * self.votes.width + place):
            cell = slot[at], place[at]
            votes = vote(Votes(*(column[cell] for column in stored)), partner[at], weight[at])
            for column, cells in zip(stored, votes, strict=True):
                column[cell] = cells
            share = self._share(votes)
            columns["monitoring_share"][slot[at], day[at] % self.shares.width] = share

    def _share(self, votes: Votes) -> Ints:
        """The leader's share per mille, zero with less than `talk_ms_min` of calls, shape (n,)."""
        total = votes.total.astype(np.int64)
        share = votes.own.astype(np.int64) * 1000 // np.maximum(total, 1)
        return np.where(total >= self.parameters.talk_ms_min, share, 0)

    def take_back(
        self,
        columns: Mapping[str, NDArray],
        batch: Batch,
        correction: Correction,
        customers: Customers,
    ) -> list[Hit]:
        """Vote again on each day that the call reached into, without the call."""
        siblings = correction.siblings
        days = self._parts(siblings.event, self._was_open(siblings.event))[1]
        slot = int(batch.slot[0])
        return [
            correction.caused(hit)
            for day in days[self.votes.holds(days, self.votes.newest)].tolist()
            for hit in self._vote_again(columns, slot, day, siblings)
        ]

    def _was_open(self, batch: Batch) -> Mask:
        """Whether each call's day was open as it came, shape (n,)."""
        return self.days.period_of(batch.time_ms) > self.closing_period(batch.watermark_ms)

    def _vote_again(
        self, columns: Mapping[str, NDArray], slot: int, day: int, siblings: Siblings
    ) -> list[Hit]:
        """Vote again on a day without a call, if all other calls of the day are remembered."""
        row, of_day, weight = self._parts(siblings.events, self._was_open(siblings.events))
        on_day = of_day == day
        row, weight = row[on_day], weight[on_day]
        place = day % self.votes.width
        if int(weight.sum()) != int(columns["monitoring_total_ms"][slot, place]):
            self.kept += 1
            return []
        share = (slot, day % self.shares.width)
        before = columns["monitoring_share"][share] >= self.parameters.share_per_mille
        columns["monitoring_share"][share] = 0
        for field in self.fields[:4]:
            columns[field.name][slot, place] = 0
        counts = row != siblings.place
        row, weight = row[counts], weight[counts]
        self._vote(columns, siblings.events, row, np.full(len(row), day), weight)
        after = columns["monitoring_share"][share] >= self.parameters.share_per_mille
        if day > self.closing.closed or before == after:
            return []
        if after:
            return list(self._breach(columns, slot, day))
        return [self._hit(columns, slot, day, "cleared", {})]

    def _advance(self, columns: Mapping[str, NDArray], newest: int) -> None:
        """Move on to a newer day: empty the cells that now stand for later days."""
        before = self.votes.newest
        for field in self.fields[:4]:
            self.votes.newest = before
            self.votes.turn(columns[field.name], newest)
        self.shares.turn(columns["monitoring_share"], newest)

    # -- closed days ----------------------------------------------------------------------------

    def close_periods(
        self, columns: Mapping[str, NDArray], periods: range, customers: Customers
    ) -> RuleOutput:
        """Report the breaches of every day that is closed now and whose votes are still kept."""
        days = np.array(periods, np.int64)
        kept = days[self.votes.holds(days, self.votes.newest)].tolist()
        hits = (hit for day in kept for hit in self._breaches_on(columns, day, customers))
        return RuleOutput(hits=tuple(hits))

    def _breaches_on(
        self, columns: Mapping[str, NDArray], day: int, customers: Customers
    ) -> Iterator[Hit]:
        """The breaches of a closed day, in the order of customer ids."""
        share = columns["monitoring_share"][: customers.directory.size, day % self.shares.width]
        slots = np.flatnonzero(share >= self.parameters.share_per_mille)
        named = zip(customers.directory.names(slots), slots.tolist(), strict=True)
        for _, slot in sorted(named):
            yield from self._breach(columns, slot, day)

    def _breach(self, columns: Mapping[str, NDArray], slot: int, day: int) -> Iterator[Hit]:
        """The breach of a customer's day, and a hit if earlier breaches make it regular."""
        shares = self.shares.history(columns["monitoring_share"][slot])
        breaches = {
            d: share
            for d, share in shares.items()
            if d <= day and share >= self.parameters.share_per_mille
        }
        yield self._hit(columns, slot, day, "breach", {})
        for _, more in self.regularly.completed(breaches, day, self.days):
            yield self._hit(columns, slot, day, "regular", more)

    def _hit(
        self,
        columns: Mapping[str, NDArray],
        slot: int,
        day: int,
        level: Level,
        more: dict[str, Any],
    ) -> Hit:
        partner, _, own, total = (
            int(columns[field.name][slot, day % self.votes.width]) for field in self.fields[:4]
        )
        return Hit(
            slot=slot,
            event_time_ms=self.days.bounds(day)[1],
            level=level,
            window=self.days.window(day),
            observed=int(columns["monitoring_share"][slot, day % self.shares.width]),
            limit=self.parameters.share_per_mille,
            unit=ONE_NUMBER.name,
            offset=None,
            evidence={
                "partner_hash": partner,
                "partner_ms": own,
                "total_ms": total,
                "talk_ms_min": self.parameters.talk_ms_min,
                **more,
            },
        )

    # -- state ----------------------------------------------------------------------------------

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Zero the cells that were reused for later days after a row was written."""
        written = self.days.period_of(written_ms)
        for field in self.fields[:4]:
            self.votes.catch_up(columns[field.name], slots, written)
        self.shares.catch_up(columns["monitoring_share"], slots, written)

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The leading partner's share of the newest day, zero below `talk_ms_min` of calls."""
        if self.shares.newest < 0:
            return []
        share = self.shares.history(columns["monitoring_share"][slot]).get(self.shares.newest, 0)
        return [
            Standing(
                window=self.days.window(self.shares.newest),
                observed=share,
                limit=self.parameters.share_per_mille,
                unit=ONE_NUMBER.name,
            )
        ]

    def remember(self) -> Any:
        """A `ClosingMemory`; votes and shares are in the columns."""
        return ClosingMemory(self.votes.newest, self.closing.remember())

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, ClosingMemory)
        self.votes.newest = self.shares.newest = kept.newest
        self.closing.recall(kept.closing)
