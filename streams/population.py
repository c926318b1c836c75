"""Who the synthetic operator's customers are: plans, habits, and the parts that some of them play.

Ordinary customers have habits: a level per kind of use, drawn once from a lognormal. A few play a
part: abusers, who break one rule each, and look-alikes, who come close to a limit and keep it. What
they do on which day is written down beforehand in scripts.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.records import Customer

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]

GB = 10**9
MB = 10**6
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
AS_USUAL = -1
"""In a script: on this day the customer follows their habit."""

ABUSERS = (
    "sms_daily",
    "sms_monthly",
    "voice_daily",
    "data_monthly_ratio",
    "portscan",
    "storage_capacity",
)
"""A part for each of these rules, named after it."""

LOOKALIKES = ("festival_texter", "salesman", "heavy_data_user", "keen_browser", "full_storage")

ABUSER_SHARE = 0.003
ABUSERS_MIN = 3
LOOKALIKE_SHARE = 0.0005
SILENT_SHARE = 0.04
SCRIPTED_SMS_PER_DAY = 345

MOBILE_UNLIMITED, PACK_UNLIMITED, BUSINESS, MOBILE_BUNDLE, MOBILE_START = range(5)
PLAN_SHARES = (0.52, 0.22, 0.08, 0.10, 0.08)
PLANS = (
    Customer(
        customer_id="plan",
        plan="mobile-unlimited",
        unlimited=["sms", "voice", "data"],
        roaming_bundle_bytes=30 * GB,
        storage_capacity_bytes=32 * GB,
    ),
    Customer(
        customer_id="plan",
        plan="pack-unlimited",
        unlimited=["sms", "voice", "data"],
        roaming_bundle_bytes=30 * GB,
        stream_devices=5,
        stream_concurrent=2,
        access="fixed",
    ),
    Customer(
        customer_id="plan",
        plan="business-unlimited",
        unlimited=["sms", "voice", "data"],
        segment="professional",
        roaming_bundle_bytes=50 * GB,
        storage_capacity_bytes=32 * GB,
    ),
    Customer(
        customer_id="plan",
        plan="mobile-10gb",
        unlimited=["sms", "voice"],
        data_bundle_bytes=10 * GB,
        storage_capacity_bytes=GB,
    ),
    Customer(
        customer_id="plan",
        plan="mobile-start",
        data_bundle_bytes=2 * GB,
        storage_capacity_bytes=GB,
    ),
)


class Scan(NamedTuple):
    """A way to look for open ports: on one host or on one port, how many targets, how fast."""

    is_vertical: bool
    targets_min: int
    targets_max: int
    length_ms: int


SCANS = (
    Scan(True, 40, 120, MINUTE_MS),
    Scan(False, 40, 120, MINUTE_MS),
    Scan(True, 15, 18, 4 * MINUTE_MS),
    Scan(False, 25, 28, 4 * MINUTE_MS),
)
"""Fast and slow ones; the slow ones are only just scans."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """Mean use of each customer, each column of shape (customers,); a silent customer's is zero."""

    sms_sent_per_day: Numbers
    sms_received_per_day: Numbers
    calls_made_per_day: Numbers
    calls_received_per_day: Numbers
    data_bytes_per_day: Numbers
    flows_per_day: Numbers
    viewings_per_day: Numbers
    storage_used_bytes: Numbers


