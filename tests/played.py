"""How near each customer of a played operator comes to each rule's limit, by the simplest counts.

Every function takes the operator's customers by id and the events in order of time, and gives the
largest share of the limit by customer: above 1 is a breach, 1 is just allowed.
"""

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from statistics import median
from zoneinfo import ZoneInfo

from schemas.events import Data, Flow, Sms, Storage, Stream, Voice
from streams.generator import Operator, OperatorShape

SEED = 20_260_301
ZONE = ZoneInfo("Europe/Brussels")
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
GB = 10**9
NEVER = 0.0
LOGIN_PORTS, MAIL_PORTS = {21, 22, 23, 3389}, {25, 465, 587}
MORE = 1.000_001
"""Makes a share of a limit that counts itself a breach."""


def local(time_ms):
    return datetime.fromtimestamp(time_ms / 1000, ZONE)


def day_of(time_ms):
    return local(time_ms).date()


def week_of(time_ms):
    return local(time_ms).strftime("%G-%V")


def month_of(time_ms):
    return local(time_ms).strftime("%Y-%m")


def next_midnight_ms(time_ms):
    tomorrow = local(time_ms).date() + timedelta(days=1)
    return int(datetime.combine(tomorrow, datetime.min.time(), ZONE).timestamp()) * 1000


def only(kind, events, direction=None):
    return [
        event
        for event in events
        if isinstance(event, kind) and direction in (None, getattr(event, "direction", None))
    ]


def by_customer(events):
    groups = defaultdict(list)
    for event in events:
        groups[event.customer_id].append(event)
    return groups


def largest(pairs):
    """The largest value of each customer."""
    most = {}
    for customer, value in pairs:
        most[customer] = max(value, most.get(customer, NEVER))
    return most


def of_periods(totals, limit):
    """Totals by (customer, period) as shares of a limit."""
    return largest((customer, total / limit) for (customer, _), total in totals.items())


def most_distinct(rows, length_ms):
    """Most distinct things in any window of this length; rows are (time, thing), by time."""
    most, first = 0, 0
    held = Counter()
    for time_ms, thing in rows:
        held[thing] += 1
        while rows[first][0] <= time_ms - length_ms:
            held[rows[first][1]] -= 1
            held += Counter()
            first += 1
        most = max(most, len(held))
    return most


# -- texts and calls ----------------------------------------------------------------------------


def _texts_of(period, limit):
    def count(_customers, events):
        sent = Counter((e.customer_id, period(e.event_time_ms)) for e in only(Sms, events, "mo"))
        return of_periods(sent, limit)

    return count


def sms_group(_customers, events):
    """Recipients of one message within ten minutes."""
    messages = defaultdict(list)
    for text in only(Sms, events, "mo"):
        if text.message_reference is not None:
            messages[text.customer_id, text.message_reference].append(
                (text.event_time_ms, text.recipient)
            )
    return largest(
        (customer, most_distinct(rows, 10 * MINUTE_MS) / 20)
        for (customer, _), rows in messages.items()
    )


def sms_bulk(_customers, events):
    """Recipients within an hour, where less than a tenth of a month's ever answered."""
    shares = {}
    for customer, texts in by_customer(only(Sms, events)).items():
        hour, month, answered, most = [], [], set(), 0
        for text in texts:
            if text.direction == "mt":
                answered.add(text.recipient)
                continue
            now = text.event_time_ms
            hour = [t for t in hour if t.event_time_ms > now - HOUR_MS] + [text]
            if len({t.recipient for t in hour}) <= 100:
                continue
            month = {t.recipient for t in texts if now - 30 * DAY_MS < t.event_time_ms <= now}
            if 10 * len(month & answered) < len(month):
                most = max(most, len({t.recipient for t in hour}) / 100)
        shares[customer] = most
    return shares


def _talk_of(period, limit_ms):
    """Time of calls made, split at midnight."""

    def count(_customers, events):
        totals = Counter()
        for call in only(Voice, events, "mo"):
            start_ms, end_ms = call.event_time_ms, call.event_time_ms + call.duration_ms
            while start_ms < end_ms:
                part_end_ms = min(end_ms, next_midnight_ms(start_ms))
                totals[call.customer_id, period(start_ms)] += part_end_ms - start_ms
                start_ms = part_end_ms
        return of_periods(totals, limit_ms)

    return count


