"""How much is measured."""

from dataclasses import dataclass

PARTITIONS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Sizes of one run.

    Plain Faust is measured for `plain_seconds` after `warm_seconds`; `loaded_per_s_max` bounds the
    load under which latency is measured, and with it the events made for it; `cases` are open while
    the speed of the ladder is.
    """

    quick: bool
    events: int
    customers: int
    plain_seconds: float
    warm_seconds: float
    latency_seconds: float
    loaded_per_s_max: int
    state_customers: int
    cases: int


FULL = Scale(
    quick=False,
    events=1_000_000,
    customers=100_000,
    plain_seconds=12,
    warm_seconds=3,
    latency_seconds=10,
    loaded_per_s_max=150_000,
    state_customers=1_000_000,
    cases=1_000_000,
)
QUICK = Scale(
    quick=True,
    events=200_000,
    customers=100_000,
    plain_seconds=3,
    warm_seconds=1,
    latency_seconds=3,
    loaded_per_s_max=25_000,
    state_customers=200_000,
    cases=100_000,
)