@dataclass(frozen=True, slots=True)
class Script:
    """What some customers do on each day instead of following their habit.

    `people` has shape (k,), `amount` shape (k, days), in the unit of what it scripts or `AS_USUAL`.
    """

    people: Integers
    amount: Integers

    @property
    def days(self) -> int:
        """How many days the script covers."""
        return int(self.amount.shape[1])

    def today(self, day: int) -> tuple[Integers, Integers]:
        """Who follows the script on this day, and the amount of each."""
        rows = np.flatnonzero(self.amount[:, day] != AS_USUAL)
        return self.people[rows], self.amount[rows, day]


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Every customer with habits, the part of those who play one, and the scripts of the parts."""

    customers: list[Customer]
    ids: list[str]
    parts: dict[str, Integers]
    habits: Habits
    texts: Script
    calls_ms: Script
    scans: Script
    stored_bytes: Script


def populate(rng: np.random.Generator, count: int, weekdays: Integers) -> Population:
    """Draw a population of `count` customers for days with these weekdays (Monday is 0)."""
    parts = _cast(rng, count)
    plan = _plans(rng, parts, count)
    ids = [f"324{70_000_000 + c}" for c in range(count)]
    return Population(
        customers=[
            msgspec.structs.replace(PLANS[index], customer_id=customer_id)
            for customer_id, index in zip(ids, plan.tolist(), strict=True)
        ],
        ids=ids,
        parts=parts,
        habits=_habits(rng, parts, plan),
        texts=_texts(rng, parts, len(weekdays)),
        calls_ms=_calls_ms(rng, parts, weekdays),
        scans=_scans(rng, parts, len(weekdays)),
        stored_bytes=_stored_bytes(rng, parts, plan, len(weekdays)),
    )


def _cast(rng: np.random.Generator, count: int) -> dict[str, Integers]:
    """Give out the parts; nobody plays two."""
    abusers = max(ABUSERS_MIN, round(count * ABUSER_SHARE))
    lookalikes = max(1, round(count * LOOKALIKE_SHARE))
    sizes = [abusers] * len(ABUSERS) + [lookalikes] * len(LOOKALIKES)
    sizes.append(round(count * SILENT_SHARE))
    groups = np.split(rng.permutation(count), np.cumsum(sizes))
    return dict(zip((*ABUSERS, *LOOKALIKES, "silent", "ordinary"), groups, strict=True))


def _plans(rng: np.random.Generator, parts: dict[str, Integers], count: int) -> Integers:
    """Index into `PLANS` of each customer: by chance, except where the part needs a certain one."""
    plan = rng.choice(len(PLANS), size=count, p=PLAN_SHARES)
    for part in (*ABUSERS, *LOOKALIKES):
        plan[parts[part]] = MOBILE_UNLIMITED
    for part in ("portscan", "keen_browser"):
        plan[parts[part]] = PACK_UNLIMITED
    plan[parts["salesman"]] = BUSINESS
    plan[parts["storage_capacity"][::2]] = MOBILE_BUNDLE
    return plan


def _habits(rng: np.random.Generator, parts: dict[str, Integers], plan: Integers) -> Habits:
    """Draw everybody's level for each kind of use, then make the silent silent."""
    count = len(plan)
    fixed = plan == PACK_UNLIMITED
    at_work = np.where(plan == BUSINESS, 2.0, 1.0)
    sms = _levels(rng, count, mean=0.7, sigma=1.0, highest=12)
    calls = _levels(rng, count, mean=0.45, sigma=0.9, highest=2) * at_work
    habits = Habits(
        sms_sent_per_day=sms,
        sms_received_per_day=0.6 * sms,
        calls_made_per_day=calls,
        calls_received_per_day=0.9 * calls,
        data_bytes_per_day=_data_levels(rng, plan),
        flows_per_day=fixed * _levels(rng, count, mean=2.5, sigma=0.8, highest=20),
        viewings_per_day=fixed * _levels(rng, count, mean=0.6, sigma=0.5, highest=2),
        storage_used_bytes=_storage_levels(rng, plan),
    )
    for field in fields(habits):
        getattr(habits, field.name)[parts["silent"]] = 0
    _exaggerate_data(rng, parts, plan, habits.data_bytes_per_day)
    return habits


def _levels(
    rng: np.random.Generator, count: int, *, mean: float, sigma: float, highest: float
) -> Numbers:
    """Lognormal levels of this mean, cut off at the highest, shape (count,)."""
    return np.minimum(mean * rng.lognormal(-(sigma**2) / 2, sigma, count), highest)


def _data_levels(rng: np.random.Generator, plan: Integers) -> Numbers:
    """Bytes a day: at most four times the mean if unlimited, well within the bundle if not."""
    levels = _levels(rng, len(plan), mean=600 * MB, sigma=0.8, highest=2_400 * MB)
    for index, template in enumerate(PLANS):
        if template.data_bundle_bytes is not None:
            bundled = plan == index
            levels[bundled] = np.minimum(levels[bundled] / 4, template.data_bundle_bytes / 50)
    return levels


def _exaggerate_data(
    rng: np.random.Generator, parts: dict[str, Integers], plan: Integers, levels: Numbers
) -> None:
    """Raise the abusers to 20 to 40 times the mean of all unlimited customers, one heavy to 6.

    The abusers lift the mean themselves, the more so the fewer customers there are.
    """
    unlimited = np.isin(plan, (MOBILE_UNLIMITED, PACK_UNLIMITED, BUSINESS))
    abusers = parts["data_monthly_ratio"]
    levels[abusers] = rng.uniform(30, 40, len(abusers)) * levels[unlimited].mean()
    levels[parts["heavy_data_user"]] = 6 * levels[unlimited].mean()