def voice_continuous(_customers, events):
    """The longest chain of calls with gaps of a minute at most."""
    chains = []
    for customer, calls in by_customer(only(Voice, events, "mo")).items():
        total_ms = end_ms = 0
        for call in calls:
            total_ms *= call.event_time_ms <= end_ms + MINUTE_MS
            total_ms += call.duration_ms
            end_ms = max(end_ms, call.event_time_ms + call.duration_ms)
            chains.append((customer, total_ms / (2 * HOUR_MS)))
    return largest(chains)


def monitoring(_customers, events):
    """Time of a day with one partner, where nine tenths of it are with them."""
    days = defaultdict(Counter)
    for call in only(Voice, events):
        key = call.customer_id, day_of(call.event_time_ms)
        days[key][call.other_party] += call.duration_ms
    return largest(
        (customer, MORE * partners.total() / (3 * HOUR_MS))
        for (customer, _), partners in days.items()
        if max(partners.values()) >= 0.9 * partners.total()
    )


def gateway(_customers, events):
    """Calls made for one received, on days of forty calls from one cell to ever other numbers."""
    days = defaultdict(list)
    for call in only(Voice, events):
        days[call.customer_id, day_of(call.event_time_ms)].append(call)
    shares = []
    for (customer, _), calls in days.items():
        made = [call for call in calls if call.direction == "mo"]
        numbers = Counter(call.other_party for call in made)
        once = sum(times == 1 for times in numbers.values())
        is_one_place = len({call.cell_id for call in made}) == 1
        if len(made) >= 40 and once >= 0.9 * len(made) and is_one_place:
            received = len(calls) - len(made)
            shares.append((customer, MORE * len(made) / max(received, 1) / 10))
    return largest(shares)


# -- data and all kinds -------------------------------------------------------------------------


def used_bytes(session):
    return session.bytes_uplink + session.bytes_downlink


def closed_months(events, lateness_ms=48 * HOUR_MS):
    """The months that the last day closes."""
    last_ms = datetime.combine(day_of(events[-1].event_time_ms), datetime.min.time(), ZONE)
    last_month = month_of(last_ms.timestamp() * 1000 - lateness_ms)
    return {
        month
        for month in map(month_of, {e.event_time_ms for e in events[::50]})
        if month < last_month
    }


def data_monthly_ratio(customers, events):
    """A closed month's use against the mean of all unlimited customers."""
    unlimited = {c for c, customer in customers.items() if "data" in customer.unlimited}
    totals = Counter()
    for use in only(Data, events):
        if use.customer_id in unlimited:
            totals[use.customer_id, month_of(use.event_time_ms)] += used_bytes(use)
    return _against_mean(totals, len(unlimited), closed_months(events), 10)


def usage_double(customers, events):
    """A closed month's texts, calls or bytes against the mean of all customers."""
    services = Counter(), Counter(), Counter()
    for event in events:
        key = event.customer_id, month_of(event.event_time_ms)
        if isinstance(event, Sms) and event.direction == "mo":
            services[0][key] += 1
        elif isinstance(event, Voice) and event.direction == "mo":
            services[1][key] += event.duration_ms
        elif isinstance(event, Data):
            services[2][key] += used_bytes(event)
    closed = closed_months(events)
    shares = [_against_mean(totals, len(customers), closed, 2) for totals in services]
    return largest(pair for share in shares for pair in share.items())


def _against_mean(totals, count, periods, ratio):
    sums = Counter()
    for (_, period), total in totals.items():
        sums[period] += total
    return largest(
        (customer, MORE * total * count / sums[period] / ratio)
        for (customer, period), total in totals.items()
        if period in periods
    )


def data_bundle(customers, events):
    """A month's bytes against the plan's bundle."""
    return _against_plan(customers, only(Data, events), "data_bundle_bytes")


def roaming_volume(customers, events):
    """A month's bytes abroad against what the plan includes."""
    abroad = [use for use in only(Data, events) if use.visited_plmn is not None]
    return _against_plan(customers, abroad, "roaming_bundle_bytes")


def _against_plan(customers, sessions, limit):
    totals = Counter()
    for use in sessions:
        totals[use.customer_id, month_of(use.event_time_ms)] += used_bytes(use)
    return largest(
        (customer, total / getattr(customers[customer], limit))
        for (customer, _), total in totals.items()
        if getattr(customers[customer], limit) is not None
    )


def sharing(_customers, events):
    """Devices of a day."""
    devices = defaultdict(set)
    for event in only((Sms, Voice, Data), events):
        device = getattr(event, "device_fingerprint", None) or event.served_imei[-8:]
        devices[event.customer_id, day_of(event.event_time_ms)].add(device)
    return of_periods({key: len(found) for key, found in devices.items()}, 3)


