"""A SIM in a SIM box or gateway: many people call through one card."""

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
    Features,
    PerMille,
    ScoredDays,
    ScoredParameters,
)
from detectors.state.period_columns import PeriodColumns
from schemas.amounts import Unit
from schemas.policy import LIVE, Positive, RuleParameters
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
    """A day is scored from `calls_min` calls on; each sign adds its weight to the score.

    The signs hold from these values on. `ratio`: calls made for each call received.
    `distinct_share`: distinct numbers called, per mille of the calls. `sims_min`: customers with
    the same device in a day.
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
    call that has one). Each sign that holds adds its weight; the day is in breach when the sum
    reaches `score_min`.
    What it misses: fewer calls a day; customers with a professional contract unless `applies_to`
    says "all"; SIMs of one box whose customers are in other partitions, so that `sims` is only a
    lower bound; the use of data; hidden or rewritten caller ids; texts of days that are more than
    `retention_periods` days before the watermark of texts; a call that is taken back after its day
    was scored still counts in the `sims` of others with the device.
    Delay: the day's end plus `lateness_hours`, and until texts have closed the day too.
    False alarms: a call centre at home on a consumer contract. Of 9,000 generated customers
    (docs/CURVES.md, seeds 1 to 3) five were wrongly found, all of them among 120 volunteers who
    call a club's members from home. Distinct numbers are estimated from 128 bits over the day's
    first 256 calls, with a standard error below a tenth; cells and devices are compared by 16 and
    32 bits of their hash.

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
    Parameters: ClassVar[type[RuleParameters]] = GatewayParameters

    def rings_of(self, parameters: GatewayParameters) -> dict[str, list[PeriodColumns]]:
        """Two days of calls, and texts of each day by which calls may be behind."""
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
    ) -> Iterator[tuple[int, Features]]:
        """Customers whose calls reach the score if they sent no texts."""
        if kind != "voice":
            return
        made = self.calls.at(columns, day)["made"][: customers.directory.size]
        slots = np.flatnonzero(made >= self.parameters.calls_min)
        if self.parameters.applies_to == "consumer":
            slots = slots[~customers.is_professional(slots)]
        for slot, features in zip(slots.tolist(), self._features(columns, day, slots), strict=True):
            if sum(self._terms(features, texts=0).values()) >= self.parameters.score_min:
                yield slot, features

    def _features(self, columns: Mapping[str, NDArray], day: int, slots: Ints) -> list[Features]:
        """The features of each customer's calls of a day."""
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
        numbers = {
            "calls": made,
            "calls_received": of_day["received"][slots],
            "distinct_called": np.minimum(called, sampled),
            "distinct_of_calls": sampled,
            "one_place": one_place,
            "sims_in_partition": sims,
        }
        rows = np.stack([*numbers.values()], axis=1).astype(np.int64).tolist()
        return [dict(zip(numbers, row, strict=True)) for row in rows]

    def _terms(self, calls: Features, texts: int) -> dict[str, int]:
        """What each sign adds to the score."""
        policy = self.parameters
        distinct_min = policy.distinct_share * calls["distinct_of_calls"]
        signs = {
            "ratio": (
                calls["calls"] >= policy.ratio * calls["calls_received"],
                policy.weight_ratio,
            ),
            "distinct": (calls["distinct_called"] * 1000 >= distinct_min, policy.weight_distinct),
            "one_place": (calls["one_place"], policy.weight_one_place),
            "voice_only": (texts == 0, policy.weight_voice_only),
            "sims": (calls["sims_in_partition"] >= policy.sims_min, policy.weight_sims),
        }
        return {name: weight if holds else 0 for name, (holds, weight) in signs.items()}

    def score(
        self, columns: Mapping[str, NDArray], day: int, slot: int, features: Mapping[str, Features]
    ) -> tuple[int, dict[str, Any]]:
        """The sum of what the signs of calls and texts add."""
        texts = int(self.texts.at(columns, day)["sent"][slot]) if self.texts.holds(day) else 0
        calls = dict(features["voice"])
        terms = self._terms(calls, texts)
        one_place, sims = bool(calls.pop("one_place")), calls.pop("sims_in_partition")
        return min(1000, sum(terms.values())), {
            "terms": terms,
            **calls,
            "one_place": one_place,
            "texts": texts,
            "sims_in_partition": sims,
        }

    def standing(
        self, columns: Mapping[str, NDArray], slot: int, customers: Customers
    ) -> list[Standing]:
        """The newest day's score so far; zero below `calls_min` calls."""
        day = self.calls.ring.newest
        if day < 0:
            return []
        (calls,) = self._features(columns, day, np.array([slot]))
        score, _ = self.score(columns, day, slot, {"voice": calls})
        is_scored = calls["calls"] >= self.parameters.calls_min
        return [self.standing_on(day, score if is_scored else 0)]


def _keep_first(cells: NDArray, slot: Ints, place: Ints, hashes: NDArray[np.uint64]) -> None:
    """Store in each cell that is still empty 32 bits of the first row with a hash."""
    mark = (hashes >> np.uint64(32)).astype(np.int64)
    rows = np.flatnonzero((hashes != 0) & (cells[slot, place] == 0))
    _, first = np.unique(slot[rows] * cells.shape[1] + place[rows], return_index=True)
    rows = rows[first]
    cells[slot[rows], place[rows]] = np.maximum(mark[rows], 1)
