"""Enforcement: each action gets one final result, in order, despite crashes and repetitions."""

import logging
import os
import socket
from collections import defaultdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.units import DAY_MS
from streams.enforce.account import ANSWERS_MAX, HELD_MAX, LASTING, UNDOING
from streams.enforce.consumer import serve_metrics
from streams.enforce.errors import EnforceError
from streams.enforce.metrics import EnforcementMetrics
from streams.enforce.store import Store
from streams.settings import EnforcementSettings
from tests.support.harness.enforcing import (
    NOW_MS,
    PARAMETERS,
    Adapter,
    Clock,
    Killed,
    Record,
    action,
    enforcer,
    results,
    work,
)


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Random histories fail often: without their warnings the output can be read."""
    caplog.set_level(logging.CRITICAL, "streams.enforce")


class Desk:
    """An enforcer in memory, handed one action after the other."""

    def __init__(self, script=(), **changes):
        self.adapter = Adapter(script, **changes)
        self.clock = Clock()
        self.store = Store(None)
        self.enforcer = enforcer(self.store, self.adapter, self.clock)
        self.offset = 0

    def take(self, *actions):
        for each in actions:
            self.enforcer.take_in([Record.of(each, self.offset)])
            self.offset += 1
            work(self.enforcer)

    def wait(self, ms):
        """Time passes, and what becomes due is done."""
        end_ms = self.clock.now_ms + ms
        while (wake_ms := self.store.wake_ms()) is not None and wake_ms <= end_ms:
            self.clock.now_ms = max(wake_ms, self.clock.now_ms)
            work(self.enforcer)
        self.clock.now_ms = end_ms

    def in_force(self, customer_id="32470000001"):
        return [each.action_id for each in self.store.account(customer_id).in_force]

    @property
    def results(self):
        return results(self.store)


def test_an_action_is_accepted_done_and_reported():
    desk = Desk()
    desk.take(action("n", "notify"), action("t"))
    assert desk.adapter.done == ["n", "t"]
    assert desk.results == [
        ("n", "accepted"),
        ("n", "delivered"),
        ("t", "accepted"),
        ("t", "applied"),
    ]
    assert desk.in_force() == ["t"]


def test_a_repeated_action_is_answered_from_memory():
    """Later the same result is reported again, and nothing is carried out."""
    desk = Desk()
    desk.take(action("t"))
    desk.clock.now_ms += 5_000
    desk.take(action("t"))
    assert desk.adapter.done == ["t"]
    said = [result for _, result in desk.store.unsent(10)]
    assert said[1:] == [said[1]] * 2
    assert said[1].status == "applied"


@pytest.mark.parametrize("fate", ["refused", "unavailable"])
def test_a_repeated_action_whose_first_try_failed_is_tried_again(fate):
    """Once it is applied, a repetition gets the stored result."""
    desk = Desk([fate] * (3 if fate == "unavailable" else 1))
    desk.take(action("t"))
    desk.wait(10_000)
    assert (desk.adapter.done, desk.results) == ([], [("t", "accepted"), ("t", "failed")])
    desk.take(action("t"))
    assert (desk.adapter.done, desk.in_force()) == (["t"], ["t"])
    assert desk.results[2:] == [("t", "accepted"), ("t", "applied")]
    desk.take(action("t"))
    assert desk.adapter.done == ["t"]
    assert desk.results[4:] == [("t", "applied")]


def test_a_repeated_action_may_fail_each_time():
    desk = Desk(["refused"] * 3)
    desk.take(action("t"), action("t"), action("t"))
    assert desk.results == [("t", "accepted"), ("t", "failed")] * 3
    assert len(desk.store.account("32470000001").answers) == 1
    assert desk.store.finished() == {0: 3}


def test_an_action_that_would_bar_emergency_numbers_fails_each_time_it_comes():
    desk = Desk()
    barred = action("m", "minimum_service", parameters={"outgoing": []})
    desk.take(barred, barred)
    assert (desk.adapter.done, desk.results) == ([], [("m", "failed")] * 2)


@pytest.mark.parametrize("kind", ["release", "suspend"])
def test_a_failed_action_is_not_tried_again_once_another_replaced_it(kind):
    desk = Desk(["refused"])
    desk.take(action("t"), action("n", kind, supersedes="t"), action("t"))
    assert desk.adapter.done == ["n"]
    assert desk.results[-1] == ("t", "expired")
    assert desk.in_force() == (["n"] if kind == "suspend" else [])


def test_a_record_that_is_read_again_gets_no_second_result():
    """An action that is sent again as a new record does get one."""
    desk = Desk()
    desk.take(action("t"), action("u"))
    desk.enforcer.take_in([Record.of(action("t"), 0)])
    assert len(desk.results) == 4
    assert desk.store.position(0) == 2


def test_an_action_waits_until_it_takes_effect():
    desk = Desk()
    desk.take(action("t", effective_ms=NOW_MS + DAY_MS), action("u"))
    assert desk.adapter.done == ["u"]
    desk.wait(DAY_MS - 1)
    assert desk.adapter.done == ["u"]
    desk.wait(1)
    assert desk.adapter.done == ["u", "t"]
    assert desk.store.finished() == {0: 2}


def test_no_offset_beyond_a_waiting_action_is_committed():
    desk = Desk()
    desk.take(action("a"), action("t", effective_ms=NOW_MS + DAY_MS), action("u"))
    assert desk.store.finished() == {0: 1}


def test_an_action_under_review_is_not_carried_out_before_its_approval():
    desk = Desk()
    held = action("s", "suspend", human_review=True)
    desk.take(held, held)
    assert (desk.adapter.done, desk.results) == ([], [])
    desk.take(msgspec.structs.replace(held, human_review=False))
    assert desk.adapter.done == ["s"]
    desk.take(held, msgspec.structs.replace(held, human_review=False))
    assert desk.adapter.done == ["s"]
    assert desk.results == [("s", "accepted"), ("s", "applied"), ("s", "applied")]


@pytest.mark.parametrize("kind", sorted(UNDOING))
def test_a_release_ends_the_restriction_that_it_names_and_no_other(kind):
    desk = Desk()
    desk.take(action("t"), action("u"), action("r", kind, supersedes="t"))
    assert [each.action_id for each in desk.adapter.instructions[-1].undone] == ["t"]
    assert desk.in_force() == ["u"]


def test_a_release_of_an_ended_restriction_is_sent_to_the_network_too():
    """The network may have restored it unasked; the other restrictions stay in force."""
    desk = Desk()
    desk.take(action("t"), action("s", "suspend", supersedes="t"))
    desk.take(action("r", "release", supersedes="t"))
    assert [each.action_id for each in desk.adapter.instructions[-1].in_force] == ["s"]
    assert desk.results[-1] == ("r", "applied")
    desk.take(action("r2", "release", supersedes="s"), action("r3", "release", supersedes="s"))
    assert desk.adapter.done == ["t", "s", "r", "r2", "r3"]
    assert desk.in_force() == []


def test_a_suspension_replaces_the_throttle_that_it_names():
    desk = Desk()
    desk.take(action("t"), action("s", "suspend", supersedes="t"))
    assert desk.in_force() == ["s"]
    desk.take(action("r", "release", supersedes="s"))
    assert desk.in_force() == []


def test_a_suspension_replaces_a_throttle_that_is_not_in_force_yet():
    desk = Desk()
    later = action("t", effective_ms=NOW_MS + DAY_MS)
    desk.take(later, action("s", "suspend", supersedes="t"))
    desk.wait(2 * DAY_MS)
    assert desk.in_force() == ["s"]
    assert desk.results[-1] == ("t", "expired")


def test_a_release_also_ends_what_the_action_that_it_names_should_have_replaced():
    """The suspension was under review or failed, so that the throttle is still in force."""
    for script in ([], ["done", "refused"]):
        desk = Desk(script)
        held = action("s", "suspend", supersedes="t", human_review=not script)
        desk.take(action("t"), held)
        assert desk.in_force() == ["t"]
        desk.take(action("r", "release", supersedes="s"))
        assert desk.in_force() == []


def test_a_proposal_to_terminate_lifts_nothing():
    desk = Desk()
    desk.take(action("s", "suspend"), action("p", "propose_termination", supersedes="s"))
    assert desk.in_force() == ["s"]
    desk.take(action("r", "release", supersedes="p"))
    assert desk.in_force() == []


def test_a_release_cancels_an_action_that_has_not_taken_effect_yet():
    """Even when the release itself can't be carried out."""
    desk = Desk(["refused"])
    desk.take(action("t", effective_ms=NOW_MS + DAY_MS), action("r", "release", supersedes="t"))
    desk.wait(2 * DAY_MS)
    assert desk.adapter.done == []
    assert desk.results == [
        ("t", "accepted"),
        ("r", "accepted"),
        ("t", "expired"),
        ("r", "failed"),
    ]


