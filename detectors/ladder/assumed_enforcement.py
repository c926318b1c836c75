"""Enforcement that always does at once what it is told: what a replay assumes."""

from schemas.records import Action, EnforcementResult


class AssumedEnforcement:
    """Answers each action as if it had been carried out when it takes effect.

    Notices count as delivered at the moment they are decided, and restrictions as applied: so a
    replay without `enforcement.results` shows what the ladder would have led to at the earliest.
    What waits for a person is not answered.
    """

    def answer(self, action: Action) -> EnforcementResult | None:
        """What becomes of an action; None while it waits for a person."""
        if action.human_review:
            return None
        return EnforcementResult(
            action_id=action.action_id,
            customer_id=action.customer_id,
            status="delivered" if action.kind == "notify" else "applied",
            time_ms=action.effective_ms,
        )
