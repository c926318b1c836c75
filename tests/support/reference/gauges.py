"""What the twins of the rules about gauges share, and what they are tried on."""

from schemas.events import Storage
from tests.support.reference.naive import Found
from tests.support.strategies.drawing import MIDNIGHTS_MS, choices, events_of


class Gauge:
    """The newest snapshot of a quantity against what is allowed; None is no limit."""

    reads = ("storage",)
    NO_LIMIT = -1

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.plans = plans
        self.newest_ms = {}
        self.above_since_ms = {}
        self.last_start_ms = {}

    def accepts(self, snapshot, watermark_ms):
        return True

    def limit(self, snapshot):
        return self.parameters.limit

    def is_above(self, snapshot, amount, limit):
        return limit is not None and amount > limit

    def feed(self, snapshot, watermark_ms):
        who, time_ms = snapshot.customer_id, snapshot.event_time_ms
        amount, limit = getattr(snapshot, self.quantity), self.limit(snapshot)
        if amount is None or time_ms < self.newest_ms.get(who, 0):
            return
        above = self.is_above(snapshot, amount, limit)
        self.newest_ms[who] = time_ms
        level = None
        if above and who not in self.above_since_ms:
            # Two stretches never share a start, for a finding is known by it.
            level, start_ms = "breach", max(time_ms, self.last_start_ms.get(who, 0) + 1)
            self.above_since_ms[who] = self.last_start_ms[who] = start_ms
        elif not above and who in self.above_since_ms:
            level, start_ms = "cleared", self.above_since_ms.pop(who)
        if level:
            yield Found(
                rule=self.name,
                customer_id=who,
                level=level,
                kind="state",
                start_ms=start_ms,
                event_time_ms=time_ms,
                observed=amount,
                limit=self.NO_LIMIT if limit is None else limit,
            )


def snapshots(quantity):
    """Histories of one quantity around 12, some snapshots without it, some at the same instant."""
    seen = choices(**{quantity: (0, 12, 13, 13, 2**53, None)})
    return events_of(Storage, seen, written_bytes=1) | events_of(
        Storage, seen, spread=1, jitters=(0,), written_bytes=1
    )


def twice_at_once(quantity):
    """Above 12 and back twice within a millisecond, and a third time later."""
    seen = ((0, 13), (0, 0), (0, 13), (0, 12), (1, 13), (9, 0))
    return [
        Storage(
            event_id=f"e-{number}",
            customer_id="c0",
            event_time_ms=MIDNIGHTS_MS[0] + after_ms,
            **{quantity: amount},
        )
        for number, (after_ms, amount) in enumerate(seen)
    ]