def test_an_action_that_is_approved_after_its_release_is_not_carried_out():
    desk = Desk()
    held = action("s", "suspend", human_review=True)
    desk.take(held, action("r", "release", supersedes="s"))
    desk.take(msgspec.structs.replace(held, human_review=False))
    assert desk.adapter.done == ["r"]
    assert desk.results[-1] == ("s", "expired")


def test_an_expired_action_is_not_carried_out():
    desk = Desk()
    desk.take(action("t", expires_ms=NOW_MS))
    assert (desk.adapter.done, desk.results[-1]) == ([], ("t", "expired"))


def test_an_attempt_that_fails_is_made_again_later_and_keeps_the_order():
    """The customer's next action waits behind it, another customer's does not."""
    desk = Desk(["unavailable"])
    desk.take(action("t"), action("u"), action("o", customer_id="other"))
    assert desk.adapter.done == ["o"]
    desk.wait(1_000)
    assert desk.adapter.done == ["o", "t", "u"]


def test_a_release_ends_the_attempts_of_the_action_that_it_names():
    desk = Desk(["unavailable"])
    desk.take(action("t"), action("r", "release", supersedes="t"))
    desk.wait(DAY_MS)
    assert desk.adapter.done == ["r"]
    assert desk.results[2:] == [("t", "expired"), ("r", "applied")]


