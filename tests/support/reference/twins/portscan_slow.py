"""The sequential test, contact by contact."""

from math import log

from hypothesis import strategies as st

from schemas.events import Flow
from tests.support.reference import naive
from tests.support.strategies.drawing import (
    CUSTOMERS,
    HOUR_MS,
    MIDNIGHTS_MS,
    MINUTE_MS,
    choices,
    events_of,
)


class Twin:
    """A walk for each customer, from the lowest place up with failed first contacts."""

    name, reads = "portscan_slow", ("flow",)

    def __init__(self, policy, plans):
        self.parameters = p = policy.rules[self.name]
        self.up = round(1_000_000 * log((1 - p.theta1) / (1 - p.theta0)))
        self.down = round(1_000_000 * log(p.theta1 / p.theta0))
        self.upper = round(1_000_000 * log(p.beta / p.alpha))
        self.lower = round(1_000_000 * log((1 - p.beta) / (1 - p.alpha)))
        self.contacted, self.place, self.since, self.reported = {}, {}, {}, {}

    def accepts(self, flow, watermark_ms):
        hours_late = watermark_ms // HOUR_MS - flow.event_time_ms // HOUR_MS
        return hours_late <= self.parameters.retention_hours

    def feed(self, flow, watermark_ms):
        who, hour, failed = flow.customer_id, watermark_ms // HOUR_MS, naive.is_failed(flow)
        unknown = flow.state is None and flow.tcp_flags is None
        counts = self.accepts(flow, watermark_ms) and flow.direction == "outbound" and not unknown
        to_group = failed and naive.is_group_address(flow.destination_address)
        if not counts or flow.protocol != 6 or to_group:
            return
        contact = who, flow.destination_address
        period = hour // (self.parameters.memory_hours // 2)
        before = self.contacted.get(contact, -(10**9))
        self.contacted[contact] = period
        if period <= before + 1:
            return
        if hour <= self.reported.get(who, -(10**9)) + self.parameters.memory_hours:
            return
        place = self.place.get(who, self.lower) + (self.up if failed else self.down)
        second_ms = flow.event_time_ms // 1000 * 1000
        self.since[who] = min(second_ms, self.since.get(who, second_ms))
        if place >= self.upper:
            yield naive.Found(
                rule=self.name,
                customer_id=who,
                level="breach",
                kind="state",
                start_ms=self.since.pop(who),
                event_time_ms=flow.event_time_ms,
                observed=place,
                limit=self.upper,
            )
            self.reported[who], self.place[who] = hour, self.lower
        elif place <= self.lower:
            self.place[who] = self.lower
            del self.since[who]
        else:
            self.place[who] = place


LOW = {
    "theta0": 0.7,
    "theta1": 0.2,
    "alpha": 0.1,
    "beta": 0.9,
    "memory_hours": 4,
    "retention_hours": 2,
}

FLOWS = choices(
    destination_address=(*(f"10.0.0.{n}" for n in range(6)), "2001:db8::1", "10.0.0.255"),
    protocol=(6, 6, 6, 17),
    tcp_flags=(0x02, 0x1B, None),
    state=("unanswered", "rejected", "established", None),
    direction=(*["outbound"] * 6, "inbound"),
)


@st.composite
def rounds(draw):
    """Runs of new hosts, answered or not, hours apart, and the same hosts again."""
    runs = choices(
        hour=(0, 0, 1, 3, 4, 5, 9),
        first=(0, 0, 3, 8),
        count=(1, 2, 3, 9),
        gap_ms=(0, 1_000, 59 * MINUTE_MS),
        state=("unanswered", "unanswered", "established"),
        customer_id=CUSTOMERS,
    )
    flows = []
    for run in draw(st.lists(runs, max_size=10)):
        for n in range(run["count"]):
            flow = Flow(
                event_id=f"e-{len(flows)}",
                customer_id=run["customer_id"],
                event_time_ms=MIDNIGHTS_MS[0] + run["hour"] * HOUR_MS + n * run["gap_ms"],
                source_address="192.0.2.1",
                destination_address=f"10.0.0.{run['first'] + n}",
                protocol=6,
                state=run["state"],
            )
            flows.append(flow)
    return flows


CASES = {
    "flows": ({}, events_of(Flow, FLOWS, MINUTE_MS, source_address="192.0.2.1")),
    "rounds": ({}, rounds()),
}
