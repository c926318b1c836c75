"""Shares of the limits on storage and television."""

from collections import Counter, defaultdict
from itertools import pairwise

from schemas.events import Storage, Stream
from tests.support.nearness.counting import (
    DAY_MS,
    MORE,
    by_customer,
    day_of,
    largest,
    most_distinct,
    only,
    rows_of,
)


def storage_capacity(customers, events):
    """Bytes stored against what the plan holds, or the snapshot says that it does."""
    pairs = []
    for snapshot in only(Storage, events):
        plan = customers[snapshot.customer_id]
        capacity = snapshot.capacity_bytes or plan.storage_capacity_bytes
        if capacity is not None:
            pairs.append((snapshot.customer_id, snapshot.used_bytes / capacity))
    return largest(pairs)


def quantity(name, limit):
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
