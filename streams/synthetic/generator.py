"""A synthetic operator: customers with habits, abusers planted among them, and a seed.

Everything follows from the seed. Each day has its own random generator, so that only one day is in
memory. `population.py` draws who the customers are, `habits.py` what they do by habit; the table of
`parts` says what some of them do besides.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from schemas.events import Event
from schemas.records import Customer
from streams.synthetic import habits as daily_use
from streams.synthetic.local_day import LocalDay, local_day
from streams.synthetic.parts import PARTS
from streams.synthetic.parts.part import Part
from streams.synthetic.parts.scene import Scene
from streams.synthetic.population import Role, populate

CUSTOMERS_MIN = 200
"""With fewer customers, almost all of them would play a part."""

MARCH_2026_MS, DAYS_TO_MAY, DAYS_OF_A_YEAR = 1_772_319_600_000, 62, 365
"""Days end before May 2026 by default, since events of the future are refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorShape:
    """How large the operator is, and which days are played.

    The default days include a change of daylight-saving time. Parts that need more days or
    customers are left out: `sms_monthly` needs 29 days of one month, `data_monthly_ratio` a month
    that ended 48 h ago, `roaming_permanent` five months, `inactive` more than a year.

    Parameters
    ----------
    customers
        How many customers there are, `CUSTOMERS_MIN` at least.
    days
        How many local days are played, 1 at least.
    seed
        Seed of everything random.
    start_ms
        The first local midnight, ms; None for one before May 2026.
    timezone
        The operator's time zone.
    """

    customers: int = 2_000
    days: int = 62
    seed: int = 7
    start_ms: int | None = None
    timezone: str = "Europe/Brussels"

    def __post_init__(self) -> None:
        """Refuse shapes that can't be played.

        Raises
        ------
        ValueError
            There are too few customers or days, or `start_ms` is no local midnight.
        """
        if self.customers < CUSTOMERS_MIN or self.days < 1:
            raise ValueError(f"Give at least {CUSTOMERS_MIN} customers and one day.")
        if local_day(self.begins_ms, self.timezone, 0).start_ms != self.begins_ms:
            raise ValueError(f"Give a midnight in {self.timezone} as start_ms.")

    @property
    def begins_ms(self) -> int:
        """The first midnight, ms; by default 1 March, as late as lets the days end by May 2026."""
        if self.start_ms is not None:
            return self.start_ms
        years = -(-max(self.days - DAYS_TO_MAY, 0) // DAYS_OF_A_YEAR)
        return local_day(MARCH_2026_MS, self.timezone, -years * DAYS_OF_A_YEAR).start_ms


@dataclass(frozen=True, slots=True)
class Expected:
    """Whom a rule must find, and whom it may find: they play a part that may break it, too."""

    must: frozenset[str]
    may: frozenset[str]


class Operator:
    """Customers and their usage events, day by day.

    Parameters
    ----------
    shape
        How many customers and days there are.
    parts
        The parts that some customers play beside their habits.
    """

    def __init__(self, shape: OperatorShape, parts: Sequence[Part] = PARTS) -> None:
        self._shape = shape
        self._calendar = [
            local_day(shape.begins_ms, shape.timezone, index) for index in range(shape.days)
        ]
        self._rules = [part.name for part in parts if part.name in part.must]
        self._parts = [part for part in parts if part.needs(self._calendar, shape.customers)]
        self._people = populate(self._generator(0), shape.customers, self._calendar, self._parts)

    def customers(self) -> list[Customer]:
        """List all customers.

        Returns
        -------
        The records of the `customers` topic, those without any use included.
        """
        return self._people.customers

    @property
    def cast(self) -> dict[str, frozenset[str]]:
        """The players of each part that is played, by its name."""
        return {
            part.name: frozenset(
                self._people.ids[customer] for customer in self._people.cast[part.name].tolist()
            )
            for part in self._parts
        }

    @property
    def expected(self) -> dict[str, Expected]:
        """Whom each rule finds within these days under the default limits, by its name.

        Some parts also break a second rule. It must find their players only if these days are
        enough for that rule's own part.
        """
        cast = self.cast
        expected = {}
        for rule in self._rules:
            must = [p.name for p in self._parts if rule in p.must and rule in cast]
            may = [p.name for p in self._parts if rule in (*p.must, *p.may) and p.name not in must]
            expected[rule] = Expected(
                frozenset().union(*(cast[name] for name in must)),
                frozenset().union(*(cast[name] for name in may)),
            )
        return expected

    @property
    def event_count_estimate(self) -> int:
        """Estimate of the number of events, for progress bars."""
        habits = daily_use.events_per_day(self._people.habits) * self._shape.days
        roles = [(day, role) for day in self._calendar for role in self._people.stage[day.index]]
        times = Counter(role.part.name for _, role in roles)
        first = {role.part.name: (day, role) for day, role in reversed(roles)}
        rng = self._generator(0)
        return round(habits) + sum(
            times[name] * len(self._played(rng, *when)) for name, when in first.items()
        )

    def days(self) -> Iterator[list[Event]]:
        """Generate the events; every call generates the same.

        Yields
        ------
        The events of each local day, in order of time.
        """
        for day in self._calendar:
            rng = self._generator(day.index + 1)
            now = daily_use.today(day, self._people)
            events = [event for habit in daily_use.HABITS for event in habit(rng, now)]
            for role in self._people.stage[day.index]:
                events += self._played(rng, day, role)
            events.sort(key=attrgetter("event_time_ms"))
            yield events

    def _played(self, rng: np.random.Generator, day: LocalDay, role: Role) -> list[Event]:
        """The events of one player on a day of their part."""
        if role.part.play is None:
            return []
        network = daily_use.network_abroad(role.customer) if role.part.is_abroad else None
        return role.part.play(
            Scene(
                rng=rng,
                day=day,
                player=self._people.players[role.customer],
                prefix=f"p{day.index}-{role.customer}-",
                act=role.act,
                acts=role.acts,
                visited_plmn=network,
            )
        )

    def _generator(self, stream: int) -> np.random.Generator:
        """A random generator: number 0 for the population, n + 1 for day n."""
        return np.random.default_rng(np.random.SeedSequence(self._shape.seed, spawn_key=(stream,)))
