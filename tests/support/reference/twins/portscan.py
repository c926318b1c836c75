"""Ports of a host and hosts on a port, in every window."""

from schemas.events import Flow
from tests.support.reference import naive
from tests.support.strategies.drawing import MINUTE_MS, choices, events_of, runs_of_flows

LOW = {
    "vertical_ports": 3,
    "horizontal_hosts": 2,
    "length_seconds": 90,
    "retention_hours": 1,
}


class Twin(naive.Distinct):
    """Many ports of a host or many hosts on a port, in any window."""

    name, reads = "portscan", ("flow",)
    limit_counts = True

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        super().__init__(*naive.rolling(self.parameters, "vertical", "horizontal"))

    def touched(self, flow):
        host, port = flow.destination_address, flow.destination_port
        if not naive.is_failed(flow) or flow.direction != "outbound" or port is None:
            return
        if not naive.is_group_address(host):
            yield "vertical", host, port, self.parameters.vertical_ports
            yield "horizontal", port, host, self.parameters.horizontal_hosts


FLOWS = choices(
    destination_address=(*["10.0.0.1"] * 4, *["2001:db8::1", "x"] * 2, "10.0.0.255", "224.0.0.1"),
    destination_port=(1, 1, 2, 2, 3, 0, 65_535, None),
    protocol=(6, 6, 6, 17),
    tcp_flags=(0x02, 0x12, 0x04, 0x1B, None),
    state=("unanswered", "unanswered", "rejected", "unanswered", "established", None),
    direction=(*["outbound"] * 6, "inbound"),
)
HISTORIES = events_of(
    Flow, FLOWS, MINUTE_MS, jitters=(0, -1, 29_999, 30_000, 89_999), source_address="192.0.2.1"
)


def sweeps():
    """Runs of ports or of hosts, over hours, in and out of order."""

    def flow(run, number):
        return {
            "destination_address": f"10.0.0.{number if run['hosts'] else 0}",
            "destination_port": 1 if run["hosts"] else number,
            "state": "rejected",
        }

    return runs_of_flows(
        flow,
        minute=(0, 0, 1, 2, 20, 59, 60, 61, 62, 125),
        count=(1, 2, 3, 9),
        gap_ms=(0, 0, 15_000, 31_000, 95_000),
        hosts=(True, False),
    )


CASES = {}
"""They are tried together with others, in tests/support/strategies/histories.py."""
