"""Safeguards that no policy may turn off: see docs/LADDER.md.

For most of them a policy has no key: emergency and free numbers, evidence, who decides about a
termination. Whoever writes such a key is told why it does not exist. Values of other keys that
would turn a safeguard off are refused here, with the reason.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.records import ActionKind, Service

Urgency = Literal["urgency", "fraud", "contract"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the contracts allow for a rule; no policy can allow more.

    Parameters
    ----------
    services
        Services that a breach may restrict.
    urgency
        Why a restriction may come together with its notice: the terms name urgency or fraud, or the
        plan itself says what happens ("contract"). None where the notice comes first.
    may_suspend_at_once
        Whether that restriction may be more than a lower speed (base-internet/aup 3).
    warns_early
        Whether an "early" finding warns the customer, and the breach after it restricts at once.
        Only for rules whose urgency is "contract".
    is_done_to_customer
        Whether others do it to the customer, who may then not be restricted (base-internet 1.4).
    """

    services: tuple[Service, ...]
    urgency: Urgency | None = None
    may_suspend_at_once: bool = False
    warns_early: bool = False
    is_done_to_customer: bool = False


LINE: tuple[Service, ...] = ("data", "internet")
"""Services of a rule about a connection."""

SUBSCRIPTION: tuple[Service, ...] = (*LINE, "mobile", "sms", "voice")
"""Services of a rule about a whole subscription: storage and television are paid for separately."""

LIFTED_AGAIN = frozenset({"throttle", "minimum_service", "suspend"})
"""Restrictions that may come at once: they cost nothing and end with their cause."""

RESTRICTIONS = frozenset(
    {
        *("throttle", "cut_data", "minimum_service", "convert_prepaid", "restrict_storage"),
        *("suspend", "deposit", "charge", "delete_storage", "reclaim_number", "report_upstream"),
    }
)
"""Kinds of action that a policy may give a rule; the others are steps of the ladder itself."""

DONE_ONCE: frozenset[ActionKind] = frozenset(
    {"deposit", "charge", "delete_storage", "reclaim_number"}
)
"""Kinds that are done once, so that there is nothing to lift."""

NOTICE_FIRST = frozenset(
    {
        *("minimum_service", "convert_prepaid", "suspend", "charge"),
        *("delete_storage", "reclaim_number"),
    }
)
"""Restrictions that need a notice first (base-general 12.1, 13.2; base-cloud 3.10)."""

REVIEWED = frozenset({"delete_storage", "reclaim_number"})
"""Restrictions that can't be undone, so that a person has to decide (GDPR art. 22)."""

NEVER_BARRED = ("emergency", "free")
"""Numbers that no restriction of calls and texts bars (base-general 12.1)."""

CALLING = frozenset({"mobile", "sms", "voice"})
"""Services with which a number can be reached."""

REACH = {
    "cut_data": frozenset({"data"}),
    "restrict_storage": frozenset({"storage"}),
    "delete_storage": frozenset({"storage"}),
    "reclaim_number": frozenset({"mobile"}),
}
"""Services that these restrictions reach; a rule about another service can't have them."""

UNSAYABLE: dict[str, tuple[str, str]] = {
    r"emergency|112|outgoing|free_?(call|number|phone)|(^|_)bar(red|ring|s)?(_|$)": (
        "emergency and free numbers are never barred (base-general 12.1-12.3)",
        "remove it",
    ),
    r"evidence|proof": (
        "every action carries its evidence (base-mobile 6.3.5)",
        "remove it",
    ),
    r"brake": (
        "the brake stays on, so that no mistake in a policy restricts everybody",
        "remove it; its limits are `brake_actions_per_hour`, `brake_share_percent` and "
        "`brake_surge` of [ladder]",
    ),
    r"terminat": (
        "a person decides about a termination (base-general 14.1.2)",
        "remove it",
    ),
    r"^(no|skip|without)?_?(notice|notif[a-z]*)s?$": (
        "the notice comes before what it announces (base-general 12.1, 13.2)",
        "remove it; `notice_days` says how long before",
    ),
}
"""Patterns of keys that would turn a safeguard off: why there is no such key, and the remedy."""

CUT = "cut_data"
"""What only a rule that warns early may lead to: the law's protection against a high bill."""

REPORTED = "report_upstream"
"""All that a rule about what is done to a customer may lead to (base-internet 1.4)."""

Refusal = tuple[tuple[str, ...], str, str, str]
"""The table, the key in it, what is wrong, and what to do."""


def unsayable(key: str) -> tuple[str, str] | None:
    """Why a policy can't have a key about a safeguard, and the remedy; None for other keys."""
    told = (said for look, said in UNSAYABLE.items() if re.search(look, key, re.IGNORECASE))
    return next(told, None)


