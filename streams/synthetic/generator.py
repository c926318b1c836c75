"""A synthetic operator: customers with habits, abusers planted among them, and a seed.

Everything follows from the seed. Each day has its own generator, so that only one day is in memory.
Who the customers are is drawn in `population.py`, what they do by habit in `daily_use.py`; the
parts that some play beside it are the table of `parts`.
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
"""With fewer, hardly anybody ordinary is left beside the parts that are played."""

MARCH_2026_MS, DAYS_TO_MAY, DAYS_OF_A_YEAR = 1_772_319_600_000, 62, 365
"""Nothing is played in the future, for what happens there is refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorShape:
    """How large the operator is, for how long it is played, and from which local midnight on.

    A daylight-saving day lies inside the default. Short or small shapes leave out the parts that
    could not show in them: `sms_monthly` needs 29 days of one month, `data_monthly_ratio` a month
    that ended 48 h ago, `roaming_permanent` five months, `inactive` more than a year.
    """

    customers: int = 2_000
    days: int = 62
    seed: int = 7
    start_ms: int | None = None
    timezone: str = "Europe/Brussels"

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        if self.customers < CUSTOMERS_MIN or self.days < 1:
            raise ValueError(f"Give at least {CUSTOMERS_MIN} customers and one day.")
        if local_day(self.begins_ms, self.timezone, 0).start_ms != self.begins_ms:
            raise ValueError(f"Give a midnight in {self.timezone} as start_ms.")

    @property
    def begins_ms(self) -> int:
        """The first midnight: by default so many years before 1 March 2026 as end by May 2026."""
        if self.start_ms is not None:
            return self.start_ms
        years = -(-max(self.days - DAYS_TO_MAY, 0) // DAYS_OF_A_YEAR)
        return local_day(MARCH_2026_MS, self.timezone, -years * DAYS_OF_A_YEAR).start_ms


@dataclass(frozen=True, slots=True)
class Expected:
    """Who must be found by a rule, and who else may be without being wronged."""

    must: frozenset[str]
    may: frozenset[str]


class Operator:
    """Customers and their usage events, day by day; some play these parts beside their habits."""

    def __init__(self, shape: OperatorShape, parts: Sequence[Part] = PARTS) -> None:
        self._shape = shape
        self._calendar = [
            local_day(shape.begins_ms, shape.timezone, index) for index in range(shape.days)
        ]
        self._rules = [part.name for part in parts if part.name in part.must]
        self._parts = [part for part in parts if part.needs(self._calendar, shape.customers)]
        self._people = populate(self._generator(0), shape.customers, self._calendar, self._parts)

    def customers(self) -> list[Customer]:
        """Everybody, the silent ones included: what goes on the `customers` topic."""
        return self._people.customers

    @property
    def cast(self) -> dict[str, frozenset[str]]:
        """Who plays each part that is played."""
        return {
            part.name: frozenset(
                self._people.ids[customer] for customer in self._people.cast[part.name].tolist()
            )
            for part in self._parts
        }

    @property
    def expected(self) -> dict[str, Expected]:
        """Whom each rule finds within these days, under the default limits.

        A part that breaks another rule beside its own must be found by it only if these days are
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
        """About how many events there will be, for progress bars."""
        habits = daily_use.events_per_day(self._people.habits) * self._shape.days
        roles = [(day, role) for day in self._calendar for role in self._people.stage[day.index]]
        times = Counter(role.part.name for _, role in roles)
        first = {role.part.name: (day, role) for day, role in reversed(roles)}
        rng = self._generator(0)
        return round(habits) + sum(
            times[name] * len(self._played(rng, *when)) for name, when in first.items()
        )

    def days(self) -> Iterator[list[Event]]:
        """Yield the events of each local day in order of time; every call yields the same."""
        for day in self._calendar:
            rng = self._generator(day.index + 1)
            now = daily_use.today(day, self._people)
            events = [event for habit in daily_use.HABITS for event in habit(rng, now)]
            for role in self._people.stage[day.index]:
                events += self._played(rng, day, role)
            events.sort(key=attrgetter("event_time_ms"))
            yield events

    def _played(self, rng: np.random.Generator, day: LocalDay, role: Role) -> list[Event]:
        """What one player does on a day of their part."""
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
        """A generator of its own for the population (0) and for each day (from 1 on)."""
        return np.random.default_rng(np.random.SeedSequence(self._shape.seed, spawn_key=(stream,)))
