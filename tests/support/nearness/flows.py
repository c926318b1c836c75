"""Shares of the limits on connections."""

from collections import Counter, defaultdict

from schemas.events import Flow
from tests.support.nearness.counting import (
    HOUR_MS,
    LOGIN_PORTS,
    MAIL_PORTS,
    MINUTE_MS,
    SECOND_MS,
    by_customer,
    most_distinct,
    of_periods,
    only,
    rows_of,
)


def has_failed(flow):
    return flow.state != "established"


def most_targets(flows, length_ms):
    """Most ports of one host, and most hosts on one port, in any window."""
    ports, hosts = defaultdict(list), defaultdict(list)
    for flow in flows:
        ports[flow.source_address, flow.destination_address].append(flow)
        hosts[flow.source_address, flow.destination_port].append(flow)
    return (
        max(
            (
                most_distinct(rows_of(group, lambda f: f.destination_port), length_ms)
                for group in ports.values()
            ),
            default=0,
        ),
        max(
            (
                most_distinct(rows_of(group, lambda f: f.destination_address), length_ms)
                for group in hosts.values()
            ),
            default=0,
        ),
    )


def _scanned(flows):
    ports, hosts = most_targets([flow for flow in flows if has_failed(flow)], 5 * MINUTE_MS)
    return max(ports / 14, hosts / 24)


def portscan(_customers, events):
    """Ports of a host, and hosts on a port, that did not answer."""
    groups = by_customer(only(Flow, events, "outbound"))
    return {customer: _scanned(flows) for customer, flows in groups.items()}


def portscan_slow(_customers, events):
    """The sequential test over hosts met for the first time: one up, one down, never below 0."""
    shares = {}
    for customer, flows in by_customer(only(Flow, events, "outbound")).items():
        met, height, most = set(), 0, 0
        for flow in flows:
            if flow.destination_address not in met:
                met.add(flow.destination_address)
                height = max(height + (1 if has_failed(flow) else -1), 0)
                most = max(most, height)
        shares[customer] = most / 18
    return shares


def _flooded(flows):
    """The slower of two minutes running, in packets between two addresses."""
    minutes = Counter()
    for flow in flows:
        pair = flow.source_address, flow.destination_address
        minutes[pair, flow.event_time_ms // MINUTE_MS] += flow.packets
    return max(
        (min(number, minutes[pair, minute + 1]) for (pair, minute), number in [*minutes.items()]),
        default=0,
    ) / (20_000 * 60)


def ddos(_customers, events):
    """Packets a second at one address, two minutes running."""
    groups = by_customer(only(Flow, events, "outbound"))
    return {customer: _flooded(flows) for customer, flows in groups.items()}


def inbound_abuse(_customers, events):
    """Scans and floods from elsewhere."""
    groups = by_customer(only(Flow, events, "inbound"))
    return {customer: max(_scanned(flows), _flooded(flows)) for customer, flows in groups.items()}


def attack(_customers, events):
    """Short connections to login ports within ten minutes."""
    groups = by_customer(
        flow
        for flow in only(Flow, events, "outbound")
        if flow.destination_port in LOGIN_PORTS and flow.duration_ms < 10 * SECOND_MS
    )
    return {c: _number(flows, 10 * MINUTE_MS) / 30 for c, flows in groups.items()}


def _number(flows, length_ms):
    return most_distinct([(flow.event_time_ms, flow.event_id) for flow in flows], length_ms)


def mail_spam(_customers, events):
    """Mail servers within a minute and within an hour."""
    mails = by_customer(
        f for f in only(Flow, events, "outbound") if f.destination_port in MAIL_PORTS
    )
    shares = {}
    for customer, flows in mails.items():
        rows = rows_of(flows, lambda f: f.destination_address)
        minute, hour = most_distinct(rows, MINUTE_MS), most_distinct(rows, HOUR_MS)
        shares[customer] = max(minute / 19, hour / 199)
    return shares


def mail_bomb(_customers, events):
    """Large mails to one server within an hour."""
    servers = defaultdict(list)
    for flow in only(Flow, events, "outbound"):
        if flow.destination_port in MAIL_PORTS and flow.bytes >= 10**7:
            servers[flow.customer_id, flow.destination_address].append(flow)
    return of_periods({key: _number(flows, HOUR_MS) for key, flows in servers.items()}, 10)
