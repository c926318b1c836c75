"""The cases of one partition: findings in, actions out, each finding answered once."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.ladder import Case, decide
from schemas.policy import Policy
from schemas.records import Action, Finding

FINDINGS = "findings"
CASES_MEMORY = msgspec.msgpack.Decoder(dict[str, dict[str, int]])
ALL_CASES = msgspec.msgpack.Decoder(dict[str, dict[str, Case]])
CASES_OF_CUSTOMER = msgspec.msgpack.Decoder(dict[str, Case])


class Verdicts:
    """Open cases by customer and rule; the same checkpoint interface as a detector partition."""

    def __init__(self, number: int, policy: Policy) -> None:
        self.number = number
        self.policy = policy
        self.cases: dict[str, dict[str, Case]] = {}
        self.next_offset: dict[str, int] = {}
        self._dirty: set[str] = set()

    def fold(self, findings: Sequence[Finding], offsets: Sequence[int]) -> list[Action]:
        """Answer findings in the partition's order; those behind the fence were answered before."""
        actions: list[Action] = []
        expected = self.next_offset.get(FINDINGS, 0)
        for finding, offset in zip(findings, offsets, strict=True):
            if offset < expected or finding.rule not in self.policy.rules:
                continue
            of_customer = self.cases.setdefault(finding.customer_id, {})
            before = of_customer.get(finding.rule, Case())
            after, decided = decide(before, finding, self.policy)
            if after is not before:
                of_customer[finding.rule] = after
                self._dirty.add(finding.customer_id)
            actions += decided
        if offsets:
            self.passed(FINDINGS, offsets[-1])
        return actions

    def passed(self, kind: str, offset: int) -> None:
        """Everything up to this offset was seen, whether or not it could be used."""
        self.next_offset[kind] = max(self.next_offset.get(kind, 0), offset + 1)

    def changes(self, everything: bool = False) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Keys and values of every customer's cases touched since the last call."""
        customers = sorted(self.cases) if everything else sorted(self._dirty)
        self._dirty = set()
        if customers:
            keys = [b"case/" + customer.encode() for customer in customers]
            cases = [self.cases.get(customer, {}) for customer in customers]
            yield keys, [msgspec.msgpack.encode(of_customer) for of_customer in cases]

    def remember(self) -> bytes:
        """What belongs to the partition as a whole."""
        return msgspec.msgpack.encode({"next_offset": self.next_offset})

    def restore(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Put stored cases back; `recall` has to follow before the next finding."""
        for key, value in zip(keys, values, strict=True):
            self.cases[key.partition(b"/")[2].decode()] = CASES_OF_CUSTOMER.decode(value)

    def recall(self, memory: bytes) -> None:
        """Take back what `remember` gave."""
        self.next_offset = CASES_MEMORY.decode(memory)["next_offset"]

    def arrays(self) -> dict[str, NDArray]:
        """Every case, for a snapshot."""
        packed = msgspec.msgpack.encode(self.cases)
        return {"cases": np.frombuffer(packed, np.uint8)}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        self.cases = ALL_CASES.decode(arrays["cases"].tobytes())

    def set_aside(self) -> None:
        """Nothing to do: a case says all there is to say of itself."""

    def rewrite(self, keys: Sequence[bytes]) -> None:
        """Store these cases again at the next checkpoint, because a lost writer touched them.

        Cases that only the lost writer had are stored empty.
        """
        self._dirty.update(key.partition(b"/")[2].decode() for key in keys)
