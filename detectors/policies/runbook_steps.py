"""What the ladder does after each rule's findings, in words, for the runbooks.

The sentences follow from the default policy and the rules' declarations, as the ladder's steps do;
docs/LADDER.md has the whole picture.
"""

import textwrap

from detectors.rules.contract import Declaration
from detectors.rules.families.gauge import Gauge
from detectors.rules.inactive import Inactive
from detectors.rules.registry import RULES
from schemas.policy import LadderParameters, Policy, RuleParameters
from schemas.safeguards import DONE_ONCE

LASTING = (Gauge, Inactive)
"""Rules about a state that lasts until a finding says "cleared"."""

WIDTH = 110


def steps_of(name: str, policy: Policy) -> str:
    """What follows from a rule's findings, as sentences in Markdown.

    Parameters
    ----------
    name
        Id of the rule.
    policy
        The policy that has its parameters and the ladder's.
    """
    rule, declared = policy.rules[name], RULES[name].declaration
    if rule.restriction == "report_upstream":
        said = [
            "A breach leads to `report_upstream`, each time.",
            "The customer is neither told nor restricted.",
        ]
    elif declared.urgency == "contract":
        said = _by_contract(rule, declared)
    elif rule.restriction in DONE_ONCE:
        said = _done_once(name, rule, policy.ladder)
    else:
        said = _until_lifted(name, rule, policy.ladder)
    return "\n".join(textwrap.wrap(" ".join(said), WIDTH, break_on_hyphens=False)) + "\n"


def _by_contract(rule: RuleParameters, declared: Declaration) -> list[str]:
    """Steps of a rule whose restriction the plan itself announces."""
    warning = ["An `early` finding leads to `notify`."] if declared.warns_early else []
    notice = "" if declared.warns_early else "`notify` and "
    return [
        *warning,
        f"A breach leads to {notice}{_restriction(rule)} in the same moment.",
        "The `cleared` finding of the new month leads to `release`.",
        "It never adds up to a suspension.",
    ]


def _done_once(name: str, rule: RuleParameters, ladder: LadderParameters) -> list[str]:
    """Steps of a rule that leads to a single act, which nothing has to lift."""
    review = ", which waits for a person (`human_review`)" if rule.human_review else ""
    return [
        "The first breach leads to `notify`.",
        f"{_second(name, rule, ladder)}{_restriction(rule)}{review}.",
        "That is done once; it is done again only after the cause was gone for "
        f"{_days(rule.clear_after_days or ladder.clear_after_days)} and came back.",
    ]


def _until_lifted(name: str, rule: RuleParameters, ladder: LadderParameters) -> list[str]:
    """Steps of a rule whose restriction is in force until it is lifted."""
    review = " It waits for a person (`human_review`)." if rule.human_review else ""
    clear_days = rule.clear_after_days or ladder.clear_after_days
    gone = f"After {_days(clear_days)} without a breach it is lifted"
    if issubclass(RULES[name], LASTING):
        gone = "With the `cleared` finding it is lifted"
    first = (
        [f"The first breach leads to `notify` and {_restriction(rule)} in the same moment."]
        if rule.at_once
        else [
            "The first breach leads to `notify`.",
            f"{_second(name, rule, ladder)}{_restriction(rule)}.",
        ]
    )
    again = "`regular` finding" if _needs_regular(rule) else "breach"
    return [
        *first,
        f"{gone} (`release`).",
        f"A {again} within {_days(ladder.memory_days)} after that leads to `suspend`.{review}",
        f"If the cause is still there after {_days(ladder.suspension_days_max)} of suspension, a "
        "person is asked about the contract (`propose_termination`); without an answer within "
        f"{_days(ladder.review_days)} the suspension is lifted.",
    ]


def _second(name: str, rule: RuleParameters, ladder: LadderParameters) -> str:
    """When the restriction follows the notice, up to the verb."""
    days = _days(ladder.notice_days if rule.notice_days is None else rule.notice_days)
    if issubclass(RULES[name], LASTING):
        return f"If the state still lasts {days} after the notice was delivered, it leads to "
    again = "`regular` finding" if _needs_regular(rule) else "breach"
    return f"A {again} {days} or more after the notice was delivered leads to "


def _needs_regular(rule: RuleParameters) -> bool:
    return (getattr(rule, "regular_periods", None) or 1) > 1


def _restriction(rule: RuleParameters) -> str:
    rate = f" ({rule.rate_kbps:,} kbit/s)" if rule.rate_kbps else ""
    return f"`{rule.restriction}`{rate}"


def _days(number: int) -> str:
    return f"{number} day{'s' if number != 1 else ''}"
