"""Slow, obvious twins of what `detectors/` computes: loops, dicts and datetimes, none of its code.

Kernels have a function or class of the same name. A rule's twin takes events one by one and gives
the findings they lead to; `Twin` puts the screen before the rules, as a partition does.
"""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.records import CohortAverage
from schemas.units import HOUR_MS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# -- kernels --------------------------------------------------------------------------------------


def running_totals(group, amount, start):
    """Add row by row; a group begins with what its rows say it had."""
    totals, so_far = [], {}
    for g, a, s in zip(group, amount, start, strict=True):
        so_far[g] = so_far.get(g, s) + a
        totals.append(so_far[g])
    return totals


def running_maxima(group, value, start):
    """Largest value before each row."""
    maxima, so_far = [], {}
    for g, v, s in zip(group, value, start, strict=True):
        so_far.setdefault(g, s)
        maxima.append(so_far[g])
        so_far[g] = max(so_far[g], v)
    return maxima


def fullest_windows(group, step, weight, steps):
    """Try every window of every group."""
    fullest = {}
    rows = list(zip(group, step, weight, strict=True))
    for g in sorted(set(group)):
        own = [(s, w) for other, s, w in rows if other == g]
        ends = range(min(s for s, _ in own), max(s for s, _ in own) + steps + 1)
        fullest[g] = max(sum(w for s, w in own if end - steps <= s <= end) for end in ends)
    return list(fullest), list(fullest.values())


def distinct_in_windows(contacts, ends, steps):
    """Look through all contacts for each window."""
    return {
        end: len({element for element, step in contacts if end - steps <= step <= end})
        for end in ends
    }


def most_at_once(group, start, end):
    """Count who is there whenever someone comes."""
    rows = list(zip(group, start, end, strict=True))
    most = {
        g: max(
            sum(other == g and s <= at < e for other, s, e in rows)
            for g_at, at, _ in rows
            if g_at == g
        )
        for g in sorted(set(group))
    }
    return list(most), list(most.values())


def bounded_walk(group, step, start, lower):
    """Walk row by row, never below."""
    places, so_far = [], {}
    for g, move, s in zip(group, step, start, strict=True):
        so_far[g] = max(lower, so_far.get(g, s) + move)
        places.append(so_far[g])
    return places


class Cells:
    """Amounts by group and step; none takes over half, and a full table gives up its oldest."""

    def __init__(self, cells_max):
        self.cells_max, self.floor, self.evicted, self.cells = cells_max, 0, 0, {}

    def add(self, group, step, amounts, needed):
        """What the cell holds after the row, or None where there is no room."""
        self.cells = {cell: held for cell, held in self.cells.items() if cell[1] >= needed}
        cell = group, step
        if cell not in self.cells and sum(s == step for _, s in self.cells) >= self.cells_max // 2:
            self.evicted += 1
            return None
        while cell not in self.cells and len(self.cells) >= self.cells_max and step >= self.floor:
            oldest = min(s for _, s in self.cells)
            if oldest >= step:
                break
            gone = [c for c in self.cells if c[1] == oldest]
            self.evicted, self.floor = self.evicted + len(gone), oldest + 1
            for each in gone:
                del self.cells[each]
        full = cell not in self.cells and len(self.cells) >= self.cells_max
        if full or step < self.floor:
            self.evicted += 1
            return None
        before = self.cells.get(cell, [0] * len(amounts))
        self.cells[cell] = [b + a for b, a in zip(before, amounts, strict=True)]
        return self.cells[cell]


class Contacts:
    """A set of elements and steps for each group."""

    def __init__(self):
        self.of_group = defaultdict(set)

    def add(self, group, element, step):
        """Which rows are new, and how many entries each row's group holds in the end."""
        new = []
        for g, e, s in zip(group, element, step, strict=True):
            new.append((e, s) not in self.of_group[g])
            self.of_group[g].add((e, s))
        return new, [len(self.of_group[g]) for g in group]


class Episodes:
    """Every window that was ever hot; one that ends within `steps` of another is no news."""

    def __init__(self, steps):
        self.steps = steps
        self.hot = defaultdict(set)

    def note(self, key, hot):
        """Ends of hot windows that start a stretch of their own."""
        new = []
        for end in sorted(hot):
            if all(abs(end - other) > self.steps for other in self.hot[key]):
                new.append(end)
            self.hot[key].add(end)
        return new


