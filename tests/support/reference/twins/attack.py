"""Attempts at each target, and targets, in every window."""

from schemas.events import Flow
from tests.support.reference import naive
from tests.support.strategies.drawing import MINUTE_MS, choices, events_of, runs_of_flows

LOW = {
    "target_attempts": 3,
    "targets": 2,
    "short_bytes": 100,
    "short_ms": 1_000,
    "length_seconds": 90,
    "retention_hours": 1,
}


class Twin(naive.Distinct):
    """Each attempt counts at its target, each host as a target."""

    name, reads = "attack", ("flow",)
    limit_counts = True

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        super().__init__(*naive.rolling(self.parameters, "one_target", "many_targets"))
        self.attempts = 0

    def touched(self, flow):
        p, host, port = self.parameters, flow.destination_address, flow.destination_port
        if flow.direction != "outbound" or flow.protocol != 6 or port not in p.login_ports:
            return
        if flow.state == "rejected" or (self.is_answered(flow) and self.is_short(flow)):
            self.attempts += 1
            yield "one_target", (host, port), self.attempts, p.target_attempts
            yield "many_targets", "all", host, p.targets

    def is_answered(self, flow):
        if flow.state is not None:
            return flow.state == "established"
        return flow.tcp_flags is not None and not naive.is_failed(flow)

    def is_short(self, flow):
        if flow.bytes is None and flow.duration_ms is None:
            return False
        small = flow.bytes is None or flow.bytes <= self.parameters.short_bytes
        return small and (flow.duration_ms is None or flow.duration_ms <= self.parameters.short_ms)


FLOWS = choices(
    destination_address=("a", "a", "b", "c"),
    destination_port=(22, 22, 3389, 443, None),
    protocol=(6, 6, 6, 17),
    tcp_flags=(None, 0x02, 0x1B),
    state=("established", "rejected", "unanswered", None),
    bytes=(None, 100, 100, 101),
    duration_ms=(None, 1_000, 1_000, 1_001),
    direction=(*["outbound"] * 4, "inbound"),
)


def guesses():
    """Many attempts in few draws, at one target or at the next one each time."""

    def flow(run, number):
        return {
            "destination_address": f"10.0.0.{number if run['several'] else 0}",
            "destination_port": 22,
            "state": "rejected",
        }

    return runs_of_flows(
        flow,
        minute=(0, 0, 1, 2, 20, 59, 61, 62, 125),
        count=(1, 2, 3, 6),
        gap_ms=(0, 0, 15_000, 31_000, 95_000),
        several=(False, False, True),
    )


JITTERS_MS = (0, -1, 29_999, 30_000, 89_999)
DRAWN = events_of(Flow, FLOWS, MINUTE_MS, JITTERS_MS, source_address="192.0.2.1")
CASES = {"flows": ({}, DRAWN), "guesses": ({}, guesses())}
