"""The RADIUS adapter with a real FreeRADIUS server."""

import pytest

from streams.clock import wall_clock
from streams.demo.embedded_broker import free_ports
from streams.enforce.account import Instruction, Restriction
from streams.enforce.adapters.contract import Refused, Unavailable
from streams.enforce.adapters.radius import Radius
from streams.enforce.store import Store
from tests.support.harness.enforcing import (
    NOW_MS,
    PARAMETERS,
    Clock,
    Record,
    action,
    enforcer,
    work,
)
from tests.support.harness.radius_server import SECRET


def radius_adapter(port, secret=SECRET):
    return Radius("127.0.0.1", port, secret, 1, wall_clock)


class Line:
    """Actions that are carried out on a RADIUS server."""

    def __init__(self, radius):
        self.store = Store(None)
        self.enforcer = enforcer(self.store, radius_adapter(radius.coa_port), Clock())
        self.offset = 0

    def take(self, *actions):
        for each in actions:
            self.enforcer.take_in([Record.of(each, self.offset)])
            self.offset += 1
            work(self.enforcer)
        said = self.store.unsent(1_000)[-1][1]
        return said.status, said.detail


def test_a_throttle_is_held_and_lifted_again(radius):
    line = Line(radius)
    radius.log_in("alice")
    assert line.take(action("t", customer_id="alice")) == (
        "applied",
        "RADIUS holds throttle/rate_kbps:128",
    )
    assert radius.held() == {"alice": "throttle/rate_kbps:128"}
    assert radius.log_in("alice") == {
        "Filter-Id": "throttle/rate_kbps:128",
        "WISPr-Bandwidth-Max-Down": "128000",
        "WISPr-Bandwidth-Max-Up": "128000",
    }
    assert radius.connected() == {"alice"}
    line.take(action("r", "release", customer_id="alice", supersedes="t"))
    assert radius.log_in("alice") == {"Filter-Id": "unrestricted"}


def test_a_suspended_customer_is_disconnected_and_rejected_until_released(radius):
    line = Line(radius)
    radius.log_in("bob")
    suspended = action("s", "suspend", customer_id="bob")
    assert line.take(suspended) == (
        "applied",
        "RADIUS holds suspend and has disconnected the customer",
    )
    assert radius.connected() == set()
    assert radius.log_in("bob") is None
    assert radius.told("bob") == [("CoA-Request", "suspend"), ("Disconnect-Request", "")]
    line.take(action("r", "release", customer_id="bob", supersedes="s"))
    assert radius.log_in("bob") == {"Filter-Id": "unrestricted"}


def test_a_customer_who_is_not_connected_can_be_suspended(radius):
    assert Line(radius).take(action("s", "suspend", customer_id="carol")) == (
        "applied",
        "RADIUS holds suspend; the customer was not connected",
    )
    assert radius.log_in("carol") is None


def test_a_minimum_service_keeps_open_what_must_stay_open(radius):
    Line(radius).take(action("m", "minimum_service", customer_id="dan", service="mobile"))
    assert radius.log_in("dan") == {
        "Filter-Id": "minimum_service/incoming:national/outgoing:emergency/outgoing:free"
    }


def test_of_several_restrictions_the_strictest_is_held(radius):
    """Once it is released, the strictest of the others holds."""
    line = Line(radius)
    steps = [
        (action("t1", customer_id="eve"), "throttle/rate_kbps:128"),
        (
            action("t2", customer_id="eve", parameters={"rate_kbps": 512}),
            "throttle/rate_kbps:128",
        ),
        (action("s", "suspend", customer_id="eve", supersedes="t2"), "suspend"),
        (action("r1", "release", customer_id="eve", supersedes="s"), "throttle/rate_kbps:128"),
        (action("r2", "withdraw", customer_id="eve", supersedes="t1"), "unrestricted"),
    ]
    for one, expected in steps:
        line.take(one)
        assert radius.held() == {"eve": expected}


def test_another_service_of_the_customer_goes_on(radius):
    """Suspending television or storage does not affect the connection."""
    line = Line(radius)
    for service in ("tv", "storage", "voice", "sms"):
        line.enforcer.take_in([Record.of(action(service, "suspend", service=service), line.offset)])
        line.offset += 1
        work(line.enforcer)
    assert line.store.unsent(10) == []
    assert radius.rows("SELECT * FROM told") == []


def test_names_with_quotes_reach_the_server_whole(radius):
    line = Line(radius)
    names = ["o'neill", 'a"b', "c;d", "é" * 32]
    for number, name in enumerate(names):
        assert line.take(action(f"t{number}", customer_id=name))[0] == "applied"
    assert len(radius.held()) == len(names)


def test_a_wrong_secret_gets_no_answer(radius):
    with pytest.raises(Unavailable, match="did not answer"):
        radius_adapter(radius.coa_port, "another secret").carry_out(
            Instruction(action("t"), (restriction(),))
        )
    assert radius.held() == {}


def test_a_server_gets_the_restriction_once_it_is_back(radius):
    line = Line(radius)
    radius.stop()
    line.take(action("t", customer_id="fay"))
    assert [said.status for _, said in line.store.unsent(10)] == ["accepted"]
    radius.start()
    line.enforcer._clock.now_ms = line.store.wake_ms()
    work(line.enforcer)
    assert [said.status for _, said in line.store.unsent(10)] == ["accepted", "applied"]
    assert radius.held() == {"fay": "throttle/rate_kbps:128"}


def test_nobody_there_is_tried_again():
    with pytest.raises(Unavailable):
        radius_adapter(free_ports(1)[0]).carry_out(Instruction(action("t"), (restriction(),)))


@pytest.mark.parametrize("rate", [None, 0, -1, "128", 1.5, True, 5_000_000])
def test_a_throttle_without_a_usable_rate_is_refused(rate):
    held = restriction(parameters={"rate_kbps": rate})
    with pytest.raises(Refused):
        radius_adapter(free_ports(1)[0]).carry_out(Instruction(action("t"), (held,)))


def test_an_id_that_is_too_long_for_a_packet_is_refused():
    one = action("t", customer_id="\N{GRINNING FACE}" * 64)
    with pytest.raises(Refused, match="does not fit"):
        radius_adapter(free_ports(1)[0]).carry_out(Instruction(one, ()))


def restriction(kind="throttle", **changes):
    fields = {
        "action_id": "t",
        "kind": kind,
        "service": "data",
        "parameters": PARAMETERS.get(kind, {}),
        "effective_ms": NOW_MS,
    }
    return Restriction(**fields | changes)
