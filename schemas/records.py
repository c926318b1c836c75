"""Every other record: customers, findings, actions, results, decisions, dead letters, averages."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from schemas.events import Amount, Id, Text, TimeMs

Level = Literal["breach", "early", "regular", "cleared"]
WindowKind = Literal["day", "week", "month", "rolling", "chain", "state"]
Service = Literal["mobile", "sms", "voice", "data", "internet", "storage", "tv"]
ActionKind = Literal[
    "notify",
    "throttle",
    "cut_data",
    "minimum_service",
    "convert_prepaid",
    "deposit",
    "charge",
    "restrict_storage",
    "delete_storage",
    "suspend",
    "propose_termination",
    "reclaim_number",
    "report_upstream",
    "release",
    "withdraw",
]


PolicyName = Annotated[str, Meta(min_length=1, max_length=64)]
DOCUMENT_CHARS_MAX = 262_144
"""The default policy has 13,000 characters; what is left is for customers who are exempt."""

EVERYBODY_PERCENT = 100


class Customer(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Who has which plan, from the compacted topic `customers`.

    A null (or absent) `storage_capacity_bytes` is an unlimited plan. Spend limits are before
    tax, in millionths of a euro a month; null is no limit: the customer gave that protection up.
    """

    customer_id: Id
    plan: Text
    unlimited: list[Literal["sms", "voice", "data"]] = []
    cohort: Text | None = None
    segment: Literal["consumer", "professional"] = "consumer"
    data_bundle_bytes: Amount | None = None
    roaming_bundle_bytes: Amount | None = None
    storage_capacity_bytes: Amount | None = None
    spend_limit_microeur: Amount | None = None
    roaming_spend_limit_microeur: Amount | None = None
    stream_devices: Amount | None = None
    stream_concurrent: Amount | None = None
    access: Literal["mobile", "fixed"] = "mobile"
    contract_state: Text = "active"
    valid_from_ms: Annotated[int, Meta(ge=0)] = 0


class Window(Struct, kw_only=True, frozen=True):
    """The time a finding is about; `end_ms` is exclusive, and null while a state still holds."""

    kind: WindowKind
    start_ms: int
    end_ms: int | None


class PolicyRef(Struct, kw_only=True, frozen=True):
    """The policy document under which something was found or decided."""

    name: str
    version: str


class PolicyRecord(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A policy document and from when on it holds, from the compacted topic `policies`.

    `document` is the TOML text; `name` and `version` are those in it. From `effective_ms` on, in
    event time, it holds for `share_percent` of the customers; with less than 100 it runs beside the
    policy of the others, with 0 nothing is done about what it finds.
    """

    name: PolicyName
    version: PolicyName
    effective_ms: TimeMs
    document: Annotated[str, Meta(max_length=DOCUMENT_CHARS_MAX)]
    share_percent: Annotated[int, Meta(ge=0, le=EVERYBODY_PERCENT)] = EVERYBODY_PERCENT


class Finding(Struct, kw_only=True, frozen=True):
    """A breach that was seen; its id follows from rule, customer, window, level and policy.

    `known_ms` is the event time at which it could be known: later than `event_time_ms` where the
    event came late or a whole period had to be closed first. `corrects` is the id of the event that
    was corrected or taken back, if that led to the finding. `closed_period` tells that the rule
    judged a whole period after it was closed, so that no event of the customer crossed a limit.
    """

    finding_id: str
    rule: str
    customer_id: str
    event_time_ms: int
    level: Level
    known_ms: int
    corrects: str | None
    closed_period: bool
    window: Window
    observed: int
    limit: int
    unit: str
    policy: PolicyRef
    shadow: bool
    evidence: dict[str, Any]


class Notice(Struct, kw_only=True, frozen=True):
    """Whether the customer had to be told first, why not, and when it reached them."""

    required: bool
    waived_because: str | None = None
    delivered_ms: int | None = None


class Action(Struct, kw_only=True, frozen=True):
    """What an enforcement system is to do; its only input."""

    action_id: str
    kind: ActionKind
    customer_id: str
    service: Service
    parameters: dict[str, Any]
    rule: str
    clause: str
    reason: str
    decided_ms: int
    effective_ms: int
    expires_ms: int | None
    notice: Notice
    human_review: bool
    supersedes: str | None
    finding_ids: list[str]
    policy: PolicyRef
    evidence: dict[str, Any]


class EnforcementResult(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What became of an action."""

    action_id: Id
    customer_id: Id
    status: Literal["accepted", "delivered", "applied", "failed", "expired"]
    time_ms: TimeMs
    detail: Text | None = None


class Decision(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What a person decided about an action, a customer, a rule or the brake."""

    decision_id: Id
    customer_id: Id
    kind: Literal["approve", "reject", "exempt", "snooze", "consent", "release_brake"]
    decided_by: Id
    reason: Text
    time_ms: TimeMs
    action_id: Id | None = None
    rule: Id | None = None
    until_ms: TimeMs | None = None


class DeadLetter(Struct, kw_only=True, frozen=True):
    """An input record that could not be used: its bytes as they came, where from, and why."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    key_base64: str | None
    value_base64: str | None


class CohortSum(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What a cohort's customers used; `histogram` counts them by bin, where a rule needs that."""

    cohort: str
    total: int
    customers: int
    histogram: dict[int, int] = {}


class CohortPartial(Struct, kw_only=True, frozen=True, tag_field="type", tag="partial"):
    """One partition's share of a closed period, cohort by cohort."""

    rule: str
    period_start_ms: int
    period_end_ms: int
    partition: int
    sums: list[CohortSum]


class CohortAverage(
    Struct, kw_only=True, frozen=True, omit_defaults=True, tag_field="type", tag="frozen"
):
    """A cohort's sum over every partition; limits rest on the mean, `total / customers`."""

    rule: str
    cohort: str
    period_start_ms: int
    period_end_ms: int
    total: int
    customers: int
    histogram: dict[int, int] = {}
