"""The webhook adapter, with a web server whose signature check is a public library."""

from base64 import b64encode

import msgspec
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from schemas.records import Action
from streams.clock import wall_clock
from streams.demo.embedded_broker import free_ports
from streams.enforce.account import Instruction, Restriction
from streams.enforce.adapters.contract import Refused, Unavailable
from streams.enforce.adapters.webhook import Webhook
from tests.support.harness.enforcing import NOW_MS, action
from tests.support.harness.receiver import Receiver
from tests.support.paths import ROOT

KEY = b"shared with the receiver, 32 B.."
SECRET = "whsec_" + b64encode(KEY).decode()


def webhook(url):
    return Webhook(url, KEY, 0.3, wall_clock)


def instruction(one, in_force=(), undone=()):
    return Instruction(one, in_force, undone)


def test_a_request_is_signed_and_holds_the_action_and_its_effect():
    throttle = Restriction("t", "throttle", "data", {"rate_kbps": 128}, NOW_MS)
    release = action("r", "release", supersedes="t")
    with Receiver([200]) as receiver:
        said = webhook(receiver.url + "/actions").carry_out(instruction(release, (), (throttle,)))
    assert said == "the webhook answered 200"
    (request,) = receiver.requests
    assert (request.path, request.headers["content-type"]) == ("/actions", "application/json")
    document = Verifier(SECRET).verify(request.body, request.headers)
    assert request.headers["webhook-id"] == "r"
    assert document["type"] == "fairuse.action.release"
    assert document["timestamp"] == "2026-01-01T00:00:00Z"
    assert msgspec.convert(document["data"]["action"], Action) == release
    assert document["data"]["in_force"] == []
    assert [each["action_id"] for each in document["data"]["undone"]] == ["t"]


def test_the_documented_check_accepts_genuine_requests_only():
    text = (ROOT / "docs/ENFORCEMENT.md").read_text(encoding="utf-8")
    given = {}
    exec(text.partition("```python\n")[2].partition("```")[0], given)
    with Receiver() as receiver:
        webhook(receiver.url).carry_out(instruction(action("t")))
    (request,) = receiver.requests
    assert given["is_genuine"](SECRET, request.headers, request.body)
    assert not given["is_genuine"](SECRET, request.headers, request.body + b" ")
    old = request.headers | {"webhook-timestamp": "1700000000"}
    assert not given["is_genuine"](SECRET, old, request.body)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "body"])
def test_a_changed_request_fails_the_check(name):
    with Receiver() as receiver:
        webhook(receiver.url).carry_out(instruction(action("t")))
    (request,) = receiver.requests
    if name == "body":
        request.body = request.body.replace(b"128", b"999")
    else:
        request.headers[name] = request.headers[name] + "0"
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(request.body, request.headers)


def test_an_instruction_that_is_tried_again_is_the_same_message():
    """A receiver recognises the repetition by the id."""
    with Receiver([503]) as receiver:
        with pytest.raises(Unavailable):
            webhook(receiver.url).carry_out(instruction(action("t")))
        webhook(receiver.url).carry_out(instruction(action("t")))
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_status_that_may_pass_leads_to_another_attempt(status):
    with Receiver([status]) as receiver, pytest.raises(Unavailable, match=str(status)):
        webhook(receiver.url).carry_out(instruction(action("t")))


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
def test_any_other_status_is_final_and_no_redirect_is_followed(status):
    with Receiver([status]) as receiver, pytest.raises(Refused, match=str(status)):
        webhook(receiver.url).carry_out(instruction(action("t")))
    assert len(receiver.requests) == 1


def test_a_timeout_leads_to_another_attempt():
    with Receiver([0.6]) as receiver, pytest.raises(Unavailable, match="did not answer"):
        webhook(receiver.url).carry_out(instruction(action("t")))


def test_nobody_there_is_tried_again():
    with pytest.raises(Unavailable, match="did not answer"):
        webhook(f"http://127.0.0.1:{free_ports(1)[0]}").carry_out(instruction(action("t")))


def test_a_malformed_address_is_refused():
    with pytest.raises(Refused, match="no address"):
        webhook("http://").carry_out(instruction(action("t")))
