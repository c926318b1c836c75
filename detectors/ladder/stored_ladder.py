"""What the ladder of a partition keeps: packed dossiers, and when to look at each of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.ladder.alarms import Alarms
from detectors.ladder.brake import Brake, BrakeMemory, HeldAction
from detectors.ladder.dossier import (
    NEVER_MS,
    UNPLACED,
    Dossier,
    customer_of,
    key_of,
    pack_dossier,
    unpack_dossier,
)
from detectors.ladder.timers import next_due_ms
from detectors.policies.editions import Edition
from detectors.policies.timeline import Timeline
from detectors.state.version import STATE_VERSION, read_memory
from schemas.policy import Policy
from schemas.records import Service

SERVICES: tuple[Service, ...] = get_args(Service)

CASES = msgspec.msgpack.Decoder(dict[str, bytes])
EMPTY = pack_dossier(Dossier())
CASE, POLICY = b"case/", b"policy/"
"""What the keys of stored rows begin with."""
POLICIES = "policies."
"""What the names of a snapshot's columns begin with that hold policies."""


class LadderMemory(Struct, frozen=True):
    """What belongs to the partition as a whole, as the marker of a checkpoint holds it."""

    version: int
    next_offset: dict[str, int]
    brake: BrakeMemory


class StoredLadder:
    """What a ladder keeps, and its way to the changelog, to snapshots and back.

    Parameters
    ----------
    number
        The partition.
    policy
        The rules and the ladder, until one that is announced takes effect.
    """

    def __init__(self, number: int, policy: Policy) -> None:
        self.number = number
        self.timeline = Timeline(policy)
        self._brake = Brake(policy.ladder)
        self.cases: dict[str, bytes] = {}
        """The dossier of each customer's service, packed, by key."""
        self.next_offset: dict[str, int] = {}
        self._dirty: set[str] = set()
        self._alarms: Alarms | None = None

    def passed(self, kind: str, offset: int) -> None:
        """Everything up to this offset was seen, whether or not it could be used."""
        self.next_offset[kind] = max(self.next_offset.get(kind, 0), offset + 1)

    def announce_policy(self, edition: Edition) -> bool:
        """Take in a policy that holds from its time on; False if it was known already."""
        is_news = self.timeline.announce(edition)
        if is_news:
            # Timers may fire earlier under the new policy.
            self._alarms = None
        return is_news

    # -- checkpoints -----------------------------------------------------------------------------

    def changes(self, everything: bool = False) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Keys and values of every dossier touched since the last call."""
        touched = sorted(self.cases) if everything else sorted(self._dirty)
        self._dirty = set()
        if touched:
            keys = [CASE + key.encode() for key in touched]
            yield keys, [self.cases.get(key, EMPTY) for key in touched]
        if everything:
            self.timeline.rewrite()
        if chunks := self.timeline.changes():
            yield [POLICY + b"%d" % number for number, _ in chunks], [kept for _, kept in chunks]

    def remember(self) -> bytes:
        """What belongs to the partition as a whole."""
        memory = LadderMemory(STATE_VERSION, self.next_offset, self._brake.remember())
        return msgspec.msgpack.encode(memory)

    def restore(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Put stored dossiers and policies back; `recall` has to follow before the next finding."""
        self._alarms = None
        for key, value in zip(keys, values, strict=True):
            if key.startswith(POLICY):
                self.timeline.restore(int(key.removeprefix(POLICY)), value)
                continue
            name = key.removeprefix(CASE).decode()
            if value == EMPTY:
                self.cases.pop(name, None)
            else:
                self.cases[name] = value

    def recall(self, memory: bytes) -> None:
        """Take back what `remember` gave.

        Raises
        ------
        LayoutError
            If it is of another version.
        """
        self._alarms = None
        kept = read_memory(memory, LadderMemory, f"the stored ladder of partition {self.number}")
        self.next_offset = kept.next_offset
        self._brake.recall(kept.brake)

    def arrays(self) -> dict[str, NDArray]:
        """Every dossier and every policy, for a snapshot."""
        packed = msgspec.msgpack.encode(self.cases)
        policies = {POLICIES + name: array for name, array in self.timeline.arrays().items()}
        return {"cases": np.frombuffer(packed, np.uint8), **policies}

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        self._alarms = None
        self.cases = CASES.decode(arrays["cases"].tobytes())
        stored = (name for name in arrays if name.startswith(POLICIES))
        self.timeline.take_arrays({name.removeprefix(POLICIES): arrays[name] for name in stored})

    def set_aside(self) -> None:
        """Nothing to do: stored dossiers do not depend on the watermark."""

    def rewrite(self, keys: Sequence[bytes]) -> None:
        """Store these dossiers again at the next checkpoint, because a lost writer touched them.

        Those that only the lost writer had are stored empty.
        """
        spoiled = (key.removeprefix(CASE) for key in keys if key.startswith(CASE))
        self._dirty.update(key.decode() for key in spoiled)
        if any(key.startswith(POLICY) for key in keys):
            self.timeline.rewrite()

    # -- dossiers ---------------------------------------------------------------------------------

    def keys_of(self, customer_id: str) -> list[str]:
        """The keys of a customer's dossiers, in a fixed order of services."""
        keys = (key_of(service, customer_id) for service in SERVICES)
        return [key for key in keys if key in self.cases]

    def dossier(self, key: str) -> Dossier:
        """The dossier that is kept under a key; an empty one if none is."""
        packed = self.cases.get(key)
        return Dossier() if packed is None else unpack_dossier(packed)

    def keep(self, key: str, dossier: Dossier, unplaced: Dossier) -> None:
        """Pack a dossier again, and what is kept of its customer under no service; set alarms."""
        customer_id = customer_of(key)
        self._store(key, customer_id, dossier, unplaced)
        unplaced_key = key_of(UNPLACED, customer_id)
        if unplaced is not dossier and unplaced_key in self.cases:
            self._store(unplaced_key, customer_id, unplaced, unplaced)

    def _store(self, key: str, customer_id: str, dossier: Dossier, unplaced: Dossier) -> None:
        before = self.cases.get(key)
        if dossier.is_empty:
            if before is not None:
                del self.cases[key]
                self._dirty.add(key)
                self.alarms.set(key, NEVER_MS)
            return
        packed = pack_dossier(dossier)
        if packed != before:
            self.cases[key] = packed
            self._dirty.add(key)
        self.alarms.set(key, self._due_ms(customer_id, dossier, unplaced))

    def _due_ms(self, customer_id: str, dossier: Dossier, unplaced: Dossier) -> int:
        """When to look at a service again: with the first timer, or another policy before it."""
        policy = self.timeline.policy_of(customer_id, dossier.clock_ms)
        due_ms = next_due_ms(dossier, policy, unplaced.early)
        return min([due_ms, *self.timeline.changes_between(dossier.clock_ms, due_ms)])

    @property
    def alarms(self) -> Alarms:
        """When to look at each dossier."""
        if self._alarms is None:
            self._alarms = self._index()
        return self._alarms

    @property
    def brake(self) -> Brake:
        """The brake, and what it holds back."""
        if self._alarms is None:
            self._alarms = self._index()
        return self._brake

    def _index(self) -> Alarms:
        """Find out, after dossiers were read back, when each is due and what the brake holds."""
        due_ms: dict[str, int] = {}
        held: dict[int, HeldAction] = {}
        for key, packed in self.cases.items():
            dossier, customer_id = unpack_dossier(packed), customer_of(key)
            unplaced = self.dossier(key_of(UNPLACED, customer_id))
            first_ms = self._due_ms(customer_id, dossier, unplaced)
            if first_ms < NEVER_MS:
                due_ms[key] = first_ms
            for action_id, order in dossier.orders.items():
                if order.state == "held":
                    held[order.number] = HeldAction(key, action_id, order.rule)
        self._brake.held = dict(sorted(held.items()))
        return Alarms(due_ms)
