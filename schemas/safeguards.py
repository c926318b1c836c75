"""What no policy may turn off, whatever it says: see docs/LADDER.md.

Most of it a policy has no words for: emergency and free numbers, evidence, who decides about a
termination. Whoever makes one up is told why there is none. What a policy could say against the
rest is refused here, with the reason.
"""

import re
from collections.abc import Iterator
from typing import Any

CONTRACT = "contract"

AT_ONCE = {
    "ddos": "urgency",
    "portscan": "urgency",
    "portscan_slow": "urgency",
    "attack": "urgency",
    "mail_spam": "urgency",
    "gateway": "fraud",
    "data_bundle": CONTRACT,
}
"""Rules whose urgency or fraud the terms name, so that the notice may come with the restriction;
or, of an exhausted bundle, the plan itself."""

SUSPENDED_AT_ONCE = frozenset({"ddos", "gateway"})
"""Of these the rules that may start at more than a lower speed (base-internet/aup 3)."""

LIFTED_AGAIN = frozenset({"throttle", "minimum_service", "suspend"})
"""What those may start at: what costs nothing and ends with its cause."""

RESTRICTIONS = frozenset(
    {
        *("throttle", "minimum_service", "convert_prepaid", "restrict_storage", "suspend"),
        *("deposit", "charge", "delete_storage", "reclaim_number", "report_upstream"),
    }
)
"""What a rule may lead to by itself; the other kinds are the ladder's own steps."""

NOTICE_FIRST = frozenset(
    {
        *("minimum_service", "convert_prepaid", "suspend", "charge"),
        *("delete_storage", "reclaim_number"),
    }
)
"""What must be announced (base-general 12.1, 13.2; base-cloud 3.10)."""

REVIEWED = frozenset({"delete_storage", "reclaim_number"})
"""What can't be undone, so that a person has to decide (GDPR art. 22)."""

NEVER_BARRED = ("emergency", "free")
"""Numbers that no restriction of calls and texts bars (base-general 12.1)."""

CALLING = frozenset({"mobile", "sms", "voice"})
"""Services with which a number can be reached."""

LINE = frozenset({"data", "internet"})
SUBSCRIPTION = LINE | {"mobile", "sms", "voice"}

ONE_SERVICE = {
    **dict.fromkeys(("portscan", "ddos", "attack", "mail", "inbound", "data", "sharing"), LINE),
    "roaming": frozenset({"mobile", "data"}),
    "sms": frozenset({"sms"}),
    "voice": frozenset({"voice"}),
    "monitoring": frozenset({"voice"}),
    "storage": frozenset({"storage"}),
    "stream": frozenset({"tv"}),
}
"""Services that a rule may restrict, by the first word of its id; others are about the
subscription, and never about storage or television, which are paid for by themselves."""

REACH = {
    "restrict_storage": frozenset({"storage"}),
    "delete_storage": frozenset({"storage"}),
    "reclaim_number": frozenset({"mobile"}),
}
"""What these restrict, whatever the policy says the service is."""

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
"""What keys look like that a policy would turn a safeguard off with, why there are none, and what
to do about one."""

INBOUND, REPORTED = "inbound_abuse", "report_upstream"
"""The rule about what is done to a customer, and what alone it may lead to (base-internet 1.4)."""

Refusal = tuple[tuple[str, ...], str, str, str]
"""The table, the key in it, what is wrong, and what to do."""


def unsayable(key: str) -> tuple[str, str] | None:
    """Why no policy has a key about a safeguard, and what to do; None for all other keys."""
    told = (said for look, said in UNSAYABLE.items() if re.search(look, key, re.IGNORECASE))
    return next(told, None)


def refusals(document: dict[str, Any]) -> Iterator[Refusal]:
    """Everything in a policy document that the contracts or the law do not allow."""
    ladder = document.get("ladder")
    rules = document.get("rules")
    if not isinstance(ladder, dict) or not isinstance(rules, dict):
        return
    yield from _of_ladder(ladder)
    for name, table in rules.items():
        if isinstance(table, dict):
            # What is neither text nor a number is a mistake that is told elsewhere.
            told = {key: value for key, value in table.items() if isinstance(value, (str, int))}
            yield from _of_rule(name, told, ladder)


def _of_ladder(ladder: dict[str, Any]) -> Iterator[Refusal]:
    notice, memory = ladder.get("notice_days"), ladder.get("memory_days")
    if isinstance(notice, int) and isinstance(memory, int) and notice >= memory:
        yield (
            ("ladder",),
            "memory_days",
            "a notice would be forgotten before its period is over",
            "make it more than `notice_days`",
        )


def _of_rule(name: str, table: dict[str, Any], ladder: dict[str, Any]) -> Iterator[Refusal]:
    where, kind, at_once = ("rules", name), table.get("restriction"), table.get("at_once")
    if isinstance(kind, str) and kind not in RESTRICTIONS:
        allowed = ", ".join(sorted(RESTRICTIONS))
        yield where, "restriction", f"{kind} is no restriction", f"choose from {allowed}"
    if at_once and name not in AT_ONCE:
        allowed = ", ".join(sorted(AT_ONCE))
        yield (
            where,
            "at_once",
            "the terms name no urgency or fraud here, so the notice comes first",
            f"remove it; only these may be met at once: {allowed}",
        )
    elif at_once and kind != "throttle" and name not in SUSPENDED_AT_ONCE:
        yield (
            where,
            "restriction",
            "only a lower speed may come at once here",
            'set it to "throttle", or remove `at_once`',
        )
    elif at_once and isinstance(kind, str) and kind not in LIFTED_AGAIN:
        allowed = ", ".join(sorted(LIFTED_AGAIN))
        yield where, "restriction", f"{kind} may not come before a notice", f"choose from {allowed}"
    yield from _of_reporting(where, kind)
    yield from _of_notice(where, table, ladder)
    yield from _of_service(where, table)


def _of_reporting(where: tuple[str, str], kind: Any) -> Iterator[Refusal]:
    if kind not in RESTRICTIONS or (where[1] == INBOUND) == (kind == REPORTED):
        return
    if where[1] == INBOUND:
        yield (
            where,
            "restriction",
            "this is done to the customer, who may not be restricted for it",
            f'set it to "{REPORTED}"',
        )
    else:
        yield (
            where,
            "restriction",
            f"{REPORTED} is only for what is done to a customer ({INBOUND})",
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


def _of_service(where: tuple[str, str], table: dict[str, Any]) -> Iterator[Refusal]:
    service, kind = table.get("service"), table.get("restriction")
    services = ONE_SERVICE.get(where[1].partition("_")[0], SUBSCRIPTION)
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