def test_an_action_fails_after_its_last_attempt_and_the_next_one_follows():
    desk = Desk(["unavailable"] * 3)
    desk.take(action("t"), action("u"))
    desk.wait(999)
    assert desk.results == [("t", "accepted"), ("u", "accepted")]
    desk.wait(2_001)
    assert desk.results[2:] == [("t", "failed"), ("u", "applied")]
    assert desk.in_force() == ["u"]


def test_a_refused_action_is_not_tried_again():
    desk = Desk(["refused"])
    desk.take(action("t"))
    said = desk.store.unsent(10)[-1][1]
    assert (said.status, said.detail) == ("failed", "not known here")
    assert desk.store.wake_ms() is None


def test_a_minimum_service_that_bars_emergency_or_free_numbers_is_never_done():
    desk = Desk()
    for number, outgoing in enumerate(([], ["emergency"], ["free"], None, "emergency free")):
        desk.take(action(f"m{number}", "minimum_service", parameters={"outgoing": outgoing}))
    assert desk.adapter.done == []
    assert {status for _, status in desk.results} == {"failed"}
    desk.take(action("m", "minimum_service"))
    assert desk.adapter.instructions[-1].in_force[-1].parameters == PARAMETERS["minimum_service"]


def test_a_suspension_of_calls_that_bars_emergency_or_free_numbers_is_never_done():
    desk = Desk()
    for service in ("mobile", "sms", "voice"):
        desk.take(action(service, "suspend", service=service))
    assert desk.adapter.done == []
    assert {status for _, status in desk.results} == {"failed"}
    desk.take(action("d", "suspend"))
    left_open = {"outgoing": ["emergency", "free"]}
    desk.take(action("v", "suspend", service="voice", parameters=left_open))
    assert desk.adapter.done == ["d", "v"]


