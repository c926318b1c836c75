"""Ids that follow from what they name, so that a replay or a second try gives the same ones."""

from hashlib import blake2b

from schemas.records import PolicyRef, Window


def finding_id(rule: str, customer_id: str, window: Window, level: str, policy: PolicyRef) -> str:
    """Id of the one finding that a rule, customer, window and level have under a policy version.

    Examples
    --------
    >>> finding_id("sms_daily", "7", Window(kind="day", start_ms=0, end_ms=1), "breach",
    ...            PolicyRef(name="default", version="1"))
    'f-da5eb5a0fd327013934ff45f'
    """
    return "f-" + _digest(
        rule, customer_id, window.kind, str(window.start_ms), level, policy.name, policy.version
    )


def action_id(kind: str, root: str, step: int) -> str:
    """Id of the action of a kind that is one step of an episode.

    `root` is the finding that opened the episode, or what is repaired after it. When the step was
    decided, and whether by a finding, a timer or a person, has no part in it.

    Examples
    --------
    >>> action_id("notify", "f-da5eb5a0fd327013934ff45f", 0)
    'a-24104dd91c58ca93a5e7731d'
    """
    return "a-" + _digest(kind, root, str(step))


def _digest(*parts: str) -> str:
    return blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()