def overload(_customers, events):
    """Bytes that fall into the 15 minutes from the start of a session on."""
    shares = []
    for customer, sessions in by_customer(only(Data, events)).items():
        for position, first in enumerate(sessions):
            total = 0
            for session in sessions[position:]:
                if session.event_time_ms >= first.event_time_ms + 15 * MINUTE_MS:
                    break
                total += used_bytes(session) * min(1, 15 * MINUTE_MS / session.duration_ms)
            shares.append((customer, total / 16_875_000_000))
    return largest(shares)


def machine(_customers, events):
    """A day of at least two events an hour, at all hours, with gaps that are all alike."""
    days = defaultdict(list)
    for event in events:
        days[event.customer_id, day_of(event.event_time_ms)].append(event.event_time_ms)
    shares = []
    for (customer, _), times in days.items():
        gaps = [after - before for before, after in pairwise(times)]
        if len(times) >= 46 and len({local(t).hour for t in times}) >= 23:
            spread = max(gaps) - min(gaps)
            shares.append((customer, median(gaps) / max(10 * spread, 1)))
    return largest(shares)


def deviation(customers, events):
    """Robust z-score of a week's events, and of its connection time, within the plan."""
    number, time_ms = defaultdict(Counter), defaultdict(Counter)
    for event in events:
        key = week_of(event.event_time_ms), customers[event.customer_id].plan
        number[key][event.customer_id] += 1
        if isinstance(event, Voice | Data):
            time_ms[key][event.customer_id] += event.duration_ms
    shares = []
    for totals in (*number.values(), *time_ms.values()):
        if len(totals) >= 100:
            middle = median(totals.values())
            spread = 1.4826 * median(abs(total - middle) for total in totals.values())
            shares += [(c, MORE * (total - middle) / spread / 6) for c, total in totals.items()]
    return largest(shares)


# -- flows --------------------------------------------------------------------------------------


def has_failed(flow):
    return flow.state != "established"


def rows_of(flows, thing):
    return [(flow.event_time_ms, thing(flow)) for flow in flows]


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
    """The sequential test over hosts met for the first time (TRW): 4 up, a quarter down."""
    shares = {}
    for customer, flows in by_customer(only(Flow, events, "outbound")).items():
        met, likelihood, most = set(), 1.0, 0.0
        for flow in flows:
            if flow.destination_address not in met:
                met.add(flow.destination_address)
                likelihood *= 4 if has_failed(flow) else 0.25
                most = max(most, likelihood)
                likelihood = 1.0 if likelihood <= 0.0101 else likelihood
        shares[customer] = most / 99
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


# -- storage and television ---------------------------------------------------------------------


def storage_capacity(customers, events):
    """Bytes stored against what the plan holds, or the snapshot says that it does."""
    pairs = []
    for snapshot in only(Storage, events):
        plan = customers[snapshot.customer_id]
        capacity = snapshot.capacity_bytes or plan.storage_capacity_bytes
        if capacity is not None:
            pairs.append((snapshot.customer_id, snapshot.used_bytes / capacity))
    return largest(pairs)


def _quantity(name, limit):
    def count(_customers, events):
        return largest((s.customer_id, getattr(s, name) / limit) for s in only(Storage, events))

    return count


def storage_flood(customers, events):
    """A day's written bytes against the mean of the plan's customers."""
    size = Counter(customer.plan for customer in customers.values())
    days = defaultdict(Counter)
    for snapshot in only(Storage, events):
        plan = customers[snapshot.customer_id].plan
        days[plan, day_of(snapshot.event_time_ms)][snapshot.customer_id] += snapshot.written_bytes
    return largest(
        (customer, MORE * total * size[plan] / written.total() / 10)
        for (plan, _), written in days.items()
        if size[plan] >= 100
        for customer, total in written.items()
    )


def storage_downgrade(_customers, events):
    """What is stored against a capacity that became smaller."""
    pairs = []
    for customer, snapshots in by_customer(only(Storage, events)).items():
        for before, after in pairwise(snapshots):
            if after.capacity_bytes is not None and after.capacity_bytes < before.capacity_bytes:
                pairs.append((customer, after.used_bytes / after.capacity_bytes))
    return largest(pairs)


def storage_ended(customers, events):
    """Days since the contract's end for which something is stored."""
    return largest(
        (s.customer_id, (s.event_time_ms - customers[s.customer_id].valid_from_ms) / DAY_MS / 30)
        for s in only(Storage, events)
        if customers[s.customer_id].contract_state == "ended" and s.used_bytes
    )


