"""Checks that every adapter has to pass, future ones included."""

import json
import re
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrad.client import Timeout

from schemas.records import Service
from streams.enforce.account import Instruction, Restriction
from streams.enforce.adapters.contract import AdapterError
from streams.enforce.adapters.policy_counter import spending_limit_status
from streams.enforce.adapters.radius import Radius
from streams.enforce.adapters.registry import MAKERS, adapter_of
from streams.enforce.adapters.webhook import payload
from streams.settings import EnforcementSettings
from tests.support.harness.enforcing import MINIMUM, NOW_MS, Clock, action

SETTINGS = {
    "webhook_url": "http://127.0.0.1:9",
    "webhook_secret": "whsec_YWJj",
    "radius_host": "127.0.0.1",
    "radius_secret": "secret",
    "policy_counter_url": "http://127.0.0.1:9",
}


def adapter(name):
    return adapter_of(EnforcementSettings(adapter=name, **SETTINGS), Clock())


def radius_bytes(instruction):
    """The packet that the RADIUS adapter sends."""
    sent = []
    radius = Radius("127.0.0.1", 9, "secret", 1, Clock())

    def send(packet):
        sent.append(packet.RequestPacket())
        raise Timeout

    radius._client.SendPacket = send
    with pytest.raises(AdapterError):
        radius.carry_out(instruction)
    return b"".join(sent)


SAID = {
    "webhook": payload,
    "radius": radius_bytes,
    "policy-counter": lambda instruction: json.dumps(spending_limit_status(instruction)).encode(),
}
"""What each adapter sends for an instruction."""


def restriction(kind, parameters, service="mobile"):
    return Restriction("m", kind, service, parameters, NOW_MS)


WORDS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


@settings(deadline=None)
@given(more=st.dictionaries(WORDS, WORDS | st.integers(0, 9) | st.lists(WORDS, max_size=3)))
@pytest.mark.parametrize("name", MAKERS)
def test_no_adapter_drops_a_parameter_of_a_minimum_service(name, more):
    """Above all emergency and free numbers; a new adapter has to be added to `SAID`."""
    parameters = dict(list(more.items())[:4]) | MINIMUM
    one = action("m", "minimum_service", service="mobile", parameters=parameters)
    held = (restriction("minimum_service", parameters),)
    said = SAID[name](Instruction(one, held)).decode("latin-1")
    for parameter, values in parameters.items():
        assert parameter in said
        for value in values if isinstance(values, list) else [values]:
            assert re.search(rf"(?<![a-z_]){re.escape(str(value))}(?![a-z_])", said)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    parameters=st.dictionaries(st.sampled_from(["rate_kbps", "outgoing", "x"]), ANYTHING),
    kind=st.sampled_from(["throttle", "minimum_service", "suspend", "restrict_storage"]),
    customer_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
)
@pytest.mark.parametrize("name", MAKERS)
def test_no_content_of_an_action_makes_an_adapter_crash(name, parameters, kind, customer_id):
    """The adapter carries the instruction out, or raises an `AdapterError`."""
    one = action("m", kind, customer_id=customer_id, parameters=parameters)
    with suppress(AdapterError):
        SAID[name](Instruction(one, (restriction(kind, parameters, "data"),) * 2))


@pytest.mark.parametrize("name", ["radius", "policy-counter"])
@pytest.mark.parametrize("service", ["tv", "storage"])
@pytest.mark.parametrize("kind", ["suspend", "release"])
def test_no_network_adapter_touches_television_or_storage(name, service, kind):
    assert service in msgspec.inspect.type_info(Service).values
    assert not adapter(name).handles(action("s", kind, service=service))


def test_an_adapter_can_be_restricted_to_some_kinds():
    only = adapter_of(
        EnforcementSettings(adapter="webhook", kinds="notify, release", **SETTINGS), Clock()
    )
    kinds = ["notify", "release", "throttle", "suspend"]
    assert [only.handles(action("a", kind)) for kind in kinds] == [True, True, False, False]
