"""So much data within minutes that a cell can't bear it."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta

from detectors.rules.contract import Batch, Declaration
from detectors.rules.families.counting import CountingParameters, CountingRule, Limit
from schemas.amounts import Unit
from schemas.policy import LIVE
from schemas.safeguards import SUBSCRIPTION
from schemas.units import Ints

DAY_SECONDS = 86_400


VOLUME = Unit(
    "kilobytes",
    "{observed} MB within minutes where the network bears {limit} MB",
    symbol="MB",
    per=1_000,
    measure="kilobytes",
)


class OverloadParameters(CountingParameters, kw_only=True, frozen=True):
    """`limit_kilobytes` of 1,000 bytes are the most that a rolling window may still hold."""

    limit_kilobytes: Annotated[Limit, LIVE]
    window: Literal["rolling"]
    length_seconds: Annotated[int, Meta(ge=1, le=DAY_SECONDS)]


class Overload(CountingRule):
    """Report the session that takes a customer's use within a rolling window past the limit.

    What it catches: one customer who alone takes what a cell can carry, window after window. A
    session that is longer than the window counts with the share of its bytes that fits into one,
    as if it ran evenly.
    What it misses: many customers who overload a cell together; how full the cell was; records that
    come later than `retention_periods` window lengths; bursts within a long session; long sessions
    at the same time that begin more than a window apart; what is left of a kilobyte, in each
    session.
    Delay: none, it is reported with the record of the session that crosses.
    False alarms: one large download through a free cell. A window of 15 minutes holds up to a step
    more; a session without `duration_ms` counts in full when it starts. Of 9,000 generated
    customers (62 days, seeds 1 to 3) nobody was wrongly found; no real data was at hand.

    References
    ----------
    Clauses base-mobile 6.3.1(v) and base-internet 2.1.
    """

    name: ClassVar[str] = "overload"
    declaration: ClassVar[Declaration] = Declaration(
        section="Data and plans",
        services=SUBSCRIPTION,
        units=(VOLUME,),
        what="bytes of one customer in {length_seconds:time}",
        limit="{limit_kilobytes:kilobytes}",
        misses="many who fill a cell together; how full it was; bursts within a long session; "
        "records that come late by more than the window",
    )
    reads: ClassVar[tuple[str, ...]] = ("data",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {"data": ("bytes", "duration_ms")}
    Parameters: ClassVar[type[OverloadParameters]] = OverloadParameters
    amount_unit: ClassVar[str] = "kilobytes"

    def limit_of(self, parameters: Any) -> int:
        """Most kilobytes that a window may still hold."""
        return parameters.limit_kilobytes

    def pieces(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """What one window can hold of each session, in the step in which it starts."""
        length = self.parameters.length_seconds
        seconds = -(-batch.fields["duration_ms"] // 1000)
        kilobytes = batch.fields["bytes"] // 1000 * length // np.maximum(seconds, length)
        row = np.flatnonzero(kilobytes)
        return row, self.periods.period_of(batch.time_ms[row]), kilobytes[row]