def test_coming_restrictions_are_announced_to_an_adapter_that_wants_it():
    desk = Desk(announces=True)
    desk.take(action("t", effective_ms=NOW_MS + DAY_MS), action("n", "notify"))
    assert [each.action_id for each in desk.adapter.announced[0].coming] == ["t"]
    assert desk.adapter.done == ["n"]
    desk.wait(DAY_MS)
    assert desk.adapter.done == ["n", "t"]
    assert desk.adapter.instructions[-1].coming == ()


def test_an_announcement_does_not_hurry_an_attempt_that_has_to_wait():
    desk = Desk(["unavailable"], announces=True)
    desk.take(action("t"), action("u", effective_ms=NOW_MS + DAY_MS))
    assert [each.action.action_id for each in desk.adapter.announced] == ["u"]
    assert desk.adapter.done == []
    desk.wait(1_000)
    assert desk.adapter.done == ["t"]


def test_an_announcement_that_fails_changes_nothing_for_the_action():
    desk = Desk(["unavailable"] * 3, announces=True)
    desk.take(action("t", effective_ms=NOW_MS + DAY_MS))
    desk.wait(2 * DAY_MS)
    assert desk.results == [("t", "accepted"), ("t", "applied")]


def test_an_action_for_another_adapter_is_passed_over():
    desk = Desk(kinds={"throttle", "release"})
    desk.take(action("n", "notify"), action("t"))
    assert desk.results == [("t", "accepted"), ("t", "applied")]
    assert desk.store.finished() == {0: 2}


@pytest.mark.parametrize(
    "changes",
    [
        {"value": None},
        {"value": b"\xff"},
        {"value": b"{}"},
        {"value": b'{"action_id": "\\ud800"}'},
        {"value": msgspec.json.encode(action("")), "key": b"32470000001"},
        {"value": msgspec.json.encode(action("a" * 65)), "key": b"32470000001"},
        {"value": msgspec.json.encode(action("a")), "key": b"other"},
        {"value": msgspec.json.encode(action("a", effective_ms=2**63)), "key": b"32470000001"},
        {"value": msgspec.json.encode(action("a", expires_ms=-1)), "key": b"32470000001"},
    ],
)
def test_a_bad_record_is_counted_and_skipped(changes):
    desk = Desk()
    desk.enforcer.take_in([Record(**{"offset": 0, "key": None} | changes)])
    desk.offset = 1
    desk.take(action("t"))
    assert desk.adapter.done == ["t"]
    assert desk.enforcer.metrics.bad_records._value.get() == 1


def test_no_customer_can_fill_the_memory():
    desk = Desk(["unavailable"] * 1_000)
    desk.take(*(action(f"t{number}") for number in range(HELD_MAX + 1)))
    assert desk.results[-1] == (f"t{HELD_MAX}", "failed")
    desk.take(*(action(f"r{number}", "release") for number in range(HELD_MAX + 1)))
    account = desk.store.account("32470000001")
    assert len(account.waiting) == 2 * HELD_MAX
    desk.take(*(action(f"n{number}", "notify") for number in range(ANSWERS_MAX)))
    account = desk.store.account("32470000001")
    assert len(account.answers) == ANSWERS_MAX
    assert {each.action.action_id for each in account.waiting} <= set(account.answers)


def test_customers_with_nothing_in_force_are_forgotten_beyond_the_bound():
    desk = Desk()
    desk.enforcer = enforcer(desk.store, desk.adapter, desk.clock, customers_max=2)
    for number in range(5):
        desk.clock.now_ms += 1
        desk.take(action(f"n{number}", "notify", customer_id=f"c{number}"))
    desk.take(action("t", customer_id="c-held"))
    desk.enforcer.tidy()
    known = [number for number in range(5) if desk.store.account(f"c{number}").answers]
    assert known == [3, 4]
    assert desk.in_force("c-held") == ["t"]


def test_a_state_file_belongs_to_one_process(tmp_path):
    path = tmp_path / "enforce.sqlite"
    with Store(path), pytest.raises(EnforceError, match="in use by another"):
        Store(path)


