"""The policy counter adapter sends notifications as TS 29.594 defines them."""

import json

import pytest
from jsonschema import Draft202012Validator

from schemas.units import DAY_MS
from streams.enforce.adapters.policy_counter import PolicyCounter
from streams.enforce.store import Store
from tests.support.harness.enforcing import NOW_MS, Clock, Record, action, enforcer, work
from tests.support.harness.receiver import Receiver

TOMORROW = "2026-01-02T00:00:00Z"

STATUS = {
    "type": "object",
    "required": ["statusInfos"],
    "properties": {
        "supi": {"type": "string", "minLength": 1},
        "statusInfos": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["policyCounterId", "currentStatus"],
                "properties": {
                    "policyCounterId": {"type": "string"},
                    "currentStatus": {"type": "string"},
                    "penPolCounterStatuses": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["policyCounterStatus", "activationTime"],
                            "properties": {
                                "policyCounterStatus": {"type": "string"},
                                "activationTime": {
                                    "type": "string",
                                    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$",
                                },
                            },
                            "additionalProperties": False,
                        },
                    },
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
"""The part of SpendingLimitStatus (TS 29.594) that is used here."""


class Function:
    """A policy control function, and the enforcer that notifies it."""

    def __init__(self, receiver):
        self.receiver = receiver
        self.clock = Clock()
        adapter = PolicyCounter(receiver.url + "/callback", 1)
        self.enforcer = enforcer(Store(None), adapter, self.clock)
        self.offset = 0

    def take(self, *actions):
        for each in actions:
            self.enforcer.take_in([Record.of(each, self.offset)])
            self.offset += 1
            work(self.enforcer)

    def statuses(self):
        """Counter, status and pending statuses of each notification."""
        told = []
        for request in self.receiver.requests:
            document = json.loads(request.body)
            Draft202012Validator(STATUS).validate(document)
            assert request.path == "/callback/notify"
            ((counter, info),) = document["statusInfos"].items()
            assert info["policyCounterId"] == counter
            pending = [tuple(each.values()) for each in info.get("penPolCounterStatuses", [])]
            told.append((document["supi"], counter, info["currentStatus"], pending))
        return told


@pytest.fixture
def function():
    with Receiver() as receiver:
        yield Function(receiver)


def test_a_counter_says_what_holds_for_a_service(function):
    supi = "imsi-206010000000001"
    function.take(
        action("t", customer_id=supi),
        action("m", "minimum_service", customer_id=supi, service="voice"),
        action("r", "release", customer_id=supi, supersedes="t"),
    )
    minimum = "minimum_service/incoming:national/outgoing:emergency/outgoing:free"
    assert function.statuses() == [
        (supi, "fairuse-data", "throttle/rate_kbps:128", []),
        (supi, "fairuse-voice", minimum, []),
        (supi, "fairuse-data", "unrestricted", []),
    ]


def test_a_later_restriction_is_pending_until_it_takes_effect(function):
    function.take(action("t", effective_ms=NOW_MS + DAY_MS))
    function.clock.now_ms += DAY_MS
    work(function.enforcer)
    told = [status[2:] for status in function.statuses()]
    assert told == [
        ("unrestricted", [("throttle/rate_kbps:128", TOMORROW)]),
        ("throttle/rate_kbps:128", []),
    ]


def test_a_release_removes_a_pending_status(function):
    function.take(action("t", effective_ms=NOW_MS + DAY_MS), action("r", "release", supersedes="t"))
    assert function.statuses()[-1][2:] == ("unrestricted", [])


def test_a_pending_status_below_a_stricter_one_is_not_sent(function):
    function.take(action("s", "suspend"), action("t", effective_ms=NOW_MS + DAY_MS))
    assert function.statuses()[-1][2:] == ("suspend", [])


def test_a_pending_status_replaces_the_restriction_that_it_names(function):
    function.take(action("s", "suspend"), action("t", effective_ms=NOW_MS + DAY_MS, supersedes="s"))
    assert function.statuses()[-1][2:] == ("suspend", [("throttle/rate_kbps:128", TOMORROW)])


def test_the_policy_counter_handles_neither_storage_nor_television(function):
    function.take(
        action("t", "suspend", service="tv"), action("s", "restrict_storage", service="storage")
    )
    assert function.statuses() == []
