"""Who the synthetic operator's customers are: plans, habits, and the parts that some of them play.

Ordinary customers have habits: a level for each kind of use, drawn once, near the average. A few
play a part of the table `parts`: abusers, who break one rule each, and look-alikes, who come close
to a limit and keep it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np

from schemas.records import Customer
from schemas.units import GB, MB, Floats, Ints
from streams.synthetic.parts.part import Part
from streams.synthetic.parts.scene import Player
from streams.synthetic.parts.schedules import Calendar
from streams.synthetic.plans import (
    BUSINESS,
    MOBILE_UNLIMITED,
    PACK_UNLIMITED,
    PLAN_SHARES,
    PLANS,
)

FRIENDS = 12
MEMBERS = 120
CUSTOMERS_PER_CELL = 25
CELLS_MIN = 8
LEVEL_MIN, LEVEL_MAX, LEVEL_SIGMA = 0.5, 1.4, 0.3
"""Levels relative to the mean: by habit nobody uses twice the average."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """Mean use of each customer, each column of shape (customers,); zero for the silent ones."""

    sms_sent_per_day: Floats
    sms_received_per_day: Floats
    calls_made_per_day: Floats
    calls_received_per_day: Floats
    sessions_per_day: Floats
    data_bytes_per_day: Floats
    flows_per_day: Floats
    viewings_per_day: Floats
    storage_used_bytes: Floats


class Role(NamedTuple):
    """A customer who plays a part today, for the `act`-th of `acts` days, counted from zero."""

    part: Part
    customer: int
    act: int
    acts: int


@dataclass(frozen=True, kw_only=True)
class Population:
    """All customers with their habits, the players of each part, and who plays on each day."""

    customers: list[Customer]
    ids: list[str]
    plan: Ints
    cast: dict[str, Ints]
    habits: Habits
    phases: dict[str, Floats]
    stage: list[list[Role]]

    @cached_property
    def cells(self) -> list[str]:
        """The cells of the home network."""
        number = max(CELLS_MIN, len(self.ids) // CUSTOMERS_PER_CELL)
        return [f"206-20-{4_100 + cell}" for cell in range(number)]

    @cached_property
    def imeis(self) -> list[str]:
        """IMEI of each customer's telephone."""
        return [f"35{customer:013d}" for customer in range(len(self.ids))]

    @cached_property
    def fingerprints(self) -> list[str]:
        """Fingerprint of each customer's telephone in data sessions."""
        return [imei[-8:] for imei in self.imeis]

    @cached_property
    def players(self) -> dict[int, Player]:
        """All players of parts, by the number of the customer."""
        return {
            customer: self._player(customer, rank)
            for players in self.cast.values()
            for rank, customer in enumerate(players.tolist())
        }

    def _player(self, customer: int, rank: int) -> Player:
        circle = friends(np.full(FRIENDS, customer), np.arange(1, FRIENDS + 1), len(self.ids))
        record = self.customers[customer]
        return Player(
            customer_id=self.ids[customer],
            rank=rank,
            address=address_of(customer),
            imei=self.imeis[customer],
            cell=self.cells[customer % len(self.cells)],
            friends=[self.ids[friend] for friend in circle.tolist()],
            members=[f"3248{customer % 10_000:04d}{member:03d}" for member in range(MEMBERS)],
            capacity_bytes=record.storage_capacity_bytes or 100 * GB,
            bundle_bytes=record.data_bundle_bytes or 0,
        )


def address_of(customer: int) -> str:
    """Give a customer's line an IP address.

    Parameters
    ----------
    customer
        Number of the customer.

    Returns
    -------
    The address.
    """
    return f"100.{64 + (customer >> 16)}.{customer >> 8 & 255}.{customer & 255}"


def friends(customer: Ints, rank: Ints, count: int) -> Ints:
    """Find friends; those of a customer are always the same.

    Parameters
    ----------
    customer
        Numbers of customers, shape (n,).
    rank
        Which of their friends, from 1 on, shape (n,).
    count
        How many customers there are.

    Returns
    -------
    Number of each friend, who is a customer too, shape (n,).
    """
    friend: Ints = (customer + 1 + (customer * 31 + rank * 101) % (count - 1)) % count
    return friend


def populate(
    rng: np.random.Generator, count: int, calendar: Calendar, parts: Sequence[Part]
) -> Population:
    """Draw a population.

    Parameters
    ----------
    rng
        The random generator.
    count
        How many customers.
    calendar
        The days.
    parts
        The parts that some customers play.

    Returns
    -------
    The population.
    """
    cast = _cast(rng, count, parts)
    plan = _plans(rng, cast, count, parts)
    ids = [f"324{70_000_000 + c}" for c in range(count)]
    return Population(
        customers=_customers(ids, plan, cast, calendar, parts),
        ids=ids,
        plan=plan,
        cast=cast,
        habits=_habits(rng, cast, plan, parts),
        phases={field.name: rng.random(count) for field in fields(Habits)},
        stage=_stage(rng, cast, calendar, parts),
    )


