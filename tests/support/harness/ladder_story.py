"""A partition's ladder told what happens, day by day."""

import msgspec

from detectors.ladder.assumed_enforcement import AssumedEnforcement
from detectors.ladder.dossier import Dossier, key_of, unpack_dossier
from detectors.ladder.ladder import Ladder
from detectors.policies.editions import load_policy
from schemas.ids import finding_id
from schemas.records import Decision, EnforcementResult, Finding, PolicyRef, Window

POLICY = load_policy()
REF = PolicyRef(name=POLICY.name, version=POLICY.version)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_800_000_000_000
UNITS = {"voice_daily": "ms", "data_monthly_ratio": "bytes"}
STATES = frozenset(
    {"storage_capacity", "storage_contacts", "storage_ended", "inactive", "portscan_slow"}
)


def at(days):
    """An instant so many days into the story."""
    return START_MS + round(days * DAY_MS)


def finding(
    days,
    level="breach",
    rule="sms_daily",
    *,
    window=None,
    customer="7",
    shadow=False,
    taken=False,
    closed=None,
    reached=None,
):
    """A finding of the event at `days`; its window starts at `window` days, or with the event.

    `taken` says that a correction took the breach back, `closed` when its period was closed,
    `reached` how far time had come when the event came late.
    """
    start_ms = at(days if window is None else window)
    kind = "state" if rule in STATES else "day"
    known = next((days for days in (closed, reached) if days is not None), days)
    end_ms = None if kind == "state" and level != "cleared" else start_ms + DAY_MS
    span = Window(kind=kind, start_ms=start_ms, end_ms=end_ms)
    return Finding(
        finding_id=finding_id(rule, customer, span, level, REF),
        rule=rule,
        customer_id=customer,
        event_time_ms=at(days),
        level=level,
        known_ms=at(known),
        corrects="e-1" if taken else None,
        closed_period=closed is not None,
        window=span,
        observed=351,
        limit=350,
        unit=UNITS.get(rule, "messages"),
        policy=REF,
        shadow=shadow,
        evidence={"observed": 351},
    )


def cleared(days, rule="storage_capacity", *, window=0, customer="7", taken=False):
    """The end of a breach, by itself or by a correction."""
    return finding(days, "cleared", rule, window=window, customer=customer, taken=taken)


def with_ladder(policy=POLICY, **changed):
    """The policy with other settings of the ladder."""
    ladder = msgspec.structs.replace(policy.ladder, **changed)
    return msgspec.structs.replace(policy, ladder=ladder)


def with_rule(name, policy=POLICY, **changed):
    """The policy with other parameters of a rule."""
    rule = msgspec.structs.replace(policy.rules[name], **changed)
    return msgspec.structs.replace(policy, rules={**policy.rules, name: rule})


PATIENT = with_ladder(ack_timeout_hours=8_000)
"""The default policy, but what is not answered does not go out again."""


class Story:
    """A partition that is told what happens; every call gives the actions that come of it.

    With `assumed`, enforcement does at once what it is told.
    """

    def __init__(self, policy=PATIENT, *, assumed=False, customers=0):
        self.policy = policy
        self.ladder = Ladder(0, policy, AssumedEnforcement() if assumed else None)
        self.ladder.set_customer_count(customers)
        self.actions = []
        self._offsets = {"findings": 0, "results": 0, "decisions": 0}

    def _told(self, kind, take, records):
        first = self._offsets[kind]
        self._offsets[kind] += len(records)
        return self._came(take(records, range(first, first + len(records))))

    def _came(self, actions):
        self.actions += actions
        return actions

    def find(self, *findings):
        """Findings, in this order."""
        return self._told("findings", self.ladder.fold, findings)

    def breach(self, *days, **more):
        """Breaches of these days."""
        return self.find(*(finding(day, **more) for day in days))

    def result(self, action, status, days):
        """What enforcement says of an action, or of an id."""
        action_id = action if isinstance(action, str) else action.action_id
        customer = "7" if isinstance(action, str) else action.customer_id
        record = EnforcementResult(
            action_id=action_id, customer_id=customer, status=status, time_ms=at(days)
        )
        return self._told("results", self.ladder.result, [record])

    def decide(self, kind, days, action=None, *, rule=None, until=None, customer="7"):
        """What a person decides."""
        record = Decision(
            decision_id=f"d-{self._offsets['decisions']}",
            customer_id=customer,
            kind=kind,
            decided_by="ada",
            reason="looked at it",
            time_ms=at(days),
            action_id=action.action_id if action else None,
            rule=rule,
            until_ms=None if until is None else at(until),
        )
        return self._told("decisions", self.ladder.decided, [record])

    def tick(self, days):
        """Time goes by."""
        return self._came(self.ladder.tick(at(days)))

    @property
    def alerts(self):
        """What somebody should look at."""
        return self.ladder.alerts

    @property
    def kinds(self):
        """Kinds of all actions so far."""
        return kinds(self.actions)


def dossier_of(ladder, service="sms", customer="7"):
    """What is remembered of a customer's service."""
    packed = ladder.state.cases.get(key_of(service, customer))
    return unpack_dossier(packed) if packed else Dossier()


def by_service(actions):
    """Actions of one service after the other, each in order."""
    return sorted(actions, key=lambda action: action.service)


def kinds(actions):
    """Kinds of actions, in order."""
    return [action.kind for action in actions]