def test_a_state_file_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "enforce.sqlite"
    with Store(path) as store:
        store._database.execute("PRAGMA user_version = 99")
    with pytest.raises(EnforceError, match="another version"):
        Store(path)


def test_a_file_that_is_no_state_file_is_refused(tmp_path):
    path = tmp_path / "enforce.sqlite"
    path.write_text("not a database, but long enough to be read as the beginning of one" * 20)
    with pytest.raises(EnforceError, match="can't be used"):
        Store(path)


def test_the_error_names_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnforceError, match=f"port {port} .* choose another --port"):
            serve_metrics(EnforcementMetrics(), EnforcementSettings(port=port))


# -- random histories ---------------------------------------------------------------------------

KINDS = ("notify", "throttle", "minimum_service", "suspend", "release", "withdraw", "charge")
FATES = ("done", "done", "unavailable", "refused", "killed before", "killed after")


@st.composite
def histories(draw):
    """Actions of a few customers, some held and approved later, some sent again."""
    sent, by_customer = [], defaultdict(list)
    for number in range(draw(st.integers(1, 14))):
        customer_id = draw(st.sampled_from(["c0", "c1", "c2"]))
        before = by_customer[customer_id]
        kind = draw(st.sampled_from(KINDS))
        named = draw(st.sampled_from(before)) if before and draw(st.booleans()) else None
        made = action(
            f"a{number}",
            kind,
            customer_id=customer_id,
            supersedes=named,
            effective_ms=NOW_MS + draw(st.sampled_from([-5, 0, 0, 5_000, 60_000])),
            expires_ms=draw(st.sampled_from([None, None, None, NOW_MS + 20_000])),
            human_review=kind == "suspend" and draw(st.booleans()),
        )
        before.append(made.action_id)
        sent.append(made)
        if made.human_review and draw(st.booleans()):
            sent.append(msgspec.structs.replace(made, human_review=False))
        if draw(st.integers(0, 3)) == 0:
            sent.append(draw(st.sampled_from(sent)))
    return sent


class Run:
    """Plays a history to its end; after a kill, a new process continues with the stored state."""

    def __init__(self, sent, script, pauses, at_once=3):
        self.clock = Clock()
        self.adapter = Adapter(script, clock=self.clock)
        self.reported = []
        self.at_once = at_once
        self.records = [Record.of(each, offset) for offset, each in enumerate(sent)]
        self.pauses = iter(pauses)
        self.restart(Store(None))
        while self.step():
            pass
        self.report()
        self.accounts = {name: self.store.account(name) for name in ("c0", "c1", "c2")}

    def restart(self, store):
        self.store = store
        self.enforcer = enforcer(self.store, self.adapter, self.clock)

    def step(self):
        """Take in a few records, do what is due, let time pass; whether anything is left."""
        position = self.store.position(0) or 0
        # A broker may deliver records again.
        self.enforcer.take_in(self.records[max(0, position - 1) : position + self.at_once])
        try:
            work(self.enforcer)
        except Killed:
            self.restart(self.store.copy())
        self.report()
        wake_ms = self.store.wake_ms()
        left = (self.store.position(0) or 0) < len(self.records) or wake_ms is not None
        pause = next(self.pauses, None)
        if pause is None and wake_ms is not None:
            pause = max(0, wake_ms - self.clock.now_ms)
        self.clock.now_ms += pause or 0
        return left

    def report(self):
        rows = self.store.unsent(1_000)
        self.reported += [said for _, said in rows]
        if rows:
            with self.store.transaction():
                self.store.sent(rows[-1][0])


def asked_for(sent):
    """The actions to carry out: those without review, and those approved."""
    return {each.action_id: each for each in sent if not each.human_review}


def last_words(reported):
    return {said.action_id: said.status for said in reported}


