"""Policy documents: every number, clause and consequence, in TOML.

A document has a table of parameters for each rule. Which parameters a rule takes, and what the
contracts say of it, stands in the rule's own file; the caller hands both in. Reading collects every
mistake, with its line and its remedy, instead of stopping at the first.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from schemas.events import AMOUNT_MAX, Id
from schemas.records import ActionKind, PolicyName, Service
from schemas.safeguards import Terms, refusals, unsayable
from schemas.toml_lines import line_of

Positive = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Hours = Annotated[int, Meta(ge=0, le=366 * 24)]
SomeHours = Annotated[int, Meta(ge=1, le=366 * 24)]
Days = Annotated[int, Meta(ge=0, le=366)]
SomeDays = Annotated[int, Meta(ge=1, le=366)]
Channel = Literal["text", "mail", "portal", "letter"]

SUSPENSION_DAYS_MAX = 10
"""A longer suspension becomes a proposal to terminate (base-general 14.1.2)."""
Exempt = Annotated[frozenset[Id], Meta(max_length=10_000)]
"""Customers who are exempt from a rule; few, since every worker reads the whole policy."""

FIXED_LINE_KBPS_MIN = 256
"""A fixed line is never slowed down below this (base-general 12.3)."""

LIVE = Meta(extra={"live": True})
"""Marks a parameter that may change while events flow: none of it shapes the state of a rule."""

MISSPELT = 0.8
"""Similarity (0 to 1) from which an unknown key is treated as a typo of a known one."""


class RuleParameters(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What every rule states: the clause an action cites, the service it restricts, and how.

    With `at_once` the restriction comes together with the notice (urgency); `rate_kbps` belongs to
    `throttle`. `notice_days` and `clear_after_days` replace those of the ladder for this rule.
    """

    clause: Annotated[str, Meta(min_length=1), LIVE]
    service: Service
    restriction: Annotated[ActionKind, LIVE]
    at_once: Annotated[bool, LIVE] = False
    rate_kbps: Annotated[Positive | None, LIVE] = None
    human_review: Annotated[bool, LIVE] = False
    notice_days: Annotated[Days | None, LIVE] = None
    clear_after_days: Annotated[SomeDays | None, LIVE] = None

    def __post_init__(self) -> None:
        """Refuse a rate without throttling, and one that is too low for a fixed line."""
        if (self.restriction == "throttle") != (self.rate_kbps is not None):
            raise ValueError('`rate_kbps` goes with `restriction = "throttle"`')
        if self.service == "internet" and 0 < (self.rate_kbps or 0) < FIXED_LINE_KBPS_MIN:
            raise ValueError(f"`rate_kbps` of a fixed line can't be below {FIXED_LINE_KBPS_MIN}")


def live_parameters(parameters: type[RuleParameters]) -> frozenset[str]:
    """Names of a rule's parameters that are marked `LIVE`."""
    return frozenset(
        field.name
        for field in msgspec.structs.fields(parameters)
        if LIVE in getattr(field.type, "__metadata__", ())
    )


@dataclass(frozen=True, slots=True)
class KnownRule:
    """What a policy's table of a rule may hold, and what the contracts say of the rule."""

    parameters: type[RuleParameters]
    terms: Terms


class DefaultPlan(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The plan of customers who were never announced on the topic `customers`."""

    plan: str
    unlimited: list[Literal["sms", "voice", "data"]]
    storage_capacity_bytes: Natural | None = None
    data_bundle_bytes: Natural | None = None
    roaming_bundle_bytes: Natural | None = None
    spend_limit_microeur: Natural | None = None
    roaming_spend_limit_microeur: Natural | None = None
    stream_devices: Natural | None = None
    stream_concurrent: Natural | None = None


class LadderParameters(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How a case goes from notice to restriction to suspension, and when the brake holds it back.

    A notice counts once it is delivered. If it is not delivered within `delivery_timeout_hours`, it
    goes out by the next of `channels`. An action without an answer for `ack_timeout_hours` goes out
    again, `attempts_max` times in all. The brake's numbers are for all rules of a partition
    together; a single rule may use half of them (docs/LADDER.md).
    """

    notice_days: Days
    memory_days: SomeDays
    clear_after_days: SomeDays = 7
    suspension_days_max: Annotated[int, Meta(ge=1, le=SUSPENSION_DAYS_MAX)] = SUSPENSION_DAYS_MAX
    review_days: SomeDays = 7
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=4)] = (
        "text",
        "mail",
        "letter",
    )
    delivery_timeout_hours: SomeHours = 72
    ack_timeout_hours: SomeHours = 12
    attempts_max: Annotated[int, Meta(ge=1, le=100)] = 5
    brake_actions_per_hour: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    brake_share_percent: Annotated[float, Meta(gt=0, le=20)] = 5
    brake_surge: Annotated[int, Meta(ge=2, le=1_000)] = 50


TABLES: dict[str, type[Struct]] = {"default_plan": DefaultPlan, "ladder": LadderParameters}
"""The tables of a policy document besides those of its rules."""


class Policy(Struct, kw_only=True, frozen=True):
    """A policy document that was read and checked."""

    name: PolicyName
    version: PolicyName
    timezone: str
    dedup_window_hours: Hours
    corrections_window_hours: Hours = 24
    default_plan: DefaultPlan
    ladder: LadderParameters
    exempt: dict[str, Exempt] = {}
    """Customers by rule about whom no action is taken; findings are made all the same."""
    rules: dict[str, RuleParameters]

    def is_exempt(self, rule: str, customer_id: str) -> bool:
        """Whether the ladder ignores the findings of a rule about a customer."""
        return customer_id in self.exempt.get(rule, ())


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in a policy document, and what to do about it."""

    line: int
    where: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.where}: {self.problem}; {self.remedy}"


class PolicyError(ValueError):
    """A policy document that can't be used; `mistakes` lists everything that is wrong with it."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("; ".join(map(str, mistakes)))
        self.mistakes = mistakes


