"""Which policy holds when: the announced policies, by the event time at which they take effect."""

from bisect import insort
from collections.abc import Mapping
from contextlib import suppress

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.policies.editions import Edition, read_edition
from schemas.hashing import hash_strings
from schemas.policy import Policy, PolicyError
from schemas.records import EVERYBODY_PERCENT, PolicyRecord
from schemas.units import Hashes

EDITIONS_MAX = 16
"""Policies that a partition remembers besides the one it was started with."""

TRIALS_MAX = 2
"""Trials that may run side by side; of more, the newest ones do."""

record_decoder = msgspec.msgpack.Decoder(PolicyRecord)


class Timeline:
    """The policies of a partition; which one holds depends on event time alone.

    From its time on, a policy for everybody replaces all others and ends every trial. A trial also
    ends when another trial of the same name begins, or when two newer trials run. Of two policies
    that begin at the same time the one announced last counts.

    It is stored as a log with a chunk for each policy, since the topic `policies` may have lost a
    policy that is still in force.

    Parameters
    ----------
    base
        The policy that holds until an announced policy takes effect.
    """

    def __init__(self, base: Policy) -> None:
        self.base = base
        self.editions: list[Edition] = []
        self._slots: dict[int, Edition] = {}
        """The policy in each chunk, as it was stored last."""
        self._is_stored = True

    def announce(self, edition: Edition) -> bool:
        """Take in a policy; return whether it was not known yet."""
        if any(known.record == edition.record for known in self.editions):
            return False
        insort(self.editions, edition, key=_effective)
        while len(self.editions) > EDITIONS_MAX:
            self._forget_one()
        self._is_stored = False
        return True

    def _forget_one(self) -> None:
        """Forget the oldest policy, but not the only one that is for everybody."""
        for_everybody = [n for n, each in enumerate(self.editions) if not each.is_trial]
        del self.editions[1 if for_everybody == [0] else 0]

    def policy_at(self, time_ms: int, trial: Edition | None = None) -> Policy:
        """The policy for everybody at an event time, or that of `trial` if it has begun."""
        if trial is not None and trial.effective_ms <= time_ms:
            return trial.policy
        for edition in reversed(self.editions):
            if edition.effective_ms <= time_ms and not edition.is_trial:
                return edition.policy
        return self.base

    def policy_of(self, customer_id: str, time_ms: int) -> Policy:
        """The policy for one customer at an event time: that of their trial, if they are in one."""
        if not self.editions:
            return self.base
        customer = hash_strings([customer_id])
        return self.policy_at(time_ms, self.acting_trial(time_ms, customer))

    def trials_at(self, time_ms: int) -> list[Edition]:
        """The trials that run at an event time, newest first."""
        trials: dict[str, Edition] = {}
        for edition in reversed(self.editions):
            if edition.effective_ms > time_ms:
                continue
            if not edition.is_trial or len(trials) == TRIALS_MAX:
                break
            trials.setdefault(edition.policy.name, edition)
        return list(trials.values())

    def in_force_at(self, time_ms: int) -> list[tuple[Policy, int, int]]:
        """Each policy in force: the policy, since when (0: the start), percent of customers.

        A customer whose number falls into the shares of two trials takes part in the newer one.
        """
        begun = [e for e in self.editions if e.effective_ms <= time_ms and not e.is_trial]
        since_ms = begun[-1].effective_ms if begun else 0
        held, covered = [], 0
        for trial in self.trials_at(time_ms):
            share = max(0, trial.record.share_percent - covered)
            covered += share
            held.append((trial.policy, trial.effective_ms, share))
        return [(self.policy_at(time_ms), since_ms, EVERYBODY_PERCENT - covered), *held]

    def trials_begun(self, after_ms: int, until_ms: int) -> list[Edition]:
        """The trials that begin after `after_ms` and up to `until_ms`, oldest first."""
        return [e for e in self.editions if e.is_trial and after_ms < e.effective_ms <= until_ms]

    def is_over(self, trial: Edition, time_ms: int) -> bool:
        """Whether a trial has ended at an event time."""
        return trial.effective_ms <= time_ms and trial not in self.trials_at(time_ms)

    def acting_trial(self, time_ms: int, customer: Hashes) -> Edition | None:
        """The trial that a customer takes part in, or None; `customer` is a hash, shape (1,)."""
        place = int(customer[0] % EVERYBODY_PERCENT)
        for edition in self.trials_at(time_ms):
            if place < edition.record.share_percent:
                return edition
        return None

    def changes_between(self, after_ms: int, until_ms: int) -> list[int]:
        """Sorted times after `after_ms` and up to `until_ms` at which a policy takes effect."""
        if not self.editions:
            return []
        times = {edition.effective_ms for edition in self.editions}
        return sorted(time_ms for time_ms in times if after_ms < time_ms <= until_ms)

    # -- state ----------------------------------------------------------------------------------

    def changes(self) -> list[tuple[int, bytes]]:
        """If a policy changed: a chunk for each policy, and empty chunks for the unused numbers."""
        if self._is_stored:
            return []
        self._is_stored = True
        self._slots = dict(enumerate(self.editions))
        packed = [msgspec.msgpack.encode(edition.record) for edition in self.editions]
        return list(enumerate(packed + [b""] * (EDITIONS_MAX - len(packed))))

    def restore(self, number: int, stored: bytes) -> None:
        """Take back a stored chunk; drop a policy that no longer fits `base`."""
        self._slots.pop(number, None)
        if stored:
            with suppress(PolicyError):
                self._slots[number] = read_edition(record_decoder.decode(stored), self.base)
        self.editions = [self._slots[each] for each in sorted(self._slots)]

    def rewrite(self, number: int | None = None) -> None:
        """Store all chunks again at the next checkpoint."""
        self._is_stored = False

    def arrays(self) -> dict[str, NDArray]:
        """The policies as packed records, for a snapshot."""
        return {
            str(number): np.frombuffer(msgspec.msgpack.encode(edition.record), np.uint8)
            for number, edition in enumerate(self.editions)
        }

    def take_arrays(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `arrays` gave."""
        for number, array in arrays.items():
            self.restore(int(number), array.tobytes())


def _effective(edition: Edition) -> int:
    return edition.effective_ms
