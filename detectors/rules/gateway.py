"""A SIM in a SIM box or gateway: calls of many people through one card."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.kernels import sameness, scatter
from detectors.kernels.bit_maps import ELEMENTS_MAX, distinct, words_of
from detectors.rules.contract import Batch, Customers, Declaration, Standing
from detectors.rules.families.scored_day import (
    OPEN_BACK,
    PerMille,
    ScoredDays,
    ScoredParameters,
    Seen,
)
from detectors.state.period_columns import PeriodColumns
from schemas.amounts import Unit
from schemas.policy import LIVE, Positive
from schemas.records import Window
from schemas.safeguards import SUBSCRIPTION
from schemas.units import Ints

SCORE = Unit(
    "gateway per mille",
    "calls that look as if a gateway made them for others",
    symbol="points",
    per=10,
    digits=1,
)


class GatewayParameters(ScoredParameters, kw_only=True, frozen=True):
    """Below `calls_min` calls a day nobody is judged; each sign adds its weight to the score.

    `ratio`: calls made to calls received, or more. `distinct_share`: distinct numbers called, per
    mille of the calls, or more. `sims_min`: customers with the same device in a day, or more.
    """

    calls_min: Annotated[Positive, LIVE]
    ratio: Annotated[Positive, LIVE]
    distinct_share: Annotated[int, Meta(ge=1, le=1000), LIVE]
    sims_min: Annotated[int, Meta(ge=2), LIVE]
    weight_ratio: Annotated[PerMille, LIVE]
    weight_distinct: Annotated[PerMille, LIVE]
    weight_one_place: Annotated[PerMille, LIVE]
    weight_voice_only: Annotated[PerMille, LIVE]
    weight_sims: Annotated[PerMille, LIVE]


class Gateway(ScoredDays):
    """Score a customer's local day by the signs of a SIM box, from `calls_min` calls made.

    What it catches: days with far more calls made than received (received ones that were not
    answered count too, if they have a record), to numbers called only once, from one cell, without
    any text, and several customers of this partition in one device (by the IMEI of the day's first
    call that has one). Each sign that holds adds its weight; the day counts when the sum reaches
    `score_min`.
    What it misses: fewer calls a day; customers with a professional contract unless `applies_to`
    says "all"; SIMs of one box whose customers are in other partitions, so that `sims` is only a
    lower bound; the use of data; hidden or rewritten caller ids; texts of days that the texts'
    watermark has left behind by more than `retention_periods` days; a call that is taken back once
    its day was judged still counts in the `sims` of others with the device.
    Delay: the day's end plus `lateness_hours`, and until texts have passed the day too.
    False alarms: a call centre at home on a consumer contract. Of 9,000 generated customers
    (docs/CURVES.md, seeds 1 to 3) five were wrongly found, all of them among 120 volunteers who
    call a club's members from home. Distinct numbers are estimated from
    128 bits over the day's first 256 calls, with a standard error below a tenth; cells and devices
    are compared by 16 and 32 bits of their hash.

    References
    ----------
    Clauses base-mobile 6.1.2, 6.3.1(i)(ii)(viii).
    """

    name: ClassVar[str] = "gateway"
    declaration: ClassVar[Declaration] = Declaration(
        section="Who it is",
        services=SUBSCRIPTION,
        urgency="fraud",
        may_suspend_at_once=True,
        units=(SCORE,),
        what="signs of a SIM box in a day of {calls_min} own calls or more: calls made to "
        "received, numbers called once, one cell, no text, several SIMs in a device",
        limit="{score_min} points of 1000, or more",
        misses="professional contracts; SIMs of one box in other partitions; hidden caller ids",
    )
    reads: ClassVar[tuple[str, ...]] = ("voice", "sms")
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "voice": ("is_first_part", "is_originated", "other_party", "cell_id", "served_imei"),
        "sms": ("is_sent",),
    }
    Parameters: ClassVar[type[GatewayParameters]] = GatewayParameters

    def rings_of(self, parameters: GatewayParameters) -> dict[str, list[PeriodColumns]]:
        """Two days of calls, and for each day that calls may be behind whether there were texts."""
        calls = {
            "made": "<u2",
            "received": "<u2",
            "called_low": "<u8",
            "called_high": "<u8",
            "cell": "<u2",
            "device": "<u4",
        }
        back = max(OPEN_BACK, parameters.retention_periods)
        self.calls = PeriodColumns(self.name, "voice", OPEN_BACK, calls)
        self.texts = PeriodColumns(self.name, "sms", back, {"sent": "<u1"})
        return {"voice": [self.calls], "sms": [self.texts]}

    def count(self, columns: Mapping[str, NDArray], batch: Batch, row: Ints, day: Ints) -> None:
        """Add calls, or texts, to the cells of their days."""
        if batch.kind == "sms":
            sent = batch.fields["is_sent"][row]
            self.texts.add(
                columns, "sent", batch.slot[row[sent]], day[sent], np.ones_like(day[sent])
            )
            return
        first = batch.fields["is_first_part"][row]
        row, day = row[first], day[first]
        slot, place = batch.slot[row], day % self.calls.ring.width
        made = batch.fields["is_originated"][row]
        one = np.ones(len(row), np.int64)
        self.calls.add(columns, "received", slot[~made], day[~made], one[~made])
        number = self.calls.count(columns, "made", slot[made], day[made], one[made])
        cells = self.calls.of(columns)
        sampled = np.flatnonzero(made)[number <= ELEMENTS_MAX]
        low, high = words_of(batch.fields["other_party"][row[sampled]])
        scatter.set_bits(cells["called_low"], slot[sampled], place[sampled], low)
        scatter.set_bits(cells["called_high"], slot[sampled], place[sampled], high)
        cell = batch.fields["cell_id"][row]
        known = np.flatnonzero(cell)
        sameness.note(cells["cell"], slot[known], place[known], sameness.marks(cell[known]))
        _keep_first(cells["device"], slot, place, batch.fields["served_imei"][row])

    def candidates_of(
        self, columns: Mapping[str, NDArray], kind: str, day: int, customers: Customers
    ) -> Iterator[tuple[int, list[int]]]:
        """Who called enough to reach the score if they sent no texts."""
        if kind != "voice":
            return
        made = self.calls.at(columns, day)["made"][: customers.directory.size]
        slots = np.flatnonzero(made >= self.parameters.calls_min)
        if self.parameters.applies_to == "consumer":
            slots = slots[~customers.is_professional(slots)]
        for slot, seen in zip(slots.tolist(), self._seen(columns, day, slots), strict=True):
            if sum(self._terms(seen, texts=0).values()) >= self.parameters.score_min:
                yield slot, seen

    def _seen(self, columns: Mapping[str, NDArray], day: int, slots: Ints) -> list[list[int]]:
        """What the day's calls of each customer showed."""
        of_day = self.calls.at(columns, day)
        made = of_day["made"][slots].astype(np.int64)
        sampled = np.minimum(made, ELEMENTS_MAX)
        called = distinct(of_day["called_low"][slots], of_day["called_high"][slots])
        one_place = of_day["cell"][slots] > sameness.SEVERAL
        device = of_day["device"]
        known, customers = np.unique(device[np.isin(device, device[slots])], return_counts=True)
        sims = np.zeros(len(slots), np.int64)
        if len(known):
            sims = customers[np.searchsorted(known, device[slots])]
        sims[device[slots] == 0] = 0
        received = of_day["received"][slots]
        seen = (made, received, np.minimum(called, sampled), sampled, one_place, sims)
        return np.stack(seen, axis=1).astype(np.int64).tolist()

    def _terms(self, seen: list[int], texts: int) -> dict[str, int]:
        """What each sign adds to the score."""
        made, received, called, sampled, one_place, sims = seen
        policy = self.parameters
        signs = {
            "ratio": (made >= policy.ratio * received, policy.weight_ratio),
            "distinct": (
                called * 1000 >= policy.distinct_share * sampled,
                policy.weight_distinct,
            ),
            "one_place": (one_place, policy.weight_one_place),
            "voice_only": (texts == 0, policy.weight_voice_only),
            "sims": (sims >= policy.sims_min, policy.weight_sims),
        }
        return {name: weight if holds else 0 for name, (holds, weight) in signs.items()}

    def score(
        self, columns: Mapping[str, NDArray], day: int, slot: int, seen: Seen
    ) -> tuple[int, dict[str, Any]]:
        """The sum of what each sign adds, texts included."""
        texts = int(self.texts.at(columns, day)["sent"][slot]) if self.texts.holds(day) else 0
        terms = self._terms(seen["voice"], texts)
        made, received, called, sampled, one_place, sims = seen["voice"]
        return min(1000, sum(terms.values())), {
            "terms": terms,
            "calls": made,
            "calls_received": received,
            "distinct_called": called,
            "distinct_of_calls": sampled,
            "one_place": bool(one_place),
            "texts": texts,
            "sims_in_partition": sims,
        }

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest day's score so far; below `calls_min` calls it is zero."""
        day = self.calls.ring.newest
        if day < 0:
            return []
        (seen,) = self._seen(columns, day, np.array([slot]))
        score, _ = self.score(columns, day, slot, {"voice": seen})
        start_ms, end_ms = self.days.bounds(day)
        window = Window(kind="day", start_ms=start_ms, end_ms=end_ms)
        observed = score if seen[0] >= self.parameters.calls_min else 0
        unit = f"{self.name} per mille"
        limit = self.parameters.score_min
        return [Standing(window=window, observed=observed, limit=limit, unit=unit)]


def _keep_first(cells: NDArray, slot: Ints, place: Ints, hashes: NDArray[np.uint64]) -> None:
    """Have each cell that is still empty take the first of its rows, as 32 bits."""
    mark = (hashes >> np.uint64(32)).astype(np.int64)
    rows = np.flatnonzero((hashes != 0) & (cells[slot, place] == 0))
    _, first = np.unique(slot[rows] * cells.shape[1] + place[rows], return_index=True)
    rows = rows[first]
    cells[slot[rows], place[rows]] = np.maximum(mark[rows], 1)
