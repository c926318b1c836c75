"""Corrections: the rules take an earlier event back before its replacement counts."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.fold.outcome import Outcome
from detectors.fold.provenance import Origin
from detectors.fold.reporter import Reporter
from detectors.fold.stored_partition import StoredPartition
from detectors.rules.contract import Batch, Correction
from schemas.columns import Columns
from schemas.units import Ints


class Corrections:
    """Takes events back in the order in which their corrections come.

    Parameters
    ----------
    state
        What the partition keeps.
    reporter
        Makes findings of what the rules see.
    """

    def __init__(self, state: StoredPartition, reporter: Reporter) -> None:
        self._state = state
        self._reporter = reporter

    def parts(
        self, batch: Batch, columns: Columns, given: Ints, origin: Origin, outcome: Outcome
    ) -> Iterator[Batch]:
        """The parts of a batch that count, in order; fold each one before you ask for the next.

        What the first event of a part corrects is taken back before the part is handed out. An
        event whose original is not remembered does not count, nor does one that only takes back.

        Parameters
        ----------
        batch
            The events.
        columns
            The same events as they were decoded.
        given
            Row of each event in what the partition was given, shape (n,).
        origin
            Where they were read.
        outcome
            What comes of it is added here.
        """
        ledger = self._state.ledgers.get(batch.kind)
        event, customer, corrects = columns.event_hash, columns.customer_hash, columns.corrects
        if ledger is None or corrects is None or not corrects.any():
            if ledger is not None:
                ledger.note(event, customer, batch)
            yield batch
            return
        correcting = np.flatnonzero(corrects)
        cuts = sorted({0, len(batch.slot), *correcting.tolist(), *(correcting + 1).tolist()})
        for start, end in pairwise(cuts):
            part = batch.part(start, end)
            if corrects[start]:
                back = ledger.take_back(corrects[start:end], customer[start:end], part.newest_ms)
                if back is None:
                    outcome.uncorrectable.append(int(given[start]))
                    outcome.counted -= 1
                    continue
                self._take_back(part, back, origin, outcome)
                if part.fields["void"][0]:
                    continue
            ledger.note(event[start:end], customer[start:end], part)
            yield part

    def _take_back(self, part: Batch, back: NDArray, origin: Origin, outcome: Outcome) -> None:
        """Have the rules undo an event; `part` is the one that corrects it, `back` what counted."""
        state, kind = self._state, part.kind
        ledger = state.ledgers[kind]
        rule_sets = state.trials.rule_sets(part.newest_ms)
        for rules in rule_sets:
            self._reporter.report(rules, rules.close(kind, part.newest_ms), None, outcome)
        state.provenance[kind].note(origin, part.time_ms, part.offset)
        undone = replace(
            part, time_ms=back["time_ms"].astype(np.int64), fields=ledger.fields_of(back)
        )
        correction = Correction(
            event_time_ms=int(part.time_ms[0]),
            offset=int(part.offset[0]),
            corrects=str(part.fields["corrects_text"][0]),
            siblings=ledger.siblings(back, part),
        )
        for rules in rule_sets:
            self._reporter.report(rules, rules.take_back(undone, correction), undone, outcome)
        state.progress.stepped_ms[kind] = part.newest_ms
        state.touch(kind, part.slot)
