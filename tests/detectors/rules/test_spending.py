"""The family of rules about spending: corrections, late charges, and the input of the evidence."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.policies.editions import load_policy
from detectors.rules.contract import Declaration
from detectors.rules.families.spending import SpendingParameters, SpendingRule
from detectors.rules.registry import RULES
from schemas.amounts import CHARGES
from schemas.events import Data, Sms, Voice
from tests.support.harness.runs import Run, moved
from tests.support.strategies.drawing import (
    CUSTOMERS,
    DAY_MS,
    MINUTE_MS,
    choices,
    month_start_ms,
)
from tests.support.strategies.properties import PROPERTY, cuts

RULE, LIMIT = "spending", 100
"""What `c1` may spend in a month, in microeuro."""

MARCH_MS = month_start_ms(2026 * 12 + 2)
NOON_MS = MARCH_MS + 10 * DAY_MS
STEP_MS = 15 * MINUTE_MS
KINDS = {
    Sms: {"recipient": "r"},
    Voice: {"other_party": "o", "duration_ms": 1},
    Data: {"bytes_uplink": 1, "bytes_downlink": 0},
}


class Spending(SpendingRule):
    """Every charge counts."""

    name = RULE
    declaration = Declaration(
        section="Data and plans",
        services=("data",),
        urgency="contract",
        warns_early=True,
        units=(CHARGES,),
        what="",
        limit="",
        misses="",
    )
    remembers = dict.fromkeys(SpendingRule.reads, ("charge_microeur",))
    plan_number = "spend_limit_microeur"

    def is_included(self, batch):
        return batch.slot >= 0


@pytest.fixture(scope="module", autouse=True)
def _spending():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RULES, RULE, Spending)
        yield


def policy(**changes):
    """A policy with that rule alone."""
    usual = {"clause": "c", "service": "data", "restriction": "cut_data", "at_once": True}
    numbers = {"warning_percent": 50, "step_seconds": 900, "pending_max": 1_000}
    rules = {RULE: SpendingParameters(**usual | numbers | changes)}
    return msgspec.structs.replace(load_policy(), rules=rules)


def used(number, at_ms, charge=None, structure=Sms, **more):
    head = {"event_id": f"e-{number}", "customer_id": "c1", "event_time_ms": at_ms}
    return structure(**head | KINDS[structure] | {"charge_microeur": charge} | more)


def of_every_kind(number, at_ms):
    """An event of another customer in every kind, so that all of them pass a time."""
    return [
        used(f"{number}-{n}", at_ms, structure=structure, customer_id="other")
        for n, structure in enumerate(KINDS)
    ]


def told(findings):
    return [(f.level, f.observed, f.event_time_ms) for f in findings]


@st.composite
def corrected(draw):
    """Charges of an hour; some correct an earlier event or take it back."""
    events = []
    for number in range(draw(st.integers(0, 16))):
        fields = draw(choices(charge=(None, 30, 60), kind=tuple(KINDS), who=CUSTOMERS[:2]))
        structure, more = fields["kind"], {"customer_id": fields["who"]}
        if events and draw(st.booleans()):
            original = draw(st.sampled_from(events))
            structure = type(original)
            more = {"customer_id": original.customer_id, "corrects": original.event_id}
            more["void"] = draw(st.booleans())
        at_ms = NOON_MS + draw(st.integers(number, number + 3)) * 4 * MINUTE_MS
        events.append(used(number, at_ms, fields["charge"], structure, **more))
    return events


def spent(history):
    """The charges of c1 that count in the end."""
    counted = {}
    for event in history:
        if event.corrects is not None and counted.pop(event.corrects, None) is None:
            continue
        if not event.void:
            counted[event.event_id] = event
    return sum(e.charge_microeur or 0 for e in counted.values() if e.customer_id == "c1")


@PROPERTY
@given(history=corrected(), cuts=cuts)
def test_a_month_is_in_breach_exactly_if_it_is_without_the_mistakes(history, cuts):
    """Whatever batches there are, findings are the same to the last byte, inputs included."""
    history += of_every_kind("last", NOON_MS + DAY_MS)
    whole = Run(policy()).take(history)
    single = Run(policy()).in_parts(history, range(len(history)))

    last = "cleared"
    for finding in single.findings:
        if finding.customer_id == "c1" and finding.level != "early":
            assert last != finding.level, "reported twice"
            assert (finding.corrects is not None) == (finding.level == "cleared")
            last = finding.level
    assert (last == "breach") == (spent(history) > LIMIT)
    for run in (whole, Run(policy()).in_parts(history, cuts), moved(policy(), history, cuts)):
        assert encoded(single.findings) == encoded(run.findings)


def encoded(findings):
    return sorted(map(msgspec.json.encode, findings))


def test_charges_of_three_kinds_count_once_all_of_them_have_passed_the_step():
    events = [
        used(0, NOON_MS, 40),
        used(1, NOON_MS + MINUTE_MS, 40, Voice),
        used(2, NOON_MS + MINUTE_MS, 40, Data),
        *of_every_kind("other", NOON_MS + STEP_MS),
    ]
    run = Run(policy()).in_parts(events[:-1], range(len(events)))
    assert run.findings == []
    run.take(events, len(events) - 1)
    found = [("early", 120, NOON_MS + STEP_MS), ("breach", 120, NOON_MS + STEP_MS)]
    assert told(run.findings) == found
    inputs = run.findings[1].evidence["inputs"]
    assert [(span["first_offset"], span["last_offset"]) for span in inputs] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]


def test_a_breach_that_comes_back_after_a_correction_is_reported_again():
    events = [
        used(0, NOON_MS, 101),
        used(1, NOON_MS + STEP_MS, corrects="e-0", void=True),
        used(2, NOON_MS + 2 * STEP_MS, 102),
        *of_every_kind("other", NOON_MS + DAY_MS),
    ]
    findings = Run(policy()).take(events).findings
    assert [(f.level, f.observed, f.corrects) for f in findings] == [
        ("early", 101, None),
        ("breach", 101, None),
        ("cleared", 0, "e-0"),
        ("breach", 102, None),
    ]


def test_a_charge_that_comes_when_its_month_is_over_does_not_count():
    april_ms = month_start_ms(2026 * 12 + 3)
    events = [
        used(0, NOON_MS, 60),
        *of_every_kind("april", april_ms),
        used(1, NOON_MS, 60),
        used(2, april_ms, 60),
        *of_every_kind("may", april_ms + DAY_MS),
    ]
    run = Run(policy()).take(events)
    assert told(run.findings) == [
        ("early", 60, NOON_MS + STEP_MS),
        ("early", 60, april_ms + STEP_MS),
    ]
    assert run.too_late == [4]


def test_a_full_store_finds_the_breach_later_but_finds_it():
    """Both charges are compared at the end of the later one's step."""
    events = [
        used(0, NOON_MS, 60),
        used(1, NOON_MS + 2 * STEP_MS, 60),
        *of_every_kind("other", NOON_MS + DAY_MS),
    ]
    run = Run(policy(pending_max=1)).take(events)
    assert told(run.findings) == [
        ("early", 120, NOON_MS + 3 * STEP_MS),
        ("breach", 120, NOON_MS + 3 * STEP_MS),
    ]
    assert run.partition.gauges.evicted[RULE] == 1


def test_steps_that_hold_two_months_are_refused():
    with pytest.raises(ValueError, match="has to divide 900"):
        policy(step_seconds=420)