PROPERTY = settings(
    deadline=None,
    print_blob=True,
    max_examples=60 * int(os.environ.get("FAIRUSE_THOROUGHNESS", "1")),
)
OPEN = ("accepted", "failed")
"""Statuses after which another may come."""
PAUSES = st.lists(st.sampled_from([0, 1_000, 10_000, 30_000]), max_size=10)


@PROPERTY
@given(histories(), st.lists(st.sampled_from(FATES), max_size=12), PAUSES)
def test_every_action_has_one_final_answer(sent, script, pauses):
    """No other result follows, unless the action failed and came again."""
    run = Run(sent, script, pauses)
    said_of = defaultdict(list)
    for said in run.reported:
        said_of[said.action_id].append(said)
    assert set(said_of) == set(asked_for(sent))
    for name, said in said_of.items():
        statuses = [each.status for each in said]
        assert statuses[-1] != "accepted"
        times_sent = sum(each.action_id == name and not each.human_review for each in sent)
        assert statuses.count("failed") <= times_sent
        first = next((n for n, each in enumerate(statuses) if each not in OPEN), len(said))
        assert all(each == said[first] for each in said[first:])


@PROPERTY
@given(histories(), st.lists(st.sampled_from(FATES), max_size=12), PAUSES)
def test_nothing_is_done_twice_or_reported_without_being_done(sent, script, pauses):
    """Only the instruction that a kill interrupted is carried out again, unchanged."""
    run = Run(sent, script, pauses)
    kills = script.count("killed after")
    instructions = defaultdict(list)
    for instruction in run.adapter.instructions:
        instructions[instruction.action.action_id].append(instruction)
    assert sum(len(again) - 1 for again in instructions.values()) <= kills
    said_done = {
        name for name, said in last_words(run.reported).items() if said in ("applied", "delivered")
    }
    assert said_done <= set(instructions)
    assert len(set(instructions) - said_done) <= kills


@PROPERTY
@given(histories(), st.lists(st.sampled_from(FATES[:4]), max_size=12), PAUSES)
def test_the_restrictions_in_force_are_those_applied_and_not_ended_since(sent, script, pauses):
    """The twin: for each applied restriction, look whether a later one names it."""
    run = Run(sent, script, pauses)
    known = {each.action_id: each for each in sent}
    done = run.adapter.instructions
    expected = defaultdict(list)
    for place, instruction in enumerate(done):
        one = instruction.action
        later = [each.action for each in done[place + 1 :] if each.action.kind in LASTING | UNDOING]
        if one.kind in LASTING and not any(names(known, other, one) for other in later):
            expected[one.customer_id].append(one.action_id)
    for customer_id, account in run.accounts.items():
        assert [each.action_id for each in account.in_force] == expected[customer_id]


def names(known, other, one):
    """Whether an action names another, or names one that does."""
    name = other.supersedes
    while name is not None:
        if name == one.action_id:
            return True
        name = known[name].supersedes
    return False


@PROPERTY
@given(histories(), st.lists(st.sampled_from(FATES[:2]), max_size=12), st.randoms())
def test_how_customers_are_interleaved_makes_no_difference(sent, script, chance):
    queues = defaultdict(list)
    for each in sent:
        queues[each.customer_id].append(each)
    mixed = []
    while any(queues.values()):
        mixed.append(queues[chance.choice([name for name in queues if queues[name]])].pop(0))
    played = []
    for history in (sent, mixed):
        run = Run(history, script, [0] * (len(sent) + 1), at_once=1)
        done = defaultdict(list)
        for each in run.adapter.instructions:
            done[each.action.customer_id].append(each)
        played.append(done)
    assert played[0] == played[1]


@PROPERTY
@given(histories(), st.lists(st.sampled_from(FATES[:4]), max_size=12), PAUSES)
def test_no_action_is_carried_out_too_early_or_too_late_or_without_its_review(sent, script, pauses):
    run = Run(sent, script, pauses)
    for instruction, now_ms in zip(run.adapter.instructions, run.adapter.times_ms, strict=True):
        one = instruction.action
        assert one.effective_ms <= now_ms
        assert one.expires_ms is None or now_ms < one.expires_ms
        assert not one.human_review
