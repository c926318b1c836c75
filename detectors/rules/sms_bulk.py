"""Bulk messages: to very many recipients at a time, of whom hardly one ever answers."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta, Struct, convert
from numpy.typing import NDArray

from detectors.kernels import scatter
from detectors.kernels.linear_counting import estimates
from detectors.periods.ring import PeriodRing, Steps
from detectors.rules.contract import Batch, Customers, Declaration, Hit
from detectors.rules.families.distinct import Crossing, DistinctMemory, RollingParameters, Sightings
from detectors.rules.families.distinct_corrections import CorrectableDistinct
from detectors.state.columns import Field
from schemas import amounts
from schemas.hashing import mix
from schemas.policy import LIVE, Policy, Positive, RuleParameters
from schemas.units import DAY_MS, Ints, Mask

WORD_BITS = 64
RECIPIENT_WORDS = 4
WORDS = RECIPIENT_WORDS + 1
"""Words of a half: 256 bits for recipients, and in the last word bits for those who answered."""

HALVES = 3
"""Halves of the history that are kept: two complete ones, and the current one."""

RECIPIENTS = estimates(RECIPIENT_WORDS * WORD_BITS)
ANSWERED = estimates(WORD_BITS)


class SmsBulkParameters(RollingParameters, kw_only=True, frozen=True):
    """`recipients` within the window are still allowed, and more of them if enough answer.

    Enough is `answered_percent` or more of the recipients of the last `history_days`.
    """

    recipients: Annotated[Positive, LIVE]
    answered_percent: Annotated[int, Meta(ge=1, le=100), LIVE]
    history_days: Annotated[int, Meta(ge=1, le=366)]


class BulkMemory(Struct, frozen=True):
    """What is remembered of the windows, and the newest half of the history."""

    windows: DistinctMemory
    newest_half: int


class Bits(NamedTuple):
    """Bits that a part of a batch adds to the maps; columns of shape (n,).

    `cells` are the maps as they were before, shape (slots, halves, words).
    """

    cells: NDArray[np.uint64]
    slot: Ints
    half: Ints
    recipient_bit: Ints
    answer_bit: Ints
    is_sent: Mask
    is_answer: Mask
    rows_of: dict[int, Ints]
    """Rows by slot, of the slots that `own` was asked about."""

    def own(self, row: int) -> Ints:
        """The rows of the same slot, up to this row and including it."""
        slot = int(self.slot[row])
        if slot not in self.rows_of:
            self.rows_of[slot] = np.flatnonzero(self.slot == slot)
        rows = self.rows_of[slot]
        return rows[: np.searchsorted(rows, row, side="right")]


class SmsBulk(CorrectableDistinct):
    """Report the message to one recipient more than allowed, if hardly any recipient ever answers.

    What it catches: bulk senders, whatever they write, at the first message at which both hold:
    more than 100 distinct recipients within the hour, and under a tenth of the recipients of the
    last 30 days (45 at most) have answered. SMS and MMS count.
    What it misses: senders below 100 an hour; those who write mostly to people that answer. Both
    counts of the 30 days are estimates: recipients with a standard error below 10 % up to 750,
    those who answered below 20 % up to 190. The estimates end at 1,420 and 266, so a sender with
    142 answers is never reported, however many they write to. A stranger's message counts as an
    answer if the bit of that stranger is set by chance: in a third of the cases at 100 recipients.
    A message that is taken back stays in both counts, but not in the window.
    Delay: none, it is reported with the message that crosses.
    False alarms: an invitation to 101 people by somebody who texts with few of them otherwise: it
    is reported before they answer. Of 9,000 generated customers (docs/CURVES.md, seeds 1 to 3) 33
    were wrongly found, all of them among 120 who call up to 250 people to meetings.

    References
    ----------
    Clauses base-mobile 6.3.2(ii) and 6.4.1(i)(b). Whang, Vander-Zanden, Taylor: A linear-time
    probabilistic counting algorithm for database applications, 1990.
    """

    name: ClassVar[str] = "sms_bulk"
    declaration: ClassVar[Declaration] = Declaration(
        section="Texts",
        services=("sms",),
        units=(amounts.RECIPIENTS,),
        what="recipients in {length_seconds:seconds} (SMS or MMS), if under {answered_percent} % "
        "of those of {history_days} days ever answered",
        limit="{recipients} recipients",
        misses="senders below the limit, or whom enough answer; the share is an estimate",
    )
    reads: ClassVar[tuple[str, ...]] = ("sms",)
    remembers: ClassVar[Mapping[str, tuple[str, ...]]] = {"sms": ("is_originated", "recipient")}
    Parameters: ClassVar[type[RuleParameters]] = SmsBulkParameters

    def __init__(self, parameters: SmsBulkParameters, policy: Policy) -> None:
        super().__init__(parameters, policy)
        self.halves = Steps(parameters.history_days * DAY_MS // 2)
        self.ring = PeriodRing(HALVES - 1)
        self.fields = (Field(self.name, "<u8", HALVES * WORDS),)
        self._bits: Bits

    def fold(self, columns: Mapping[str, NDArray], batch: Batch, customers: Customers) -> list[Hit]:
        """Fold the parts of the batch that lie in different halves of the history, in order."""
        cells = columns[self.name].reshape(-1, HALVES, WORDS)
        hits = []
        for part in self._by_half(batch):
            self.ring.turn(cells, int(self.halves.period_of(part.watermark_ms[-1:])[0]))
            self._bits = self._bits_of(cells, part, customers)
            hits += super().fold(columns, part, customers)
            _set_bits(self._bits)
        return hits

    def _by_half(self, batch: Batch) -> Iterator[Batch]:
        newest = self.halves.period_of(batch.watermark_ms)
        ends = np.flatnonzero(newest[1:] != newest[:-1]) + 1
        for start, end in pairwise((0, *ends.tolist(), len(newest))):
            yield batch.part(start, end)

    def _bits_of(self, cells: NDArray, batch: Batch, customers: Customers) -> Bits:
        in_time = self.accepts(batch.time_ms, batch.watermark_ms)
        is_sent = batch.fields["is_originated"] & in_time
        customer = customers.directory.hashes(batch.slot)
        spread = mix(customer, batch.fields["recipient"])
        bits = Bits(
            cells=cells,
            slot=batch.slot,
            half=self.halves.period_of(batch.time_ms) % HALVES,
            recipient_bit=(spread >> np.uint64(56)).astype(np.int64),
            answer_bit=((spread >> np.uint64(50)) & np.uint64(63)).astype(np.int64),
            is_sent=is_sent,
            is_answer=np.zeros(len(in_time), bool),
            rows_of={},
        )
        received = np.flatnonzero(~batch.fields["is_originated"] & in_time)
        bits.is_answer[received[_is_to_recipient(bits, received)]] = True
        return bits

    def sightings(self, batch: Batch, customers: Customers) -> Sightings:
        """Each recipient, as an element of the sender."""
        row = np.flatnonzero(batch.fields["is_originated"])
        customer = customers.directory.hashes(batch.slot[row])
        recipient = batch.fields["recipient"][row]
        return Sightings.of_spans(row, (customer, recipient, self.parameters.recipients + 1))

    def is_breach(self, batch: Batch, row: int) -> bool:
        """Whether too few of the recipients have answered up to this row."""
        recipients, answered = self._counts(row)
        return 100 * answered < self.parameters.answered_percent * recipients

    def evidence(self, batch: Batch, crossing: Crossing) -> dict[str, Any]:
        """The estimated numbers of recipients and of those who answered, in the history."""
        recipients, answered = self._counts(crossing.row)
        return {"history_recipients": recipients, "history_answered": answered}

    def history_from_ms(self) -> int:
        """Start of the oldest half of the history."""
        return self.halves.bounds(self.ring.newest - self.ring.back)[0]

    def _counts(self, row: int) -> tuple[int, int]:
        """Recipients of a row's customer and how many of them answered, up to and with the row.

        There are at least as many recipients as make a window hot.
        """
        bits = self._bits
        own = bits.own(row)
        words = np.bitwise_or.reduce(bits.cells[bits.slot[row]], axis=0)
        known = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little").astype(bool)
        recipients, answered = np.split(known, [RECIPIENT_WORDS * WORD_BITS])
        recipients[bits.recipient_bit[own[bits.is_sent[own]]]] = True
        answered[bits.answer_bit[own[bits.is_answer[own]]]] = True
        most = max(int(RECIPIENTS[recipients.sum()]), self.parameters.recipients + 1)
        return most, int(ANSWERED[answered.sum()])

    def catch_up(
        self, kind: str, columns: Mapping[str, NDArray], slots: Ints, written_ms: Ints
    ) -> None:
        """Zero the maps that were reused for later halves after a row was written."""
        cells = columns[self.name].reshape(-1, HALVES, WORDS)
        for word in range(WORDS):
            self.ring.catch_up(cells[:, :, word], slots, self.halves.period_of(written_ms))

    def remember(self) -> Any:
        """A `BulkMemory`; the maps are in the columns."""
        return BulkMemory(super().remember(), self.ring.newest)

    def recall(self, memory: Any) -> None:
        """Take back what `remember` gave."""
        kept = convert(memory, BulkMemory)
        super().recall(kept.windows)
        self.ring.newest = kept.newest_half


def _is_to_recipient(bits: Bits, received: Ints) -> Mask:
    """Whether each received message comes from an earlier recipient, shape of `received`."""
    slot, bit = bits.slot[received], bits.recipient_bit[received]
    maps = np.bitwise_or.reduce(bits.cells[slot], axis=1)
    words = maps[np.arange(len(slot)), bit // WORD_BITS]
    before = (words >> (bit % WORD_BITS).astype(np.uint64)) & np.uint64(1) != 0
    # The batch's own messages from slots that also received: the first row that sets each bit.
    has_received = np.zeros(len(bits.cells), bool)
    has_received[slot] = True
    sent = np.flatnonzero(bits.is_sent & has_received[bits.slot])
    size = RECIPIENT_WORDS * WORD_BITS
    keys, first = np.unique(bits.slot[sent] * size + bits.recipient_bit[sent], return_index=True)
    if len(keys) == 0:
        return before
    key = slot * size + bit
    place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    return before | ((keys[place] == key) & (sent[first[place]] < received))


def _set_bits(bits: Bits) -> None:
    """Set the bits of a part of a batch in the maps."""
    sent, answer = np.flatnonzero(bits.is_sent), np.flatnonzero(bits.is_answer)
    start = bits.half * WORDS
    place = np.r_[start[sent] + bits.recipient_bit[sent] // WORD_BITS, start[answer] + WORDS - 1]
    bit = np.r_[bits.recipient_bit[sent] % WORD_BITS, bits.answer_bit[answer]]
    cells = bits.cells.reshape(len(bits.cells), -1)
    slot = bits.slot[np.r_[sent, answer]]
    scatter.set_bits(cells, slot, place, np.uint64(1) << bit.astype(np.uint64))