def refusals(document: dict[str, Any], terms: Mapping[str, Terms]) -> Iterator[Refusal]:
    """Everything in a policy document that the contracts or the law do not allow.

    Parameters
    ----------
    document
        The policy as TOML gives it. What is not a table is passed over: `read_policy` reports it.
    terms
        Terms of each known rule, by rule id.
    """
    ladder = document.get("ladder")
    rules = document.get("rules")
    if not isinstance(ladder, dict) or not isinstance(rules, dict):
        return
    yield from _of_ladder(ladder)
    for name, table in rules.items():
        if name in terms and isinstance(table, dict):
            # `read_policy` reports values of other types as mistakes.
            told = {key: value for key, value in table.items() if isinstance(value, (str, int))}
            yield from _of_rule(name, told, ladder, terms)


def _of_ladder(ladder: dict[str, Any]) -> Iterator[Refusal]:
    notice, memory = ladder.get("notice_days"), ladder.get("memory_days")
    if isinstance(notice, int) and isinstance(memory, int) and notice >= memory:
        yield (
            ("ladder",),
            "memory_days",
            "a notice would be forgotten before its period is over",
            "make it more than `notice_days`",
        )


def _of_rule(
    name: str, table: dict[str, Any], ladder: dict[str, Any], terms: Mapping[str, Terms]
) -> Iterator[Refusal]:
    where, kind = ("rules", name), table.get("restriction")
    if isinstance(kind, str) and kind not in RESTRICTIONS:
        allowed = ", ".join(sorted(RESTRICTIONS))
        yield where, "restriction", f"{kind} is no restriction", f"choose from {allowed}"
    if table.get("at_once") and kind != CUT:
        yield from _of_urgency(where, kind, terms)
    if kind == CUT and not terms[name].warns_early:
        yield (
            where,
            "restriction",
            "data may be cut only by a rule that warns the customer before its limit is reached",
            'choose another one, such as "throttle"',
        )
    yield from _of_reporting(where, kind, terms)
    yield from _of_notice(where, table, ladder)
    yield from _of_service(where, table, terms[name].services)


def _of_urgency(where: tuple[str, str], kind: Any, terms: Mapping[str, Terms]) -> Iterator[Refusal]:
    own = terms[where[1]]
    if own.urgency is None:
        allowed = ", ".join(sorted(name for name, each in terms.items() if each.urgency))
        yield (
            where,
            "at_once",
            "the terms name no urgency or fraud here, so the notice comes first",
            f"remove it; only these may be met at once: {allowed}",
        )
    elif kind != "throttle" and not own.may_suspend_at_once:
        yield (
            where,
            "restriction",
            "only a lower speed may come at once here",
            'set it to "throttle", or remove `at_once`',
        )
    elif isinstance(kind, str) and kind not in LIFTED_AGAIN:
        allowed = ", ".join(sorted(LIFTED_AGAIN))
        yield where, "restriction", f"{kind} may not come before a notice", f"choose from {allowed}"


def _of_reporting(
    where: tuple[str, str], kind: Any, terms: Mapping[str, Terms]
) -> Iterator[Refusal]:
    is_done_to_customer = terms[where[1]].is_done_to_customer
    if kind not in RESTRICTIONS or is_done_to_customer == (kind == REPORTED):
        return
    if is_done_to_customer:
        yield (
            where,
            "restriction",
            "this is done to the customer, who may not be restricted for it",
            f'set it to "{REPORTED}"',
        )
    else:
        reported = ", ".join(name for name, each in terms.items() if each.is_done_to_customer)
        yield (
            where,
            "restriction",
            f"{REPORTED} is only for what is done to a customer ({reported})",
            "choose what restricts the customer's own service",
        )


def _of_notice(
    where: tuple[str, str], table: dict[str, Any], ladder: dict[str, Any]
) -> Iterator[Refusal]:
    kind, at_once = table.get("restriction"), table.get("at_once")
    own, memory = table.get("notice_days"), ladder.get("memory_days")
    if isinstance(own, int) and isinstance(memory, int) and own >= memory:
        yield (
            where,
            "notice_days",
            "a notice would be forgotten before its period is over",
            "make it less than `memory_days` of the ladder",
        )
    days = ladder.get("notice_days") if own is None else own
    if days == 0 and kind in NOTICE_FIRST and not at_once:
        yield (
            where,
            "notice_days",
            f"{kind} must be announced before it takes effect",
            "give it `notice_days` of 1 or more",
        )
    if kind in REVIEWED and table.get("human_review") is not True:
        yield (
            where,
            "human_review",
            f"{kind} can't be undone, so a person has to decide",
            "add `human_review = true`",
        )


def _of_service(
    where: tuple[str, str], table: dict[str, Any], services: tuple[Service, ...]
) -> Iterator[Refusal]:
    service, kind = table.get("service"), table.get("restriction")
    if service not in services:
        yield (
            where,
            "service",
            "a breach of one service may not restrict another",
            f"choose from {', '.join(sorted(services))}",
        )
    elif isinstance(kind, str) and service not in REACH.get(kind, services):
        yield (
            where,
            "restriction",
            f"{kind} restricts more than the service {service}",
            "choose one of this service alone",
        )
