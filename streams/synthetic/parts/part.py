"""What a part is: who can play it, on which days, and which rules must find its players."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from schemas.events import USAGE_KINDS, Event
from streams.synthetic.parts.scene import Scene
from streams.synthetic.parts.schedules import Need, Schedule, always, every_day
from streams.synthetic.plans import MOBILE_UNLIMITED

ABUSER_SHARE, ABUSERS_MIN = 0.002, 2
LOOKALIKE_SHARE, LOOKALIKES_MIN = 0.0005, 1

EVERYTHING = tuple(USAGE_KINDS)
Play = Callable[[Scene], list[Event]]
"""Makes the events of one player on one day."""

UNLIKE_OTHERS = ("usage_double", "deviation")
"""Rules that compare with the average: they may find any player of a part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part that some customers play beside their habits, on the days of its schedule.

    Parameters
    ----------
    name : the rule that it breaks, or the name of an innocent look-alike.
    must, may : the rules that must find its players, and those that may find them.
    share, players_min : share of all customers who play it, and how many at least.
    plan : the plans of its players in turn; random plans if there are none.
    play : makes the events of one day of one player.
    when : draws the days.
    together : whether all players have the same days.
    mutes : kinds of events whose habits rest on these days.
    is_abroad : whether the player is in another country's network on these days.
    data_times : the player's habit of data, as a range of multiples of the mean.
    is_silent : whether the player has no habits at all.
    ends : whether the contract has ended.
    valid_from_day : the day from which the contract is as it is.
    needs : whether the days and customers are enough; otherwise nobody plays the part.
    """

    name: str
    must: tuple[str, ...] = ()
    may: tuple[str, ...] = UNLIKE_OTHERS
    share: float = LOOKALIKE_SHARE
    players_min: int = LOOKALIKES_MIN
    plan: tuple[int, ...] = (MOBILE_UNLIMITED,)
    play: Play | None = None
    when: Schedule = every_day
    together: bool = False
    mutes: tuple[str, ...] = ()
    is_abroad: bool = False
    data_times: tuple[float, float] | None = None
    is_silent: bool = False
    ends: bool = False
    valid_from_day: int = 0
    needs: Need = always

    def player_count(self, customers: int) -> int:
        """Find the number of players.

        Parameters
        ----------
        customers
            How many customers there are.

        Returns
        -------
        How many of them play the part.
        """
        return max(self.players_min, round(customers * self.share))


def abuser(rule: str, **more: Any) -> Part:
    """Make a part that breaks a rule.

    Parameters
    ----------
    rule
        The rule.
    **more
        Fields of the part; `must` holds rules besides this one.

    Returns
    -------
    The part.
    """
    also = more.pop("must", ())
    part = Part(name=rule, must=(rule, *also), share=ABUSER_SHARE, players_min=ABUSERS_MIN)
    return replace(part, **more)


def look_alike(name: str, **more: Any) -> Part:
    """Make a part that comes close to a limit and keeps it.

    Parameters
    ----------
    name
        Its name.
    **more
        Fields of the part.

    Returns
    -------
    The part.
    """
    return replace(Part(name=name), **more)