def stream_devices(_customers, events):
    """Devices within thirty days."""
    return {
        customer: most_distinct(rows_of(views, lambda v: v.device_id), 30 * DAY_MS) / 5
        for customer, views in by_customer(only(Stream, events)).items()
    }


def stream_concurrent(_customers, events):
    """Viewings at the same moment."""
    pairs = []
    for customer, views in by_customer(only(Stream, events)).items():
        for view in views:
            now = view.event_time_ms
            at_once = [v for v in views if v.event_time_ms <= now < v.event_time_ms + v.duration_ms]
            pairs.append((customer, len(at_once) / 2))
    return largest(pairs)


def stream_elsewhere(_customers, events):
    """Places of a day, where at least half of the viewing is away from home."""
    days = defaultdict(list)
    for view in only(Stream, events):
        days[view.customer_id, day_of(view.event_time_ms)].append(view)
    return largest(
        (customer, len({view.address_id for view in views}))
        for (customer, _), views in days.items()
        if 2 * sum(v.duration_ms for v in views if not v.at_home)
        >= sum(v.duration_ms for v in views)
    )


# -- what takes long ----------------------------------------------------------------------------


def roaming_permanent(_customers, events):
    """Months in a row of which more than half of the days of use are abroad."""
    shares = {}
    for customer, used in by_customer(only((Sms, Voice, Data), events)).items():
        abroad = {day_of(e.event_time_ms): e.visited_plmn is not None for e in used}
        months = [list(days) for _, days in groupby(sorted(abroad), lambda d: (d.year, d.month))]
        run = most = 0
        for days in months:
            run = run + 1 if 2 * sum(abroad[day] for day in days) > len(days) else 0
            most = max(most, run)
        shares[customer] = most / 4
    return shares


def inactive(_customers, events):
    """The longest time without any use, after the first."""
    shares = {}
    for customer, used in by_customer(events).items():
        times = [*(event.event_time_ms for event in used), events[-1].event_time_ms]
        longest_ms = max(after - before for before, after in pairwise(times))
        shares[customer] = longest_ms / (365 * DAY_MS)
    return shares


SHARES = {
    "sms_daily": _texts_of(day_of, 350),
    "sms_monthly": _texts_of(month_of, 10_000),
    "sms_group": sms_group,
    "sms_bulk": sms_bulk,
    "voice_daily": _talk_of(day_of, 6 * HOUR_MS),
    "voice_weekly": _talk_of(week_of, 30 * HOUR_MS),
    "voice_continuous": voice_continuous,
    "monitoring": monitoring,
    "gateway": gateway,
    "data_monthly_ratio": data_monthly_ratio,
    "usage_double": usage_double,
    "data_bundle": data_bundle,
    "roaming_volume": roaming_volume,
    "roaming_permanent": roaming_permanent,
    "sharing": sharing,
    "overload": overload,
    "machine": machine,
    "deviation": deviation,
    "inactive": inactive,
    "portscan": portscan,
    "portscan_slow": portscan_slow,
    "ddos": ddos,
    "inbound_abuse": inbound_abuse,
    "attack": attack,
    "mail_spam": mail_spam,
    "mail_bomb": mail_bomb,
    "storage_capacity": storage_capacity,
    "storage_file_size": _quantity("largest_file_bytes", 2 * GB),
    "storage_contacts": _quantity("contacts", 15_000),
    "storage_linked_items": _quantity("linked_items", 20_000),
    "storage_shared_items": _quantity("shared_items", 250),
    "storage_flood": storage_flood,
    "storage_downgrade": storage_downgrade,
    "storage_ended": storage_ended,
    "stream_devices": stream_devices,
    "stream_concurrent": stream_concurrent,
    "stream_elsewhere": stream_elsewhere,
}


class Played:
    """An operator with all its events, and each rule's shares once they are asked for."""

    def __init__(self, keep=lambda _event: True, **shape):
        print(f"OperatorShape(seed={SEED}, **{shape})")
        self.operator = Operator(OperatorShape(seed=SEED, **shape))
        self.events = [event for day in self.operator.days() for event in day if keep(event)]
        self.customers = {c.customer_id: c for c in self.operator.customers()}
        self._shares = {}

    def shares(self, rule):
        if rule not in self._shares:
            self._shares[rule] = SHARES[rule](self.customers, self.events)
        return self._shares[rule]

    def breakers(self, rule):
        return {customer for customer, share in self.shares(rule).items() if share > 1}