# -- time -----------------------------------------------------------------------------------------


def local(time_ms, zone):
    """Local time of an instant."""
    return (EPOCH + timedelta(milliseconds=time_ms)).astimezone(zone)


def instant_ms(year, month, day, zone):
    """Local midnight, in a zone where every day has one."""
    return int(datetime(year, month, day, tzinfo=zone).timestamp()) * 1000


class Days:
    """Local days, numbered as Python numbers dates."""

    kind = "day"

    def __init__(self, zone):
        self.zone = zone

    def of(self, time_ms):
        return local(time_ms, self.zone).toordinal()

    def start_ms(self, number):
        day = date.fromordinal(number)
        return instant_ms(day.year, day.month, day.day, self.zone)


class Weeks(Days):
    """Local weeks, numbered by their Mondays."""

    kind = "week"

    def of(self, time_ms):
        return (super().of(time_ms) - 1) // 7

    def start_ms(self, number):
        return super().start_ms(number * 7 + 1)


class Months:
    """Local months, numbered from the year 0."""

    kind = "month"

    def __init__(self, zone):
        self.zone = zone

    def of(self, time_ms):
        there = local(time_ms, self.zone)
        return there.year * 12 + there.month - 1

    def start_ms(self, number):
        return instant_ms(number // 12, number % 12 + 1, 1, self.zone)


class Steps:
    """Steps of a fixed length."""

    kind = "rolling"

    def __init__(self, step_ms):
        self.step_ms = step_ms

    def of(self, time_ms):
        return time_ms // self.step_ms

    def start_ms(self, number):
        return number * self.step_ms


# -- rules ----------------------------------------------------------------------------------------


class Found(NamedTuple):
    """What a finding says, without its evidence."""

    rule: str
    customer_id: str
    level: str
    kind: str
    start_ms: int
    event_time_ms: int
    observed: int
    limit: int


class Plans:
    """Who may do what."""

    def __init__(self, policy, customers):
        self.default = policy.default_plan
        self.announced = {customer.customer_id: customer for customer in customers}

    def of(self, customer_id):
        return self.announced.get(customer_id, self.default)


class Counting:
    """More of something in a period than allowed: `sms_daily`, `sms_monthly`, `voice_daily`."""

    def __init__(self, name, policy, plans, calendar, limit):
        self.name, self.limit, self.plans = name, limit, plans
        self.parameters = parameters = policy.rules[name]
        self.rolling = parameters.window == "rolling"
        if self.rolling:
            self.periods = Steps(parameters.step_seconds * 1000)
            self.steps = parameters.length_seconds // parameters.step_seconds
            self.retained = parameters.retention_periods * self.steps
            self.episodes = Episodes(self.steps)
        else:
            self.periods = calendar(ZoneInfo(policy.timezone))
            self.retained = parameters.retention_periods
        self.counts = defaultdict(int)
        self.regular = set()

    def accepts(self, event, watermark_ms):
        return self.retains(self.periods.of(event.event_time_ms), watermark_ms)

    def retains(self, period, watermark_ms):
        return period >= self.periods.of(watermark_ms) - self.retained

    def feed(self, event, watermark_ms):
        """Count an event, one period at a time."""
        for period, amount in self.pieces(event):
            if self.retains(period, watermark_ms):
                before = self.counts[event.customer_id, period]
                self.counts[event.customer_id, period] += amount
                if self.applies(event.customer_id):
                    yield from self.judged(event, period, before)

    def applies(self, customer_id):
        plan = self.plans.of(customer_id)
        return self.parameters.applies_to == "all" or self.parameters.service in plan.unlimited

    def judged(self, event, period, before):
        customer_id = event.customer_id
        if self.rolling:
            hot = self.hot_windows(customer_id, period)
            for end in self.episodes.note(customer_id, hot):
                yield self.found(event, "breach", end - self.steps, hot[end])
        elif before <= self.limit < self.counts[customer_id, period]:
            yield self.found(event, "breach", period, self.counts[customer_id, period])
            for regular in self.newly_regular(customer_id):
                yield self.found(event, "regular", regular, self.counts[customer_id, regular])

    def hot_windows(self, customer_id, step):
        """The windows with this step that hold more than allowed."""
        hot = {}
        for end in range(step, step + self.steps + 1):
            inside = range(end - self.steps, end + 1)
            held = sum(self.counts.get((customer_id, s), 0) for s in inside)
            if held > self.limit:
                hot[end] = held
        return hot

    def newly_regular(self, customer_id):
        """Breaches that have enough company in the periods that end with them."""
        needed, window = self.parameters.regular_periods, self.parameters.regular_window
        breaches = sorted(
            p for (c, p), count in self.counts.items() if c == customer_id and count > self.limit
        )
        for last in breaches if needed else ():
            company = [p for p in breaches if last - window < p <= last]
            if len(company) >= needed and (customer_id, last) not in self.regular:
                self.regular.add((customer_id, last))
                yield last

    def found(self, event, level, period, observed):
        return Found(
            rule=self.name,
            customer_id=event.customer_id,
            level=level,
            kind=self.periods.kind,
            start_ms=self.periods.start_ms(period),
            event_time_ms=event.event_time_ms,
            observed=observed,
            limit=self.limit,
        )


class Messages(Counting):
    """One for each message sent."""

    reads = ("sms",)

    def pieces(self, event):
        if event.direction == "mo" and event.service == "sms" and event.segment_number in (None, 1):
            yield self.periods.of(event.event_time_ms), 1


class Calls(Counting):
    """What of a call lies in each period."""

    reads = ("voice",)

    def pieces(self, event):
        if event.direction != "mo":
            return
        at_ms, end_ms = event.event_time_ms, event.event_time_ms + event.duration_ms
        while at_ms < end_ms:
            period = self.periods.of(at_ms)
            next_ms = min(end_ms, self.periods.start_ms(period + 1))
            yield period, next_ms - at_ms
            at_ms = next_ms


def is_failed(flow):
    """Refused or never answered, by its state or else by its flags."""
    if flow.state is not None:
        return flow.state in ("rejected", "unanswered")
    if flow.protocol != 6 or flow.tcp_flags is None:
        return False
    fin, syn, push, ack = (bool(flow.tcp_flags & bit) for bit in (0x01, 0x02, 0x08, 0x10))
    return syn and not (ack and (push or fin))


def is_group_address(text):
    """Many hosts: multicast, or the last address of a /24."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return address.is_multicast or (address.version == 4 and text.endswith(".255"))


class Distinct:
    """Too many distinct elements of a group, in any window: `portscan` and its like.

    `windows`: for each variant its periods, and how many of them a window has besides its last.
    """

    kind = "rolling"
    limit_counts = False

    def __init__(self, periods, windows, retained):
        self.periods, self.windows, self.retained = periods, windows, retained
        self.elements = defaultdict(set)
        self.episodes = {variant: Episodes(steps) for variant, (_, steps) in windows.items()}
        self.reported = set()

    def accepts(self, event, watermark_ms):
        newest = self.periods.of(watermark_ms)
        return self.periods.of(event.event_time_ms) >= newest - self.retained

    def feed(self, event, watermark_ms):
        """`touched` gives variant, key, element, and how many elements are too many."""
        if not self.accepts(event, watermark_ms):
            return
        for variant, key, element, enough in self.touched(event):
            yield from self.contacted(event, variant, key, element, enough)

    def contacted(self, event, variant, key, element, enough):
        periods, steps = self.windows[variant]
        group, step = (event.customer_id, variant, key), periods.of(event.event_time_ms)
        is_new = (element, step) not in self.elements[group]
        self.elements[group].add((element, step))
        hot = {}
        for end in range(step, step + steps + 1):
            inside = {e for e, s in self.elements[group] if end - steps <= s <= end}
            if len(inside) >= enough:
                hot[end] = len(inside)
        if not is_new or (hot and not self.is_breach(event)):
            return
        for end in self.episodes[variant].note(group, hot):
            # A window is reported once, whatever else of the customer gets hot in it.
            start_ms = periods.start_ms(end - steps)
            if (event.customer_id, start_ms) not in self.reported:
                self.reported.add((event.customer_id, start_ms))
                limit = enough if self.limit_counts else enough - 1
                found = self.found(event, "breach", start_ms, hot[end], limit)
                yield from self.told(event, found)

    def is_breach(self, event):
        return True

    def told(self, event, found):
        yield found

    def found(self, event, level, start_ms, observed, limit):
        return Found(
            rule=self.name,
            customer_id=event.customer_id,
            level=level,
            kind=self.kind,
            start_ms=start_ms,
            event_time_ms=event.event_time_ms,
            observed=observed,
            limit=limit,
        )


def rolling(parameters, *variants):
    """What `Distinct` wants to know of a rolling window that is the same for all variants."""
    periods = Steps(parameters.step_seconds * 1000)
    steps = parameters.length_seconds // parameters.step_seconds
    retained = parameters.retention_hours * HOUR_MS // periods.step_ms
    return periods, dict.fromkeys(variants, (periods, steps)), retained


# -- the partition --------------------------------------------------------------------------------


def rules_of(policy, plans):
    """The twin of each rule that the policy has."""
    from tests.support.reference import twins

    return [twins.MODULES[name].Twin(policy, plans) for name in policy.rules]


class Twin:
    """All rules over one partition's events, one event at a time.

    `found`, `too_late` (numbers of events) and `duplicates` (how many) grow as events come. The
    mean of a period waits until every kind that its rule reads has passed the period's end and
    `lateness_hours`; of two the first counts.
    """

    def __init__(self, policy, customers=()):
        self.policy = policy
        self.rules = defaultdict(list)
        for rule in rules_of(policy, Plans(policy, customers)):
            for kind in rule.reads:
                self.rules[kind].append(rule)
        self.watermark_ms = defaultdict(int)
        self.counted_ms = defaultdict(int)
        self.waiting = {}
        self.remembered_hour = {}
        self.found, self.too_late, self.duplicates = [], [], 0

    def feed(self, number, event):
        """Take in an event: too late, seen before, or counted."""
        kind = type(event).__name__.lower()
        self.watermark_ms[kind] = watermark_ms = max(self.watermark_ms[kind], event.event_time_ms)
        rules = self.rules[kind]
        if not any(rule.accepts(event, watermark_ms) for rule in rules):
            self.too_late.append(number)
        elif self.seen_before(kind, event, watermark_ms // HOUR_MS):
            self.duplicates += 1
        else:
            self.counted_ms[kind] = watermark_ms
            self.take_waiting_means()
            for rule in rules:
                self.found += rule.feed(event, watermark_ms)

    def seen_before(self, kind, event, hour):
        """Whether the id came within the window; if not, it is remembered from this hour on."""
        key = (kind, event.source, event.event_id)
        remembered = self.remembered_hour.get(key)
        if remembered is not None and hour <= remembered + self.policy.dedup_window_hours:
            return True
        self.remembered_hour[key] = hour
        return False

    def take_mean(self, average):
        """Take in a mean, for when its period is closed."""
        key = (average.rule, average.cohort, average.period_start_ms)
        self.waiting.setdefault(key, average)
        self.take_waiting_means()

    def take_waiting_means(self, ended_ms=0):
        """Take in the means of periods that are closed by now, or ended before the input."""
        for key, average in list(self.waiting.items()):
            for rule in self.each():
                if rule.name == average.rule:
                    reached_ms = min(self.counted_ms[kind] for kind in rule.reads)
                    reached_ms -= rule.parameters.lateness_hours * HOUR_MS
                    if average.period_end_ms <= max(reached_ms, ended_ms):
                        del self.waiting[key]
                        self.found += rule.take_mean(average)

    def end(self):
        """The input is at its end."""
        last_ms = max(self.watermark_ms.values(), default=0)
        for rule in self.each():
            if hasattr(rule, "end"):
                self.found += rule.end(last_ms)
        self.take_waiting_means(last_ms)

    def each(self):
        """Every rule once."""
        return {id(rule): rule for rules in self.rules.values() for rule in rules}.values()

    def take(self, history):
        """Events and means, in order."""
        for number, record in enumerate(history):
            if isinstance(record, CohortAverage):
                self.take_mean(record)
            else:
                self.feed(number, record)
