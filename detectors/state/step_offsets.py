"""Which event of each kind was the last one before its watermark left a step."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np

from schemas.units import Ints

STEPS_MAX = 10_000
"""Steps remembered of each kind; more than three months of a quarter of an hour each."""


class StepOffsets:
    """By kind, the last offset of each step of its watermark, for steps that are not closed yet.

    Parameters
    ----------
    step_ms
        Length of a step, ms.
    kinds
        The kinds of events.
    """

    def __init__(self, step_ms: int, kinds: Sequence[str]) -> None:
        self.step_ms = step_ms
        self._last: dict[str, list[tuple[int, int]]] = {kind: [] for kind in kinds}

    def note(self, kind: str, watermark_ms: Ints, offset: Ints) -> None:
        """Take in a batch, whose watermarks never fall."""
        first, last = int(watermark_ms[0]) // self.step_ms, int(watermark_ms[-1]) // self.step_ms
        known = self._last[kind]
        if known and known[-1][0] == first:
            known.pop()
        if first < last:
            ends_ms = np.arange(first + 1, last + 1) * self.step_ms
            rows = np.searchsorted(watermark_ms, ends_ms) - 1
            # Of a step without events the row of an earlier step comes again.
            steps = (watermark_ms[rows] // self.step_ms).tolist()
            known += dict(zip(steps, offset[rows].tolist(), strict=True)).items()
        known.append((last, int(offset[-1])))
        del known[:-STEPS_MAX]

    def at(self, step: int) -> dict[str, int]:
        """The last offset of each kind by the end of a step; -1 for none."""
        return {
            kind: next((offset for of, offset in reversed(known) if of <= step), -1)
            for kind, known in self._last.items()
        }

    def forget(self, closed: int) -> None:
        """Drop the steps before the last one that each kind has up to this step."""
        for known in self._last.values():
            del known[: max(0, bisect_left(known, (closed + 1,)) - 1)]

    def remember(self) -> dict[str, list[tuple[int, int]]]:
        """Steps and offsets by kind."""
        return self._last

    def recall(self, memory: Mapping[str, Sequence[tuple[int, int]]]) -> None:
        """Take back what `remember` gave."""
        self._last |= {kind: list(known) for kind, known in memory.items()}
