"""One turn: a dossier that is worked on, the event time of it, and the actions that follow."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from detectors.ladder.assumed_enforcement import AssumedEnforcement
from detectors.ladder.brake import Brake
from detectors.ladder.dossier import Case, Dossier, Order
from schemas.policy import Policy
from schemas.records import Action
from schemas.units import HOUR_MS


@dataclass(slots=True)
class Turn:
    """What the functions of the ladder work on.

    `now_ms` never falls for a service: a late record counts by its own time, but is decided at the
    latest time known. `unplaced` is the customer's dossier `UNPLACED`. `counts` are those of
    `detectors.ladder.ladder.Alerts`.
    """

    key: str
    customer_id: str
    dossier: Dossier
    unplaced: Dossier
    policy: Policy
    brake: Brake
    counts: Counter[str]
    enforcement: AssumedEnforcement | None = None
    now_ms: int = 0
    out: list[Action] = field(default_factory=list)

    @property
    def answer_due_ms(self) -> int:
        """By when an action that is sent now has to be answered."""
        return self.now_ms + self.policy.ladder.ack_timeout_hours * HOUR_MS

    def case(self, rule: str) -> Case | None:
        """The case about a rule."""
        return self.dossier.cases.get(rule)

    def is_exempt(self, rule: str) -> bool:
        """Whether a rule's findings lead to no action, by decision or by policy."""
        by_policy = self.policy.is_exempt(rule, self.customer_id)
        return by_policy or self.dossier.is_exempt(rule)

    def service_of(self, rule: str) -> str:
        """The service that a rule restricts; empty if the policy no longer has the rule."""
        held, parameters = self.dossier.in_force_of(rule), self.policy.rules.get(rule)
        return held[0] if held else parameters.service if parameters else ""

    def drop(self, action_id: str) -> None:
        """Forget an action that is answered, superseded, or not wanted any more."""
        order = self.dossier.orders.pop(action_id, None)
        if order is not None and order.state == "held":
            self.brake.held.pop(order.number, None)

    def drop_where(self, rule: str, is_meant: Callable[[Order], bool]) -> None:
        """Forget those of a rule's actions that are meant, but for the ones in force."""
        for action_id, order in list(self.dossier.orders.items()):
            if order.rule == rule and is_meant(order) and not self.dossier.governs(action_id):
                self.drop(action_id)
