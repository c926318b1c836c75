"""Ids computed from what they name, so that a replay or a retry gives the same ids."""

from hashlib import blake2b

from schemas.records import PolicyRef, Window


def finding_id(rule: str, customer_id: str, window: Window, level: str, policy: PolicyRef) -> str:
    """Id of a finding: the only one of its rule, customer, window and level under a policy version.

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
    """Id of an action: the only one of its kind at one step of an episode.

    `root` is the id of the finding that opened the episode, or of what is repaired after it. When
    the step was decided, and whether by a finding, a timer or a person, does not change the id.

    Examples
    --------
    >>> action_id("notify", "f-da5eb5a0fd327013934ff45f", 0)
    'a-24104dd91c58ca93a5e7731d'
    """
    return "a-" + _digest(kind, root, str(step))


def _digest(*parts: str) -> str:
    return blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()
