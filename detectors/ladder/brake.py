"""The brake: holds actions back when there are suddenly too many, as by a mistake in a policy."""

from collections import Counter
from typing import NamedTuple

from msgspec import Struct

from schemas.policy import LadderParameters
from schemas.units import HOUR_MS

EVERYTHING = ""
"""The scope of all rules together."""

HELD_MAX = 10_000
"""Actions of a partition that are held at most; further ones are dropped and counted."""

FLOOR = 50
"""Actions an hour that are never too many, whatever the share or the usual number."""

HOURS_KEPT = 7 * 24
"""Hours counted one by one, as many as usage topics keep; older ones are in the usual number."""

WEIGHT = 8
"""An hour's weight in the usual number is 1 / `WEIGHT`."""


class HeldAction(NamedTuple):
    """An action that is held back, and the key of its dossier."""

    key: str
    action_id: str
    rule: str


class BrakeMemory(Struct, frozen=True):
    """What is stored of a brake; `hours` counts actions by scope and hour since 1970."""

    engaged: list[str]
    hours: dict[str, dict[int, int]]
    usual: dict[str, float]
    next_number: int


class Brake:
    """Counts each hour's actions, by rule and in all, and engages when they are too many.

    Hours are those at which actions were decided, so a replay counts as the worker did. A single
    rule may use half of what all may, so that it is stopped before the others are. The usual
    number of a rule is a running mean of its earlier hours with any action.
    """

    def __init__(self, ladder: LadderParameters) -> None:
        self.ladder = ladder
        self.customers = 0
        """Customers of the partition; while it is 0, their share sets no limit."""
        self.engaged: list[str] = []
        self.hours: dict[str, dict[int, int]] = {}
        self.usual: dict[str, float] = {}
        self.next_number = 1
        self.held: dict[int, HeldAction] = {}
        """By number, in the order in which they were held."""

    def lets_through(self, rule: str, decided_ms: int) -> bool:
        """Count an action; False when it has to wait for a person."""
        if rule in self.engaged or EVERYTHING in self.engaged:
            return False
        counted = []
        for scope in (rule, EVERYTHING):
            hour = self._hour(scope, decided_ms // HOUR_MS)
            if hour is None:
                continue
            hours = self.hours[scope]
            count = hours.get(hour, 0) + 1
            if count > self.limit(scope):
                self.engaged.append(scope)
                return False
            counted.append((hours, hour, count))
        for hours, hour, count in counted:
            hours[hour] = count
        return True

    def limit(self, scope: str) -> int:
        """Actions an hour that are still let through."""
        part = 1 if scope == EVERYTHING else 2
        limit = max(1, self.ladder.brake_actions_per_hour // part)
        if self.customers:
            share = self.ladder.brake_share_percent * self.customers / 100 / part
            limit = min(limit, max(FLOOR, int(share)))
        if scope in self.usual and scope != EVERYTHING:
            limit = min(limit, max(FLOOR, int(self.ladder.brake_surge * self.usual[scope])))
        return limit

    def hold(self, held: HeldAction) -> int:
        """Hold an action back; returns its number, or 0 when there is no room."""
        if len(self.held) >= HELD_MAX:
            return 0
        number = self.next_number
        self.next_number += 1
        self.held[number] = held
        return number

    def release(self, rule: str | None) -> None:
        """Let actions through again, and count this hour anew: a person has seen its actions."""
        scopes = list(self.engaged) if rule is None else [rule]
        self.engaged = [scope for scope in self.engaged if scope not in scopes]
        for scope in scopes:
            self.hours.pop(scope, None)

    def held_of(self, rule: str | None) -> list[HeldAction]:
        """The held actions of a rule, or of all rules, in order."""
        return [held for held in self.held.values() if rule is None or held.rule == rule]

    def counts(self) -> Counter[str]:
        """Held actions by rule."""
        return Counter(held.rule for held in self.held.values())

    def remember(self) -> BrakeMemory:
        """Everything but what is held, which customers' dossiers know."""
        return BrakeMemory(self.engaged, self.hours, self.usual, self.next_number)

    def recall(self, memory: BrakeMemory) -> None:
        """Take back what `remember` gave."""
        self.engaged, self.hours = memory.engaged, memory.hours
        self.usual, self.next_number = memory.usual, memory.next_number

    def _hour(self, scope: str, hour: int) -> int | None:
        """The hour to count under; None for one older than `HOURS_KEPT`.

        Such hours come when a worker reads kinds of usage that are days apart. Hours that are old
        enough go into the usual number.
        """
        hours = self.hours.setdefault(scope, {})
        if hour in hours:
            return hour
        oldest = max(hours, default=hour) - HOURS_KEPT + 1
        if hour < oldest:
            return None
        for old in sorted(h for h in hours if h <= hour - HOURS_KEPT):
            count = hours.pop(old)
            usual = self.usual.get(scope)
            self.usual[scope] = count if usual is None else usual + (count - usual) / WEIGHT
        return hour
