"""Mail servers in a minute, and in an hour."""

from schemas.events import Flow
from tests.support.reference import naive
from tests.support.strategies.drawing import (
    HOUR_MS,
    MIDNIGHTS_MS,
    MINUTE_MS,
    SECOND_MS,
    choices,
    events_of,
    runs_of_flows,
)

LOW = {"minute_servers": 3, "hour_servers": 5, "retention_hours": 2}


class Twin(naive.Distinct):
    """A set of servers for each of the two windows."""

    name, reads = "mail_spam", ("flow",)
    limit_counts = True

    def __init__(self, policy, plans):
        self.parameters = parameters = policy.rules[self.name]
        tens, fives = naive.Steps(10 * SECOND_MS), naive.Steps(5 * MINUTE_MS)
        windows = {"minute": (tens, 6), "hour": (fives, 12)}
        super().__init__(tens, windows, parameters.retention_hours * HOUR_MS // tens.step_ms)

    def touched(self, flow):
        if flow.direction != "outbound" or flow.protocol != 6:
            return
        if flow.destination_port in (25, 465, 587):
            server = flow.destination_address
            yield "minute", "all", server, self.parameters.minute_servers
            yield "hour", "all", server, self.parameters.hour_servers


FLOWS = choices(
    destination_address=("a", "b", "c", "d", "e", "2001:db8::1"),
    destination_port=(25, 25, 465, 587, 443, None),
    protocol=(6, 6, 6, 17),
    state=("established", "rejected", None),
    direction=(*["outbound"] * 5, "inbound"),
)


def campaigns():
    """Bursts, and a server every few minutes."""

    def flow(run, number):
        return {"destination_address": f"198.51.100.{number}", "destination_port": 25}

    return runs_of_flows(
        flow,
        minute=(0, 0, 1, 4, 58, 61, 130, 260),
        count=(1, 2, 3, 6),
        gap_ms=(0, 9_999, 30_000, 5 * MINUTE_MS, 11 * MINUTE_MS),
    )


JITTERS_MS = (0, -1, 9_999, 10_000, 69_999, 70_000)

CASES = {
    "flows": ({}, events_of(Flow, FLOWS, MINUTE_MS, JITTERS_MS, source_address="192.0.2.1")),
    "campaigns": ({}, campaigns()),
    "hours": (
        {"minute_servers": 9, "hour_servers": 2},
        events_of(Flow, FLOWS, 20 * MINUTE_MS, JITTERS_MS, source_address="192.0.2.1"),
    ),
}


def flow(number, second):
    return Flow(
        event_id=f"e-{number}",
        customer_id="c0",
        event_time_ms=MIDNIGHTS_MS[0] + second * SECOND_MS,
        source_address="192.0.2.1",
        destination_address=f"198.51.100.{number}",
        destination_port=25,
        protocol=6,
    )


EDGES = {
    # The minute ends with the step of its third server, the hour an hour after the same start.
    "an hour that begins with the minute that was reported": (
        {},
        [flow(number, second) for number, second in enumerate((60, 60, 60, 3600, 3600))],
    ),
}
