"""Shares of the limits on texts and calls."""

from collections import Counter, defaultdict

from schemas.events import Sms, Voice
from tests.support.nearness.counting import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    MORE,
    by_customer,
    day_of,
    largest,
    most_distinct,
    next_midnight_ms,
    of_periods,
    only,
)


def texts_of(period, limit):
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


def talk_of(period, limit_ms):
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
