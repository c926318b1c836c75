"""Floods, flow by flow: sums by minute in dicts, and every limit asked of them again each time."""

from collections import defaultdict

from hypothesis import strategies as st

from schemas.events import Flow
from tests.support.reference import naive
from tests.support.strategies.drawing import CUSTOMERS, MIDNIGHTS_MS, MINUTE_MS, choices, events_of

MEASURES = ("packets", "flows", "syn", "failed")


def amounts(flow, transfer_bytes_per_packet):
    """What a flow counts as, by measure."""
    sampling = flow.sampling_interval or 1
    packets = 1 if flow.packets is None else flow.packets
    failed = naive.is_failed(flow)
    small = (-1 if flow.bytes is None else flow.bytes) < packets * transfer_bytes_per_packet
    syn = failed
    if flow.tcp_flags is not None:
        syn = bool(flow.tcp_flags & 0x02) and not flow.tcp_flags & 0x10
    seen = {
        "packets": packets if failed or (flow.protocol != 6 and small) else 0,
        "flows": 1,
        "syn": int(syn and flow.protocol == 6),
        "failed": int(failed),
    }
    return {measure: min(2**40, count * sampling) for measure, count in seen.items()}


class Watch:
    """What each customer and address had in each minute, of customers with much of a load."""

    def __init__(self, parameters):
        self.parameters = parameters
        self.load = defaultdict(int)
        self.pairs = defaultdict(lambda: dict.fromkeys(MEASURES, 0))
        self.hot = naive.Episodes(2)

    def in_time(self, flow, watermark_ms):
        newest = watermark_ms // MINUTE_MS
        return flow.event_time_ms // MINUTE_MS >= newest - self.parameters.retention_minutes

    def add(self, flow, address):
        """What the flow counts as, if its customer is watched."""
        p, minute = self.parameters, flow.event_time_ms // MINUTE_MS
        seen = amounts(flow, p.transfer_bytes_per_packet)
        self.load[flow.customer_id, minute] += seen["flows"] + seen["packets"] // 20
        if self.load[flow.customer_id, minute] < 60 * p.watch_per_second:
            return None
        held = self.pairs[flow.customer_id, address, minute]
        before = self.exceeded(flow.customer_id, address, minute)
        for measure, count in seen.items():
            held[measure] += count
        turned = self.exceeded(flow.customer_id, address, minute) and not before
        return seen, turned

    def exceeded(self, customer_id, address, minute):
        """The first measure above its limit: how much there was, and the limit."""
        p, held = self.parameters, self.pairs[customer_id, address, minute]
        limits = {
            "packets": 60 * p.packets_per_second,
            "flows": 60 * p.flows_per_second,
            "syn": 60 * p.syn_per_second,
        }
        for measure, limit in limits.items():
            mostly = held["syn"] * 1000 > held["flows"] * p.syn_share_per_mille
            if held[measure] > limit and (measure != "syn" or mostly):
                return held[measure], limit
        return None

    def begun(self, flow, address):
        """Ends of the windows of two minutes that begin a flood, by a flow that made one hot."""
        minute = flow.event_time_ms // MINUTE_MS
        hot = [
            end
            for end in (minute, minute + 1)
            if self.exceeded(flow.customer_id, address, end - 1)
            and self.exceeded(flow.customer_id, address, end)
        ]
        return self.hot.note((flow.customer_id, address), hot)


