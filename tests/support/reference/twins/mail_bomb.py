"""Large transfers to each mail server, in every window."""

from schemas.events import Flow
from tests.support.reference import naive
from tests.support.strategies.drawing import MINUTE_MS, choices, events_of, runs_of_flows

LOW = {
    "transfers": 2,
    "large_bytes": 1_000,
    "length_seconds": 120,
    "step_seconds": 30,
    "retention_hours": 1,
}


class Twin(naive.Distinct):
    """Each large transfer is an element of its own."""

    name, reads = "mail_bomb", ("flow",)
    limit_counts = True

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        super().__init__(*naive.rolling(self.parameters, "large"))
        self.transfers = 0

    def touched(self, flow):
        if flow.direction != "outbound" or flow.protocol != 6 or naive.is_failed(flow):
            return
        size = (flow.bytes or 0) * (flow.sampling_interval or 1)
        if flow.destination_port in (25, 465, 587) and size >= self.parameters.large_bytes:
            self.transfers += 1
            yield "large", flow.destination_address, self.transfers, self.parameters.transfers


FLOWS = choices(
    destination_address=("a", "a", "b"),
    destination_port=(25, 25, 465, 587, 443, None),
    protocol=(6, 6, 6, 17),
    state=("established", "established", "rejected", None),
    bytes=(None, 999, 1_000, 2**53),
    sampling_interval=(None, None, 2),
    direction=(*["outbound"] * 4, "inbound"),
)


def parcels():
    """Many transfers in few draws."""

    def flow(run, number):
        return {"destination_address": "198.51.100.25", "destination_port": 25, "bytes": 1_000}

    return runs_of_flows(
        flow,
        minute=(0, 0, 1, 3, 5, 59, 61, 63, 125),
        count=(1, 2, 3, 6),
        gap_ms=(0, 0, 31_000, 119_999, 151_000),
    )


JITTERS_MS = (0, -1, 29_999, 30_000, 119_999)
DRAWN = events_of(Flow, FLOWS, MINUTE_MS, JITTERS_MS, source_address="192.0.2.1")
CASES = {"flows": ({}, DRAWN), "parcels": ({}, parcels())}
