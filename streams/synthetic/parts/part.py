"""What a part is: who can play it, on which days, and which rules must find it."""

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
UNLIKE_OTHERS = ("usage_double", "deviation")
"""Whoever plays a part may well be far from the average."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part that some customers play beside their habits, on the days of its schedule.

    Parameters
    ----------
    name : the rule that it breaks, or what an innocent look-alike is called.
    must, may : the rules by which its players are to be found, and by which they can be.
    share, players_min : how many of the customers play it.
    plan : the plans of its players in turn; by chance if there are none.
    play : makes the events of one day of one player.
    when : draws the days; `together` says that all players have the same ones.
    mutes : kinds of events of which the habits rest on these days.
    is_abroad : whether the player is in another country's network on these days.
    data_times : between how many times the mean use of data the player's habit is.
    is_silent : whether the player has no habits at all.
    ends : whether the contract has ended, and since which day it is as it is.
    needs : whether the days and customers are enough for it to show; else nobody plays it.
    """

    name: str
    must: tuple[str, ...] = ()
    may: tuple[str, ...] = UNLIKE_OTHERS
    share: float = LOOKALIKE_SHARE
    players_min: int = LOOKALIKES_MIN
    plan: tuple[int, ...] = (MOBILE_UNLIMITED,)
    play: Callable[[Scene], list[Event]] | None = None
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
        """How many play it."""
        return max(self.players_min, round(customers * self.share))


def abuser(rule: str, **more: Any) -> Part:
    """The part of those who break a rule."""
    also = more.pop("must", ())
    part = Part(name=rule, must=(rule, *also), share=ABUSER_SHARE, players_min=ABUSERS_MIN)
    return replace(part, **more)


def look_alike(name: str, **more: Any) -> Part:
    """The part of those who come close to a limit and keep it."""
    return replace(Part(name=name), **more)