def read_policy(text: str, rules: Mapping[str, KnownRule]) -> Policy:
    """Read and check a policy document.

    Parameters
    ----------
    text
        The TOML document.
    rules
        Every known rule by its id.

    Raises
    ------
    PolicyError
        With every mistake in the document.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found.group(1)) if found else max(1, len(text.splitlines()))
        raise PolicyError([Mistake(line, "document", f"not TOML: {error}", "mend it")]) from None
    mistakes = [*_mistakes(document, text, rules), *_refusals(document, text, rules)]
    mistakes.sort(key=lambda mistake: mistake.line)
    if mistakes:
        raise PolicyError(mistakes)
    converted = {
        name: msgspec.convert(table, rules[name].parameters)
        for name, table in document["rules"].items()
    }
    policy = msgspec.convert(document | {"rules": {}}, Policy)
    return msgspec.structs.replace(policy, rules=converted)


def _mistakes(
    document: dict[str, Any], text: str, rules: Mapping[str, KnownRule]
) -> Iterator[Mistake]:
    plain = {name: value for name, value in document.items() if name not in ("rules", "exempt")}
    yield from _table_mistakes(plain, Policy, text, (), skip={"rules"})
    yield from _exempt_mistakes(document.get("exempt", {}), document.get("rules"), text)
    for name, structure in TABLES.items():
        if isinstance(document.get(name), dict):
            yield from _table_mistakes(document[name], structure, text, (name,))
    if isinstance(zone := document.get("timezone"), str) and not _zone_exists(zone):
        yield Mistake(
            line_of(text, (), "timezone"),
            "timezone",
            f"no zone {zone!r}",
            "name one like Europe/Brussels",
        )
    tables = document.get("rules")
    if not isinstance(tables, dict) or not tables:
        line = line_of(text, (), "rules")
        yield Mistake(line, "rules", "no rule is given", "add a table such as [rules.sms_daily]")
        return
    for name, table in tables.items():
        where = ("rules", name)
        if name not in rules:
            problem, remedy = _unknown(name, rules, "no such rule")
            yield Mistake(line_of(text, where), f"rules.{name}", problem, remedy)
        elif not isinstance(table, dict):
            yield Mistake(
                line_of(text, ("rules",), name), f"rules.{name}", "not a table", "make it one"
            )
        else:
            yield from _table_mistakes(table, rules[name].parameters, text, where)


def _refusals(
    document: dict[str, Any], text: str, rules: Mapping[str, KnownRule]
) -> Iterator[Mistake]:
    """What the contracts allow no policy to say."""
    terms = {name: rule.terms for name, rule in rules.items()}
    for path, key, problem, remedy in refusals(document, terms):
        yield Mistake(line_of(text, path, key), ".".join((*path, key)), problem, remedy)


def _table_mistakes(
    table: dict[str, Any],
    structure: type[Struct],
    text: str,
    path: tuple[str, ...],
    skip: frozenset[str] | set[str] = frozenset(),
) -> Iterator[Mistake]:
    fields = {field.name: field for field in msgspec.structs.fields(structure)}
    is_sound = True
    for name, value in table.items():
        where = ".".join((*path, name))
        if name not in fields:
            problem, remedy = _unknown(name, fields, "unknown")
            yield Mistake(line_of(text, path, name), where, problem, remedy)
        elif not isinstance(value, dict) or name not in TABLES:
            try:
                msgspec.convert(value, fields[name].type)
                if isinstance(value, int) and value > AMOUNT_MAX:
                    raise msgspec.ValidationError(f"Expected `int` <= {AMOUNT_MAX}")
            except msgspec.ValidationError as error:
                is_sound = False
                line = line_of(text, path, name)
                yield Mistake(line, where, str(error), "give a value it allows")
    for name, field in fields.items():
        if field.required and name not in table and name not in skip:
            is_sound = False
            remedy = f"add a table [{name}]" if name in TABLES else f"add a line `{name} = ...`"
            yield Mistake(line_of(text, path), ".".join((*path, name)), "missing", remedy)
    if is_sound and path[:1] == ("rules",) and not (set(table) - set(fields)):
        try:
            msgspec.convert(table, structure)
        except msgspec.ValidationError as error:
            yield Mistake(line_of(text, path), ".".join(path), str(error), "change what it names")


def _exempt_mistakes(exempt: Any, rules: Any, text: str) -> Iterator[Mistake]:
    if not isinstance(exempt, dict):
        line = line_of(text, (), "exempt")
        yield Mistake(line, "exempt", "not a table", "make it a table [exempt]")
        return
    for rule, customers in exempt.items():
        line, where = line_of(text, ("exempt",), rule), f"exempt.{rule}"
        if isinstance(rules, dict) and rule not in rules:
            yield Mistake(line, where, "no such rule in this policy", _did_you_mean(rule, rules))
        try:
            msgspec.convert(customers, Exempt)
        except msgspec.ValidationError as error:
            yield Mistake(line, where, str(error), 'list customer ids, such as ["c-1", "c-2"]')


def _zone_exists(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _unknown(name: str, known: Mapping[str, Any], problem: str) -> tuple[str, str]:
    """Problem and remedy of a name that is not known."""
    misspelt = get_close_matches(name, known, n=1, cutoff=MISSPELT)
    refused = None if misspelt else unsayable(name)
    return refused or (problem, _did_you_mean(name, known))


def _did_you_mean(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"choose from {', '.join(sorted(known))}"