class Twin:
    """One customer's flood, or that of many at one victim."""

    name, reads = "ddos", ("flow",)

    def __init__(self, policy, plans):
        self.parameters = policy.rules[self.name]
        self.watch = Watch(self.parameters)
        self.together = naive.Episodes(2)
        self.reported = set()

    def accepts(self, flow, watermark_ms):
        return self.watch.in_time(flow, watermark_ms)

    def feed(self, flow, watermark_ms):
        address = flow.destination_address
        to_group = naive.is_failed(flow) and naive.is_group_address(address)
        if not self.accepts(flow, watermark_ms) or flow.direction != "outbound" or to_group:
            return
        added = self.watch.add(flow, address)
        if added is None:
            return
        seen, turned = added
        minute = flow.event_time_ms // MINUTE_MS
        for end in self.watch.begun(flow, address) if turned else ():
            held, limit = self.watch.exceeded(flow.customer_id, address, minute)
            yield from self.found(flow, end, held, limit)
        if seen["failed"] and flow.customer_id in self.parts(address, minute):
            hot = [e for e in (minute, minute + 1) if self.flooded(address, e)]
            for end in self.together.note((flow.customer_id, address), hot):
                held = sum(self.parts(address, minute).values())
                limit = 60 * self.parameters.victim_failed_per_second
                yield from self.found(flow, end, held, limit)

    def parts(self, address, minute):
        """Failed flows to an address, of each customer with a part in them."""
        failed = {
            customer_id: held["failed"]
            for (customer_id, other, m), held in self.watch.pairs.items()
            if (other, m) == (address, minute)
        }
        part = 60 * self.parameters.customer_failed_per_second
        return {customer_id: count for customer_id, count in failed.items() if count >= part}

    def flooded(self, address, end):
        """Whether an address had too much in this minute and the one before."""
        p = self.parameters
        return all(
            sum(parts.values()) > 60 * p.victim_failed_per_second
            and len(parts) >= p.victim_customers
            for parts in (self.parts(address, end - 1), self.parts(address, end))
        )

    def found(self, flow, end, observed, limit):
        if (flow.customer_id, end) in self.reported:
            return
        self.reported.add((flow.customer_id, end))
        yield naive.Found(
            rule=self.name,
            customer_id=flow.customer_id,
            level="breach",
            kind="rolling",
            start_ms=(end - 1) * MINUTE_MS,
            event_time_ms=flow.event_time_ms,
            observed=observed,
            limit=limit,
        )


LOW = {
    "packets_per_second": 10,
    "flows_per_second": 3,
    "syn_per_second": 1,
    "syn_share_per_mille": 500,
    "transfer_bytes_per_packet": 100,
    "watch_per_second": 0,
    "victim_failed_per_second": 2,
    "victim_customers": 2,
    "customer_failed_per_second": 1,
    "retention_minutes": 3,
}

FLOWS = choices(
    destination_address=("10.0.0.1", "10.0.0.1", "10.0.0.1", "2001:db8::1", "10.0.0.255"),
    protocol=(6, 6, 17),
    tcp_flags=(None, 0x02, 0x12, 0x1B),
    state=("unanswered", "unanswered", "established", None),
    packets=(None, 1, 700, 2**53),
    bytes=(None, 50, 100_000),
    direction=(*["outbound"] * 5, "inbound"),
    sampling_interval=(None, 61, 61, 100, 190, 2**53),
)
JITTERS_MS = (0, 1, -1, 59_999)


@st.composite
def storms(draw):
    """Many customers at few addresses, minute after minute, in and out of order."""
    runs = choices(
        minute=(0, 0, 1, 2, 3, 4, 5, 9),
        minutes=(1, 2, 3),
        customers=(CUSTOMERS, CUSTOMERS[:1], CUSTOMERS[1:]),
        destination_address=("10.0.0.1", "10.0.0.1", "10.0.0.2"),
        sampling_interval=(30, 61, 61, 70, 200),
        state=("unanswered", "unanswered", "established"),
    )
    flows = []
    for run in draw(st.lists(runs, max_size=6)):
        for minute in range(run["minute"], run["minute"] + run["minutes"]):
            for customer_id in run["customers"]:
                flow = Flow(
                    event_id=f"e-{len(flows)}",
                    customer_id=customer_id,
                    event_time_ms=MIDNIGHTS_MS[0] + minute * MINUTE_MS,
                    source_address="192.0.2.1",
                    destination_address=run["destination_address"],
                    protocol=6,
                    state=run["state"],
                    sampling_interval=run["sampling_interval"],
                )
                flows.append(flow)
    return flows


CASES = {
    "flows": ({}, events_of(Flow, FLOWS, MINUTE_MS, JITTERS_MS, source_address="192.0.2.1")),
    "storms": ({}, storms()),
    "storms_watched": ({"watch_per_second": 1, "customer_failed_per_second": 2}, storms()),
}
