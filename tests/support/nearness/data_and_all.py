"""Shares of the limits on data, and on all use together."""

from collections import Counter, defaultdict
from datetime import datetime
from itertools import groupby, pairwise
from statistics import median

from schemas.events import Data, Sms, Voice
from tests.support.nearness.counting import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    MORE,
    ZONE,
    by_customer,
    day_of,
    largest,
    local,
    month_of,
    of_periods,
    only,
    week_of,
)


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


def spend_limit(customers, events):
    """A month's charges against what the plan allows."""
    return _against_plan(customers, events, "spend_limit_microeur", charge)


def roaming_spend(customers, events):
    """A month's charges abroad against what the plan allows."""
    abroad = [use for use in only((Sms, Voice, Data), events) if use.visited_plmn is not None]
    return _against_plan(customers, abroad, "roaming_spend_limit_microeur", charge)


def charge(event):
    return event.charge_microeur or 0


def roaming_volume(customers, events):
    """A month's bytes abroad against what the plan includes."""
    abroad = [use for use in only(Data, events) if use.visited_plmn is not None]
    return _against_plan(customers, abroad, "roaming_bundle_bytes")


def _against_plan(customers, uses, limit, amount=used_bytes):
    totals = Counter()
    for use in uses:
        totals[use.customer_id, month_of(use.event_time_ms)] += amount(use)
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
