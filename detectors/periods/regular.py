"""What "regularly" means: a number of the last periods in breach; the policy gives both numbers."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from detectors.periods.ring import Periods
from schemas.policy import LIVE, Positive, RuleParameters


class RegularParameters(RuleParameters, kw_only=True, frozen=True):
    """Regularly means: `regular_periods` in breach among the last `regular_window` periods."""

    regular_periods: Annotated[Positive, LIVE]
    regular_window: Positive

    def __post_init__(self) -> None:
        """Refuse more periods than the window has."""
        super().__post_init__()
        if self.regular_periods > self.regular_window:
            raise ValueError("`regular_periods` can't be more than `regular_window`")


class Regularly(NamedTuple):
    """At least `periods` in breach among the last `window`, which includes those without use."""

    periods: int
    window: int

    def completed(
        self, breaches: Mapping[int, dict[str, Any] | int], this: int, periods: Periods
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The periods that the breach of `this` made regular, oldest first, with their evidence."""
        for last in self.completed_by(breaches, this):
            yield last, self._evidence(breaches, last, periods)

    def completed_by(self, breaches: Mapping[int, Any], this: int) -> list[int]:
        """The periods in breach that the breach of `this` made regular, oldest first."""
        completed = []
        for last in range(this, this + self.window):
            if last in breaches:
                count = sum(p in breaches for p in range(last - self.window + 1, last + 1))
                if count >= self.periods and (last == this or count - 1 < self.periods):
                    completed.append(last)
        return completed

    def _evidence(
        self, breaches: Mapping[int, dict[str, Any] | int], last: int, periods: Periods
    ) -> dict[str, Any]:
        """The breaches that made `last` regular: start of each and what was observed."""
        window = range(last - self.window + 1, last + 1)
        counts = []
        for period in (p for p in window if p in breaches):
            seen = breaches[period]
            more = seen if isinstance(seen, dict) else {"observed": seen}
            counts.append({"start_ms": periods.bounds(period)[0], **more})
        return {
            "breaches": counts,
            "regular_periods": self.periods,
            "regular_window": self.window,
        }
