"""Scans and floods of a customer by each foreign address."""

import msgspec
from hypothesis import strategies as st

from schemas.events import Flow
from tests.support.reference import naive
from tests.support.reference.twins import ddos
from tests.support.strategies.drawing import MINUTE_MS, choices, events_of

LOW = {
    **{name: value for name, value in ddos.LOW.items() if "victim" not in name},
    "ports": 2,
    "length_seconds": 90,
    "retention_hours": 1,
}
del LOW["customer_failed_per_second"]


class Twin(naive.Distinct):
    """Ports that each source tried, and what it sent by minutes."""

    name, reads = "inbound_abuse", ("flow",)
    limit_counts = True

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        super().__init__(*naive.rolling(self.parameters, "scan"))
        self.watch = ddos.Watch(self.parameters)

    def touched(self, flow):
        port = flow.destination_port
        if naive.is_failed(flow) and flow.direction == "inbound" and port is not None:
            yield "scan", flow.source_address, port, self.parameters.ports

    def feed(self, flow, watermark_ms):
        yield from super().feed(flow, watermark_ms)
        in_time = self.accepts(flow, watermark_ms) and self.watch.in_time(flow, watermark_ms)
        if flow.direction != "inbound" or not in_time:
            return
        _, turned = self.watch.add(flow, flow.source_address) or (None, False)
        minute = flow.event_time_ms // MINUTE_MS
        for end in self.watch.begun(flow, flow.source_address) if turned else ():
            start_ms = (end - 1) * MINUTE_MS
            if (flow.customer_id, start_ms) not in self.reported:
                self.reported.add((flow.customer_id, start_ms))
                held = self.watch.exceeded(flow.customer_id, flow.source_address, minute)
                yield self.found(flow, "breach", start_ms, *held)


FLOWS = choices(
    source_address=("10.0.0.1", "10.0.0.1", "10.0.0.2", "2001:db8::1"),
    destination_port=(1, 2, 3, None),
    protocol=(6, 6, 17),
    tcp_flags=(None, 0x02, 0x1B),
    state=("unanswered", "rejected", "established", None),
    packets=(None, 1, 700),
    bytes=(None, 50, 100_000),
    direction=("inbound", "inbound", "inbound", "outbound"),
    sampling_interval=(None, 61, 190),
)
JITTERS_MS = (0, -1, 29_999, 30_000, 59_999)


@st.composite
def storms(draw):
    """The floods of `ddos`, seen from their victims."""
    history = draw(ddos.storms())
    ports = draw(st.lists(st.sampled_from((1, 1, 1, 2)), min_size=len(history)))
    return [
        msgspec.structs.replace(
            flow,
            direction="inbound",
            source_address=flow.destination_address,
            destination_address=flow.source_address,
            destination_port=port,
        )
        for flow, port in zip(history, ports, strict=False)
    ]


CASES = {
    "flows": ({}, events_of(Flow, FLOWS, MINUTE_MS, JITTERS_MS, destination_address="192.0.2.1")),
    "storms": ({}, storms()),
}