def _storage_levels(rng: np.random.Generator, plan: Integers) -> Numbers:
    """Bytes stored at the end: below 95 % of the plan's capacity, zero without cloud."""
    levels = np.empty(len(plan))
    for index, template in enumerate(PLANS):
        holders = np.flatnonzero(plan == index)
        capacity = template.storage_capacity_bytes
        if capacity is None:
            levels[holders] = _levels(rng, len(holders), mean=40 * GB, sigma=1.0, highest=500 * GB)
        else:
            levels[holders] = capacity * rng.beta(1.5, 2.5, len(holders)) * 0.95
    levels[rng.random(len(plan)) < 0.4] = 0
    return levels


def _texts(rng: np.random.Generator, parts: dict[str, Integers], days: int) -> Script:
    """Messages sent: 400 to 600 on some days, 345 on all days, 340 on the day of a festival."""
    daily, monthly, festival = (
        parts[part] for part in ("sms_daily", "sms_monthly", "festival_texter")
    )
    flood = np.full((len(daily), days), AS_USUAL)
    for row in flood:
        chosen = _some_days(rng, 0, days, int(rng.integers(1, 6)))
        row[chosen] = rng.integers(400, 601, len(chosen))
    drip = np.full((len(monthly), days), SCRIPTED_SMS_PER_DAY)
    party = np.full((len(festival), days), AS_USUAL)
    party[np.arange(len(festival)), rng.integers(0, days, len(festival))] = 340
    return Script(np.concatenate((daily, monthly, festival)), np.vstack((flood, drip, party)))


def _calls_ms(rng: np.random.Generator, parts: dict[str, Integers], weekdays: Integers) -> Script:
    """Time spent calling: 7 to 9 h on 3 to 5 of 7 days, for some on one day; a salesman's 5.5 h.

    The salesman works from Monday to Friday, so that his week stays below 30 h too.
    """
    days = len(weekdays)
    abusers, salesmen = parts["voice_daily"], parts["salesman"]
    talk = np.full((len(abusers), days), AS_USUAL)
    for position, row in enumerate(talk):
        first = int(rng.integers(0, max(days - 6, 1)))
        wanted = 1 if position % 3 == 2 else int(rng.integers(3, 6))
        chosen = _some_days(rng, first, min(first + 7, days), wanted)
        row[chosen] = rng.integers(7 * HOUR_MS, 9 * HOUR_MS, len(chosen))
    work = np.where(weekdays < 5, 5 * HOUR_MS + HOUR_MS // 2, 0)
    rounds = np.tile(work, (len(salesmen), 1))
    return Script(np.concatenate((abusers, salesmen)), np.vstack((talk, rounds)))


def _scans(rng: np.random.Generator, parts: dict[str, Integers], days: int) -> Script:
    """Index into `SCANS` of the scan made on each of up to three days."""
    scanners = parts["portscan"]
    scans = np.full((len(scanners), days), AS_USUAL)
    for position, row in enumerate(scans):
        row[_some_days(rng, 0, days, int(rng.integers(1, 4)))] = position % len(SCANS)
    return Script(scanners, scans)


def _stored_bytes(
    rng: np.random.Generator, parts: dict[str, Integers], plan: Integers, days: int
) -> Script:
    """Bytes stored: rising above the capacity, half of them falling back; or 99 % all along.

    Every second one of those who fall back stops exactly at the capacity, which is allowed.
    """
    abusers, full = parts["storage_capacity"], parts["full_storage"]
    capacity = np.array([template.storage_capacity_bytes or 0 for template in PLANS])[plan]
    shares = np.full((len(abusers) + len(full), days), 0.99)
    day = np.arange(days)
    for position, row in enumerate(shares[: len(abusers)]):
        above = int(rng.integers(0, days // 2 + 1))
        back = (above + days + 1) // 2 if position % 2 == 0 else days
        row[:] = np.where(day < above, 0.7 + 0.25 * day / max(above, 1), rng.uniform(1.01, 1.6))
        row[max(back, above + 1) :] = 1.0 if position % 4 == 0 else 0.8
    people = np.concatenate((abusers, full))
    return Script(people, (shares * capacity[people, None]).astype(np.int64))


def _some_days(rng: np.random.Generator, first: int, end: int, wanted: int) -> Integers:
    """Distinct days of [first, end): as many as wanted, or all if there are fewer."""
    return rng.choice(np.arange(first, end), size=min(wanted, end - first), replace=False)