def _cast(rng: np.random.Generator, count: int, parts: Sequence[Part]) -> dict[str, Ints]:
    """Choose the players of each part; nobody plays two parts."""
    sizes = [part.player_count(count) for part in parts]
    groups = np.split(rng.permutation(count)[: sum(sizes)], np.cumsum(sizes)[:-1])
    return {part.name: players for part, players in zip(parts, groups, strict=True)}


def _plans(
    rng: np.random.Generator, cast: dict[str, Ints], count: int, parts: Sequence[Part]
) -> Ints:
    """Index into `PLANS` of each customer, (n,): random, unless a part needs certain plans."""
    plan = rng.choice(len(PLANS), size=count, p=PLAN_SHARES)
    for part in parts:
        players = cast[part.name]
        if part.plan:
            plan[players] = np.resize(part.plan, len(players))
    return plan


def _customers(
    ids: list[str],
    plan: Ints,
    cast: dict[str, Ints],
    calendar: Calendar,
    parts: Sequence[Part],
) -> list[Customer]:
    """The record of each customer; a contract that ends or changes is as it is afterwards."""
    customers = [
        msgspec.structs.replace(PLANS[index], customer_id=customer_id)
        for customer_id, index in zip(ids, plan.tolist(), strict=True)
    ]
    for part in parts:
        if part.valid_from_day:
            for customer in cast[part.name].tolist():
                customers[customer] = msgspec.structs.replace(
                    customers[customer],
                    contract_state="ended" if part.ends else "active",
                    valid_from_ms=calendar[min(part.valid_from_day, len(calendar) - 1)].start_ms,
                )
    return customers


def _habits(
    rng: np.random.Generator, cast: dict[str, Ints], plan: Ints, parts: Sequence[Part]
) -> Habits:
    """Draw each customer's level for each kind of use; silent customers get zero."""
    count = len(plan)
    fixed = plan == PACK_UNLIMITED
    sms = _levels(rng, count, mean=0.7)
    calls = _levels(rng, count, mean=0.45)
    habits = Habits(
        sms_sent_per_day=sms,
        sms_received_per_day=0.6 * sms,
        calls_made_per_day=calls,
        calls_received_per_day=0.9 * calls,
        sessions_per_day=np.full(count, 1.5),
        data_bytes_per_day=_data_levels(rng, plan),
        flows_per_day=fixed * _levels(rng, count, mean=2.5),
        viewings_per_day=fixed * _levels(rng, count, mean=0.6),
        storage_used_bytes=_storage_levels(rng, plan),
    )
    for part in parts:
        if part.is_silent:
            for field in fields(habits):
                getattr(habits, field.name)[cast[part.name]] = 0
    _exaggerate_data(rng, cast, plan, habits.data_bytes_per_day, parts)
    return habits


def _levels(rng: np.random.Generator, count: int, *, mean: float) -> Floats:
    """Random levels around this mean, shape (count,)."""
    levels = rng.lognormal(-(LEVEL_SIGMA**2) / 2, LEVEL_SIGMA, count)
    return mean * levels.clip(LEVEL_MIN, LEVEL_MAX)


def _data_levels(rng: np.random.Generator, plan: Ints) -> Floats:
    """Bytes a day, (n,): around the mean if unlimited, else at most 62 % of the bundle a month."""
    levels = _levels(rng, len(plan), mean=600 * MB)
    for index, template in enumerate(PLANS):
        if template.data_bundle_bytes is not None:
            bundled = plan == index
            levels[bundled] *= template.data_bundle_bytes / 50 / (600 * MB * LEVEL_MAX)
    return levels


def _exaggerate_data(
    rng: np.random.Generator,
    cast: dict[str, Ints],
    plan: Ints,
    levels: Floats,
    parts: Sequence[Part],
) -> None:
    """Raise the levels of parts that use many times the mean of all unlimited customers.

    This raises the mean itself, the more so the fewer customers there are.
    """
    unlimited = np.isin(plan, (MOBILE_UNLIMITED, PACK_UNLIMITED, BUSINESS))
    for part in parts:
        if part.data_times is not None:
            players = cast[part.name]
            levels[players] = rng.uniform(*part.data_times, len(players)) * levels[unlimited].mean()


def _storage_levels(rng: np.random.Generator, plan: Ints) -> Floats:
    """Bytes stored on the last day, (n,): below 95 % of the plan's capacity, for some zero."""
    levels = np.empty(len(plan))
    for index, template in enumerate(PLANS):
        holders = np.flatnonzero(plan == index)
        capacity = template.storage_capacity_bytes
        if capacity is None:
            levels[holders] = _levels(rng, len(holders), mean=40 * GB)
        else:
            levels[holders] = capacity * rng.beta(1.5, 2.5, len(holders)) * 0.95
    levels[rng.random(len(plan)) < 0.4] = 0
    return levels


def _stage(
    rng: np.random.Generator,
    cast: dict[str, Ints],
    calendar: Calendar,
    parts: Sequence[Part],
) -> list[list[Role]]:
    """Draw the days of each player; return the roles of each day."""
    stage: list[list[Role]] = [[] for _ in calendar]
    for part in parts:
        days = part.when(rng, calendar)
        for customer in cast[part.name].tolist():
            if not part.together:
                days = part.when(rng, calendar)
            for act, day in enumerate(days.tolist()):
                stage[day].append(Role(part, customer, act, len(days)))
    return stage
