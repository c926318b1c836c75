"""One customer uses so much data within minutes that it may overload a radio cell."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta

from detectors.rules.contract import Batch, Declaration
from detectors.rules.families.counting import CountingParameters, CountingRule, Limit
from schemas.amounts import Unit
from schemas.policy import LIVE, Policy, RuleParameters
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
    """`limit_kilobytes` (of 1,000 bytes) is the most that a rolling window may still contain."""

    limit_kilobytes: Annotated[Limit, LIVE]
    # Fields that have a default in the base class are required here.
    window: Literal["rolling"]  # pyright: ignore[reportGeneralTypeIssues]
    length_seconds: Annotated[  # pyright: ignore[reportGeneralTypeIssues]
        int, Meta(ge=1, le=DAY_SECONDS)
    ]


class Overload(CountingRule):
    """Report the session that takes a customer's use within a rolling window past the limit.

    What it catches: one customer who alone uses what a radio cell can carry. Of a session that is
    longer than the window, only the bytes of one window length count, as if it ran evenly.
    What it misses: many customers who overload a cell together; how full the cell was; records that
    come later than `retention_periods` window lengths; bursts within a long session; long sessions
    at the same time that begin more than a window apart; the last bytes of each session, which are
    less than a kilobyte.
    Delay: none, it is reported with the record of the session that crosses.
    False alarms: one large download through a cell that is otherwise free. A window covers up to
    one step more than its length; a session without `duration_ms` counts in full when it starts. Of
    9,000 generated customers (62 days, seeds 1 to 3) nobody was wrongly found; no real data was at
    hand.

    References
    ----------
    Clauses base-mobile 6.3.1(v) and base-internet 2.1.
    """

    name: ClassVar[str] = "overload"
    declaration: ClassVar[Declaration] = Declaration(
        section="Data and plans",
        services=SUBSCRIPTION,
        units=(VOLUME,),
        what="bytes of one customer in {length_seconds:seconds}",
        limit="{limit_kilobytes:kilobytes}",
        misses="many who fill a cell together; how full it was; bursts within a long session; "
        "records that come late by more than the window",
    )
    reads: ClassVar[tuple[str, ...]] = ("data",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {"data": ("bytes", "duration_ms")}
    Parameters: ClassVar[type[RuleParameters]] = OverloadParameters

    def __init__(self, parameters: OverloadParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.length_seconds = parameters.length_seconds

    def limit_of(self, parameters: Any) -> int:
        """Most kilobytes that a window may still contain."""
        return parameters.limit_kilobytes

    def pieces(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """Kilobytes of each session within one window length, in the step where it starts."""
        length, seconds = self.length_seconds, -(-batch.fields["duration_ms"] // 1000)
        kilobytes = batch.fields["bytes"] // 1000 * length // np.maximum(seconds, length)
        row = np.flatnonzero(kilobytes)
        return row, self.periods.period_of(batch.time_ms[row]), kilobytes[row]
