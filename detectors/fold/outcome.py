"""What a batch of events led to in a partition."""

from dataclasses import dataclass, field
from operator import itemgetter

from schemas.columns import Columns
from schemas.decode import Reject
from schemas.records import CohortPartial, Finding

TOO_LATE = "older than every rule still takes"
CLOSED = -1
"""In place of an offset: the finding is of a period, and comes before those of later events."""

Place = tuple[int, int]
"""The watermark at which something was found, and the offset of the event that crossed a limit, or
`CLOSED`. A mean that comes before its period is closed leads to findings at the closing, although
they count only later."""

UNCORRECTABLE = "the event it corrects is not remembered, or was corrected before"


@dataclass(slots=True)
class Outcome:
    """What a batch led to; `too_late` and `uncorrectable` are rows of the columns handed in.

    An event is uncorrectable when what it corrects is not remembered, or was corrected before.
    """

    placed: list[tuple[Place, Finding]] = field(default_factory=list)
    """Findings, rule by rule, each with where it was found."""
    partials: list[CohortPartial] = field(default_factory=list)
    too_late: list[int] = field(default_factory=list)
    uncorrectable: list[int] = field(default_factory=list)
    counted: int = 0
    late: int = 0
    duplicates: int = 0
    redelivered: int = 0
    unannounced: int = 0

    @property
    def findings(self) -> list[Finding]:
        """The findings in an order that does not depend on where batches end."""
        ordered = sorted(self.placed, key=itemgetter(0))
        return [finding for _, finding in ordered]

    def rejects(self, columns: Columns) -> list[Reject]:
        """What could not be used of these columns, and why."""
        late = ((row, "too_late", TOO_LATE) for row in self.too_late)
        odd = ((row, "correction", UNCORRECTABLE) for row in self.uncorrectable)
        return [
            Reject(int(columns.record[row]), reason, detail)
            for row, reason, detail in (*late, *odd)
        ]
