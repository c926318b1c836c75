"""Who still stores something when the days after the contract's end are over."""

from zoneinfo import ZoneInfo

import msgspec

from schemas.events import Storage
from tests.support.reference.naive import Days, Found
from tests.support.strategies.drawing import DAY_MS, HOUR_MS, MIDNIGHTS_MS, choices, events_of

GONE = {"c0": "gone in March", "ünlimited/2": "gone in October"}


class Twin:
    """Looks at everybody with each day that is over, and neither reports nor clears twice."""

    name, reads = "storage_ended", ("storage",)

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.plans = plans
        self.days = Days(ZoneInfo(policy.timezone))
        self.today = None
        self.newest_ms, self.used = {}, {}
        self.reported, self.stored = set(), set()

    def accepts(self, snapshot, watermark_ms):
        return True

    def feed(self, snapshot, watermark_ms):
        yield from self.enter(self.days.of(watermark_ms))
        who, time_ms = snapshot.customer_id, snapshot.event_time_ms
        if snapshot.used_bytes is not None and time_ms >= self.newest_ms.get(who, 0):
            self.newest_ms[who], self.used[who] = time_ms, snapshot.used_bytes

    def enter(self, day):
        """A day begins, so that those before it are over."""
        if self.today is not None and day <= self.today:
            return
        self.today = day
        for who, contract in self.plans.announced.items():
            ended_ms = contract.valid_from_ms
            first = self.days.of(ended_ms - 1) + 1
            due_ms = self.days.start_ms(first + self.parameters.readable_days)
            is_due = contract.contract_state == "ended" and due_ms <= self.days.start_ms(day)
            if who in self.stored and not self.used[who]:
                self.stored.remove(who)
                emptied = self.days.of(self.newest_ms[who])
                time_ms = max(due_ms, self.days.start_ms(emptied + 1))
                yield self.found(who, "cleared", ended_ms, time_ms)
            if is_due and self.used.get(who) and who not in self.reported:
                self.reported.add(who)
                self.stored.add(who)
                yield self.found(who, "breach", ended_ms, due_ms)

    def found(self, who, level, ended_ms, time_ms):
        return Found(
            rule=self.name,
            customer_id=who,
            level=level,
            kind="state",
            start_ms=ended_ms,
            event_time_ms=time_ms,
            observed=self.used[who],
            limit=0,
        )

    def end(self, last_ms):
        if last_ms:
            yield from self.enter(self.days.of(last_ms))


SNAPSHOTS = choices(used_bytes=(0, 7, 7, 9, 2**53, None))


def of_the_gone(history):
    """The same history of customers whose contracts ended."""
    return [
        msgspec.structs.replace(event, customer_id=GONE.get(event.customer_id, event.customer_id))
        for event in history
    ]


def snapshots(spread):
    return events_of(Storage, SNAPSHOTS, spread=spread, contacts=1).map(of_the_gone)


def story(*seen):
    """Snapshots by customer, hours after a midnight, and bytes."""
    return [
        Storage(
            event_id=f"e-{number}",
            customer_id=who,
            event_time_ms=MIDNIGHTS_MS[0] + hours * HOUR_MS,
            used_bytes=used,
        )
        for number, (who, hours, used) in enumerate(seen)
    ]


MARCH = GONE["c0"]

LOW = {"readable_days": 1}
CASES = {
    "days": ({}, snapshots(DAY_MS)),
    "hours": ({}, snapshots(7 * HOUR_MS)),
    "longer": ({"readable_days": 2}, snapshots(DAY_MS)),
}
EDGES = {
    # The days run out at the very midnight that the first event of the next day shows to be past.
    "a customer without any event of its own after the end": (
        {},
        story((MARCH, -30, 7), ("c1", -1, 1), ("c1", 0, 1), ("c1", 24, 1), ("c1", 48, 1)),
    ),
    "bytes that are known of only after the days ran out": (
        {},
        story(("c1", 1, 1), ("c1", 24, 1), (MARCH, 25, 7), ("c1", 26, 1), ("c1", 49, 1)),
    ),
    "stored again after the report": (
        {},
        story((MARCH, -30, 7), ("c1", 1, 1), (MARCH, 2, 0), ("c1", 30, 1), (MARCH, 31, 8)),
    ),
}
