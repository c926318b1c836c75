"""What "regularly" means: enough of the last periods in breach (rules.md leaves both to policy)."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from schemas.policy import LIVE, Positive, RuleParameters


class RegularParameters(RuleParameters, kw_only=True, frozen=True):
    """`regular_periods` in breach of the last `regular_window` periods are "regularly"."""

    regular_periods: Annotated[Positive, LIVE]
    regular_window: Positive

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        super().__post_init__()
        if self.regular_periods > self.regular_window:
            raise ValueError("`regular_periods` can't be more than `regular_window`")


class Regularly(NamedTuple):
    """`periods` in breach of the last `window`, the last one included; with or without use."""

    periods: int
    window: int

    def completed_by(self, breaches: Mapping[int, Any], this: int) -> list[int]:
        """Periods in breach that became regular by the breach of `this`, oldest first."""
        completed = []
        for last in range(this, this + self.window):
            if last in breaches:
                count = sum(p in breaches for p in range(last - self.window + 1, last + 1))
                if count >= self.periods and (last == this or count - 1 < self.periods):
                    completed.append(last)
        return completed

    def evidence(
        self,
        breaches: Mapping[int, dict[str, Any] | int],
        last: int,
        start_ms: Callable[[int], int],
    ) -> dict[str, Any]:
        """The breaches that made `last` regular, each with its start and what was observed."""
        window = range(last - self.window + 1, last + 1)
        counts = []
        for period in (p for p in window if p in breaches):
            seen = breaches[period]
            more = seen if isinstance(seen, dict) else {"observed": seen}
            counts.append({"start_ms": start_ms(period), **more})
        return {
            "breaches": counts,
            "regular_periods": self.periods,
            "regular_window": self.window,
        }
