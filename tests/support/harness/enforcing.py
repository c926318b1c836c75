"""What the tests of the enforcement side share: actions, a clock, an adapter that remembers."""

from dataclasses import dataclass

import msgspec

from schemas.records import Action, Notice, PolicyRef
from streams.enforce.adapters.contract import Refused, Unavailable
from streams.enforce.enforcer import Enforcer
from streams.enforce.metrics import EnforcementMetrics

NOW_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""

MINIMUM = {"incoming": "national", "outgoing": ["emergency", "free"]}
PARAMETERS = {"throttle": {"rate_kbps": 128}, "minimum_service": MINIMUM}


def action(action_id, kind="throttle", **changes):
    """An action as the ladder decides them."""
    fields = {
        "action_id": action_id,
        "kind": kind,
        "customer_id": "32470000001",
        "service": "data",
        "parameters": PARAMETERS.get(kind, {}),
        "rule": "data_bundle",
        "clause": "base-plans",
        "reason": "The data bundle of the plan is used up: your speed is reduced.",
        "decided_ms": NOW_MS,
        "effective_ms": NOW_MS,
        "expires_ms": None,
        "notice": Notice(required=True),
        "human_review": False,
        "supersedes": None,
        "finding_ids": ["f-1"],
        "policy": PolicyRef(name="default", version="1"),
        "evidence": {"level": "breach"},
    }
    return Action(**fields | changes)


@dataclass
class Record:
    """A record of `actions`."""

    offset: int
    key: bytes | None
    value: bytes | None
    partition: int = 0

    @classmethod
    def of(cls, sent, offset):
        return cls(offset, sent.customer_id.encode(), msgspec.json.encode(sent))


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self, now_ms=NOW_MS):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms


class Killed(BaseException):
    """The process ended here."""


class Adapter:
    """Remembers its instructions; `script` says what each does, "done" when it has run out."""

    def __init__(self, script=(), announces=False, kinds=None, clock=lambda: 0):
        self.announces = announces
        self.script = list(script)
        self.kinds = kinds
        self.clock = clock
        self.instructions = []
        self.times_ms = []
        self.announced = []

    def handles(self, sent):
        return self.kinds is None or sent.kind in self.kinds

    def carry_out(self, instruction):
        what = self.script.pop(0) if self.script else "done"
        if what == "unavailable":
            raise Unavailable("no answer")
        if what == "refused":
            raise Refused("not known here")
        if what == "killed before":
            raise Killed
        if instruction.announces:
            self.announced.append(instruction)
        else:
            self.instructions.append(instruction)
            self.times_ms.append(self.clock())
        if what == "killed after":
            raise Killed
        return "done"

    @property
    def done(self):
        return [instruction.action.action_id for instruction in self.instructions]


def enforcer(store, adapter, clock, attempts_max=3, customers_max=1_000):
    return Enforcer(
        store,
        adapter,
        clock,
        attempts_max=attempts_max,
        customers_max=customers_max,
        metrics=EnforcementMetrics(),
    )


def work(it):
    """Everything that is due now."""
    while due := it.due(100):
        for customer_id, partition in due:
            it.attend(customer_id, partition)


def results(store):
    """What is to be reported, in order: id, status."""
    return [(said.action_id, said.status) for _, said in store.unsent(1_000_000)]
