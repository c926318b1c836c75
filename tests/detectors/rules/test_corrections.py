"""Corrections: the counters and findings after events are replaced or taken back."""

from collections import defaultdict

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.fold.event_ledger import Ledger
from detectors.fold.partition import Partition
from detectors.rules.contract import Batch
from schemas.events import Data, Sms, Stream, Voice
from schemas.fields import Fields
from schemas.records import CohortAverage
from tests.support.harness.runs import (
    IDS_MAX,
    WRITTEN_BYTES,
    Run,
    by_rule,
    checkpoint,
    in_any_order,
    moved,
    state_of,
    stretches,
)
from tests.support.strategies.drawing import (
    EVENTS_MAX,
    HOUR_MS,
    MIDNIGHTS_MS,
    MINUTE_MS,
    choices,
    month_of,
    month_start_ms,
    only,
    with_parameters,
)
from tests.support.strategies.histories import LOW
from tests.support.strategies.properties import PROPERTY, TWIN, cuts

NOON_MS = MIDNIGHTS_MS[1] + 12 * HOUR_MS
COUNTING = ("sms_daily", "sms_monthly", "voice_daily", "data_monthly_ratio", "roaming_volume")
POLICY = only(
    LOW,
    *(*COUNTING, "usage_double", "deviation", "roaming_permanent"),
    *("monitoring", "gateway", "machine", "voice_continuous"),
    *("stream_elsewhere", "stream_concurrent"),
)
CALENDAR = only(
    with_parameters(
        LOW,
        voice_continuous={"limit_ms": 90 * MINUTE_MS},
        stream_concurrent={"limit": 1, "views_max": EVENTS_MAX},
    ),
    *(*COUNTING, "data_bundle", "overload", "sharing", "voice_continuous"),
    *("stream_devices", "stream_concurrent"),
)
"""Adds rules that keep more than totals: warnings, contacts, views and chains of calls."""

DAYS = only(
    with_parameters(
        LOW,
        monitoring={"lateness_hours": 1, "talk_ms_min": HOUR_MS},
        gateway={"score_min": 400, "lateness_hours": 1, "calls_min": 3, "weight_sims": 0},
        machine={"score_min": 300, "lateness_hours": 1},
        stream_elsewhere={"lateness_hours": 1, "share_percent": 75},
    ),
    *("monitoring", "gateway", "machine", "stream_elsewhere"),
)
DAYS = msgspec.structs.replace(DAYS, corrections_window_hours=48)
"""Days close soon after they end, while their events can still be corrected.

A correction scores only its own customer again, so the sign of shared devices has no weight here.
"""

TO_TWO = {"recipients": 1, "length_seconds": 180, "step_seconds": 60, "retention_hours": 24}
DISTINCT = only(
    with_parameters(LOW, sms_group=TO_TWO, sms_bulk=TO_TWO | {"answered_percent": 100}),
    *("sms_group", "sms_bulk", "sharing"),
)
"""Two recipients within three minutes are too many."""

USE = {
    Sms: choices(
        recipient=("r", "r", "s", "t"),
        message_reference=("m", "m", "n", None),
        service=("sms", "sms", "mms"),
    ),
    Voice: choices(
        other_party=("o", "o", "p"),
        duration_ms=(40 * MINUTE_MS, 40 * MINUTE_MS, 0, 5 * HOUR_MS),
        direction=("mo", "mo", "mt"),
        partial_sequence=(None, None, 2),
        cell_id=("here", "here", "there"),
        served_imei=("one", None),
    ),
    Data: choices(
        bytes_uplink=(20,),
        bytes_downlink=(0,),
        visited_plmn=("20801",),
        duration_ms=(1,),
        device_fingerprint=(None, "laptop", "tablet"),
        served_imei=("350000000000001", None),
    ),
}
USE[Stream] = choices(
    device_id=("box", "box", "phone", "tablet"),
    duration_ms=(40 * MINUTE_MS, HOUR_MS, 0),
    at_home=(False, False, True),
    address_id=("flat", "flat", "cabin"),
)
LAST = {
    Sms: {"recipient": "r"},
    Voice: {"other_party": "o", "duration_ms": 1},
    Data: {"bytes_uplink": 1, "bytes_downlink": 0},
    Stream: {"device_id": "box", "duration_ms": 1},
}


@st.composite
def corrected(draw, structures=None, pause_ms=0):
    """Events of one kind, or of these structures; some correct an earlier one or take it back.

    There is one event a minute. With a pause, half of the events come after it; many of these are
    corrections, and none of the others is.
    """
    structures = structures or [draw(st.sampled_from(list(USE)))]
    events, count = [], draw(st.integers(0, EVENTS_MAX))
    for number in range(count):
        structure = draw(st.sampled_from(structures))
        more = {"customer_id": draw(st.sampled_from(("c0", "c0", "c1")))}
        is_late = 2 * number > count
        if number and draw(st.sampled_from((is_late, pause_ms == 0, False))):
            original = draw(st.sampled_from(events))
            structure = type(original)
            more = {
                "customer_id": draw(st.sampled_from((*[original.customer_id] * 3, "c1"))),
                "corrects": original.event_id,
                "void": draw(st.booleans()),
            }
        time_ms = NOON_MS + number * MINUTE_MS - draw(st.sampled_from((0, 0, HOUR_MS)))
        time_ms += pause_ms * is_late
        head = {"event_id": f"e-{number}", "event_time_ms": time_ms}
        events.append(structure(**head, **more, **draw(USE[structure])))
    return events


OVER_MIDNIGHT_MS = 14 * HOUR_MS


def without_mistakes(history):
    """The history as it should have been, and the rows of corrections of unknown events."""
    counted, refused = {}, []
    for number, event in enumerate(history):
        key = (event.customer_id, event.corrects)
        if event.corrects is not None and key not in counted:
            refused.append(number)
            continue
        if event.corrects is not None:
            del counted[key]
        if not event.void:
            plain = msgspec.structs.replace(event, corrects=None)
            counted[event.customer_id, event.event_id] = plain
    return list(counted.values()), refused


def with_last_event(run, history):
    """Fold one more event, of another customer, so that both runs end at the same time."""
    if history:
        structure = type(history[0])
        head = {"event_id": "last", "customer_id": "last", "event_time_ms": NOON_MS + 6 * HOUR_MS}
        run.fold([structure(**head, **LAST[structure])], [len(history)])
    return run


def counts(partition):
    """Stored row of every customer with any use, without the time it was written at."""
    return {
        key: value[WRITTEN_BYTES:]
        for keys, values in partition.state.changes(everything=True)
        for key, value in zip(keys, values, strict=True)
        if not key.startswith(b"#") and any(value[WRITTEN_BYTES:])
    }


@PROPERTY
@given(history=corrected())
def test_counters_are_those_of_the_history_without_mistakes(history):
    right, refused = without_mistakes(history)
    run = with_last_event(Run(POLICY).take(history), history)
    ideal = with_last_event(Run(POLICY).take(right), history)
    assert counts(ideal.partition) == counts(run.partition)
    assert refused == run.uncorrectable


@pytest.mark.parametrize("structure", USE)
@TWIN
@given(data=st.data())
def test_a_window_is_in_breach_exactly_if_it_is_without_the_mistakes(structure, data):
    """The last finding of each window is "breach" if the right history has it, else "cleared"."""
    history = data.draw(corrected([structure]))
    right, _ = without_mistakes(history)
    run, ideal = Run(CALENDAR).take(history), Run(CALENDAR).take(right)
    assert open_breaches(ideal.findings) == open_breaches(run.findings)


OF_DAYS = {
    "monitoring": [Voice],
    "gateway": [Voice, Voice, Voice, Sms],
    "machine": [Data, Data, Data, Sms, Voice],
    "stream_elsewhere": [Stream],
}


def of_others(structures, hours, event_id):
    """An event of another customer in every kind, so that the watermarks close a day."""
    head = {"customer_id": "other", "event_time_ms": NOON_MS + hours * HOUR_MS}
    return [
        structure(event_id=f"{event_id}-{number}", **head, **LAST[structure])
        for number, structure in enumerate(dict.fromkeys(structures))
    ]


@st.composite
def corrected_after_closing(draw, structures):
    """Half of the events come after the day is closed, and may take back those before."""
    history = draw(corrected(structures, OVER_MIDNIGHT_MS))
    morning_ms = NOON_MS + OVER_MIDNIGHT_MS - HOUR_MS
    evening = [event for event in history if event.event_time_ms < morning_ms]
    others = of_others(structures, 13, "other")
    return [*evening, *others, *history[len(evening) :]]


@pytest.mark.parametrize("rule", OF_DAYS)
@TWIN
@given(data=st.data())
def test_a_closed_day_is_in_breach_exactly_if_it_is_without_the_mistakes(rule, data):
    history = data.draw(corrected_after_closing(OF_DAYS[rule]))
    right, _ = without_mistakes(history)
    last = of_others(OF_DAYS[rule], 4 * 24, "last")
    policy = only(DAYS, rule)
    run, ideal = (Run(policy).in_parts(h + last, range(2 * EVENTS_MAX)) for h in (history, right))
    assert open_breaches(ideal.findings) == open_breaches(run.findings)
    assert counts(ideal.partition) == counts(run.partition)
    whole = Run(policy).take(history).take(history + last, len(history))
    assert open_breaches(ideal.findings) == open_breaches(whole.findings)
    assert state_of(whole.partition)[0] == state_of(run.partition)[0]


def call(party, **fields):
    return Voice, {"other_party": party, "duration_ms": HOUR_MS} | fields


def view(**fields):
    return Stream, {"device_id": "box", "duration_ms": HOUR_MS, "at_home": False} | fields


def packet(size):
    return Data, {"bytes_uplink": size, "bytes_downlink": 0}


HIDDEN = {
    "monitoring": [(0, *call("p")), (60, *call("o"))],
    "gateway": [(n, *call(f"n{n}", direction="mt" if n < 2 else "mo")) for n in range(5)],
    "machine": [(200, *packet(20)), (0, *packet(20)), (1, *packet(20)), (2, *packet(20))],
    "stream_elsewhere": [
        (0, *view(at_home=True)),
        (1, *view(address_id="flat")),
        (2, *view(address_id="cabin")),
    ],
}
"""By rule, the minute and fields of each event; without the first the day is in breach."""


@pytest.mark.parametrize("rule", HIDDEN)
def test_a_closed_day_is_in_breach_once_the_event_that_hid_the_breach_is_taken_back(rule):
    events = [
        structure(
            event_id=f"e-{n}", customer_id="c1", event_time_ms=NOON_MS + at * MINUTE_MS, **use
        )
        for n, (at, structure, use) in enumerate(HIDDEN[rule])
    ]
    events.sort(key=lambda event: event.event_time_ms)
    hidden = next(event for event in events if event.event_id == "e-0")
    later_ms = NOON_MS + OVER_MIDNIGHT_MS
    void = msgspec.structs.replace(
        hidden, event_id="v", event_time_ms=later_ms, corrects="e-0", void=True
    )
    history = [*events, *of_others(OF_DAYS[rule], 13, "other"), void]
    findings = Run(only(DAYS, rule)).in_parts(history, range(len(history))).findings
    assert [(f.customer_id, f.level) for f in findings] == [("c1", "breach")]
    assert findings[0].event_time_ms == later_ms
    assert findings[0].corrects == "e-0"


def open_breaches(findings):
    """The windows whose last finding is a breach."""
    last = {}
    for finding in findings:
        if finding.level in ("breach", "cleared"):
            window = finding.rule, finding.customer_id, finding.window.start_ms
            assert last.get(window, "cleared") != finding.level, "reported twice"
            last[window] = finding.level
    return {window for window, level in last.items() if level == "breach"}


MINUTES = TO_TWO["length_seconds"] // 60


def hot_windows(texts, rule):
    """Ends of the windows with two recipients, by customer and message; found by brute force."""
    seen = defaultdict(set)
    for text in texts:
        group = text.message_reference if rule == "sms_group" else "all"
        if group is not None:
            seen[text.customer_id, group].add((text.event_time_ms // MINUTE_MS, text.recipient))
    return {
        key: [
            end
            for end in range(min(contacts)[0], max(contacts)[0] + MINUTES + 1)
            if len({who for step, who in contacts if end - MINUTES <= step <= end}) > 1
        ]
        for key, contacts in seen.items()
    }


def stretches_of(ends):
    """Ends of windows in stretches: from one to the next it is at most a window's length."""
    stretches = []
    for end in ends:
        if not stretches or end - stretches[-1][-1] > MINUTES:
            stretches.append([])
        stretches[-1].append(end)
    return stretches


@pytest.mark.parametrize("rule", ["sms_group", "sms_bulk"])
@TWIN
@given(history=corrected([Sms]))
def test_there_is_one_rolling_breach_for_each_stretch_of_windows_above_the_limit(rule, history):
    right, _ = without_mistakes(history)
    hot = hot_windows(right, rule)
    run = Run(only(DISTINCT, rule)).take(history)
    told = defaultdict(set)
    for _, customer_id, start_ms in open_breaches(run.findings):
        told[customer_id].add(start_ms // MINUTE_MS + MINUTES)
    for customer_id, ends in told.items():
        assert ends <= {
            end for key, of_key in hot.items() if key[0] == customer_id for end in of_key
        }
    for (customer_id, _), ends in hot.items():
        for stretch in stretches_of(ends):
            assert not told[customer_id].isdisjoint(stretch)
    ideal = Run(only(DISTINCT, rule)).take(right)
    of_each = [each.partition.state.rules[rule].episodes[0].stretches for each in (ideal, run)]
    assert in_any_order(of_each[0]) == in_any_order(of_each[1])


every_policy = pytest.mark.parametrize(
    "policy", [CALENDAR, DISTINCT, DAYS], ids=["calendar", "distinct", "days"]
)


@every_policy
@PROPERTY
@given(history=st.one_of(corrected(), corrected(pause_ms=OVER_MIDNIGHT_MS)), places=cuts)
def test_corrections_do_not_depend_on_batches_and_moves_of_partitions(policy, history, places):
    whole = Run(policy).take(history)
    for other in (Run(policy).in_parts(history, places), moved(policy, history, places)):
        assert by_rule(whole.findings) == by_rule(other.findings)
        assert state_of(whole.partition) == state_of(other.partition)


@every_policy
@PROPERTY
@given(history=st.one_of(corrected(), corrected(pause_ms=OVER_MIDNIGHT_MS)), places=cuts)
def test_a_standby_that_takes_over_has_the_corrections(policy, history, places):
    run, standby = Run(policy), Partition(0, policy, IDS_MAX)
    for start, stop in stretches(history, places)[:-1]:
        run.take(history, start, stop)
        log = {}
        checkpoint(run.partition, log)
        standby.state.restore(list(log), list(log.values()))
    if run.partition.state.next_offset:
        standby.state.recall(run.partition.state.remember())
        run.partition = standby
    run.take(history, stretches(history, places)[-1][0] if history else 0)
    whole = Run(policy).take(history)
    assert by_rule(whole.findings) == by_rule(run.findings)
    assert state_of(whole.partition) == state_of(run.partition)


def sms(number, hours=0, **fields):
    head = {"event_id": f"e-{number}", "customer_id": "c1"}
    return Sms(**head, event_time_ms=NOON_MS + hours * HOUR_MS, recipient="r", **fields)


def test_a_correction_that_comes_too_late_is_refused():
    hours = POLICY.corrections_window_hours
    for later, refused in ((hours, []), (hours + 1, [2])):
        history = [sms(0), sms(1, later), sms(2, corrects="e-0", void=True)]
        assert Run(POLICY).take(history).uncorrectable == refused


def test_an_event_can_be_taken_back_only_once():
    history = [sms(0), sms(1, corrects="e-0", void=True), sms(2, corrects="e-0", void=True)]
    assert Run(POLICY).take(history).uncorrectable == [2]


def test_a_correction_can_be_corrected():
    history = [sms(0), sms(1, corrects="e-0"), sms(2, corrects="e-1", void=True)]
    levels = [finding.level for finding in Run(POLICY).take(history).findings]
    assert levels == ["breach", "cleared"] * 2
    assert Run(POLICY).take(history).uncorrectable == []


def test_events_of_two_sources_with_one_id_are_two_events():
    history = [sms(0, source="a"), sms(1, corrects="e-0", void=True)]
    assert Run(POLICY).take(history).uncorrectable == [1]
    history = [sms(0, source="a"), sms(1, corrects="e-0", void=True, source="a")]
    assert Run(POLICY).take(history).uncorrectable == []


def test_with_a_corrections_window_of_zero_nothing_can_be_corrected():
    policy = msgspec.structs.replace(POLICY, corrections_window_hours=0)
    assert Run(policy).take([sms(0), sms(1, corrects="e-0", void=True)]).uncorrectable == [1]


def test_a_months_breach_is_cleared_when_its_bytes_are_taken_back():
    month = month_of(NOON_MS)
    policy = msgspec.structs.replace(POLICY, corrections_window_hours=7 * 24)
    closing_ms = month_start_ms(month + 1) + 3 * 24 * HOUR_MS
    used, closing, taken_back = (
        Data(
            event_id=f"e-{n}",
            customer_id=customer_id,
            event_time_ms=time_ms,
            bytes_uplink=40,
            bytes_downlink=0,
            corrects=corrects,
            void=corrects is not None,
        )
        for n, (customer_id, time_ms, corrects) in enumerate(
            [("c1", NOON_MS, None), ("c2", closing_ms, None), ("c1", NOON_MS + 1, "e-0")]
        )
    )
    mean = CohortAverage(
        rule="data_monthly_ratio",
        cohort="unlimited data",
        period_start_ms=month_start_ms(month),
        period_end_ms=month_start_ms(month + 1),
        total=50,
        customers=2,
    )
    run = Run(policy).take([used, closing, mean, taken_back])
    assert [f.level for f in run.findings if f.window.start_ms == mean.period_start_ms] == [
        "breach",
        "cleared",
    ]


def session(number, hours, device, **fields):
    head = {"event_id": f"e-{number}", "customer_id": "c1", "device_fingerprint": device}
    time_ms = NOON_MS + hours * HOUR_MS
    return Data(**head, event_time_ms=time_ms, bytes_uplink=1, bytes_downlink=0, **fields)


@pytest.mark.parametrize(("hours", "kept"), [(0, 0), (-26, 1)])
def test_an_event_whose_siblings_are_not_all_remembered_still_counts(hours, kept):
    """`kept` counts such corrections: the event came late, so its day's events are forgotten."""
    history = [session(0, 0, None), session(1, hours, "a"), session(2, hours, "b")]
    history.append(session(3, 23, "c", corrects="e-2", void=True))
    run = Run(only(LOW, "sharing")).take(history)
    assert run.partition.state.rules["sharing"].kept == kept
    assert [f.level for f in run.findings] == ["breach", "cleared"][: 2 - kept]


def watched(number, hours, device, **fields):
    head = {"event_id": f"e-{number}", "customer_id": "c1", "device_id": device}
    time_ms = NOON_MS + round(hours * HOUR_MS)
    return Stream(**head, event_time_ms=time_ms, duration_ms=2 * HOUR_MS, **fields)


AT_ONCE = only(LOW, "stream_concurrent")
AT_ONCE = with_parameters(AT_ONCE, stream_concurrent={"limit": 1})


def test_a_view_over_midnight_that_is_taken_back_clears_both_days():
    history = [watched(0, 11, "a"), watched(1, 11, "b"), watched(2, 13, "c")]
    history.append(watched(3, 14, "b", corrects="e-1", void=True))
    run = Run(AT_ONCE).take(history)
    days = [MIDNIGHTS_MS[1], MIDNIGHTS_MS[1] + 24 * HOUR_MS]
    breaches, ends = (
        [f for f in run.findings if f.level == level] for level in ("breach", "cleared")
    )
    assert [f.window.start_ms for f in breaches] == [f.window.start_ms for f in ends] == days
    assert {f.corrects for f in ends} == {"e-1"}


def test_a_view_that_was_dropped_for_one_that_is_taken_back_is_remembered_again():
    policy = with_parameters(AT_ONCE, stream_concurrent={"views_max": 1})
    history = [
        watched(0, 0, "a"),
        watched(1, 3, "b"),
        watched(2, 3, "b", corrects="e-1", void=True),
    ]
    run = Run(policy).take([*history, watched(3, 1, "c")])
    assert [finding.level for finding in run.findings] == ["breach"]


@pytest.mark.parametrize(("hours", "kept"), [(0, 0), (-26, 1)])
def test_a_view_still_counts_if_the_views_it_may_have_overlapped_are_forgotten(hours, kept):
    history = [watched(0, 5, "x"), watched(1, hours, "a"), watched(2, hours, "b")]
    history.append(watched(3, 23, "b", corrects="e-2", void=True))
    run = Run(AT_ONCE).take(history)
    assert run.partition.state.rules["stream_concurrent"].kept == kept
    assert run.findings[-1].level == ("breach" if kept else "cleared")


def text(number, minutes, recipient, **fields):
    head = {"event_id": f"e-{number}", "customer_id": "c1", "message_reference": "m"}
    time_ms = NOON_MS + minutes * MINUTE_MS
    return Sms(**head, event_time_ms=time_ms, recipient=recipient, **fields)


def test_an_event_still_counts_in_a_window_whose_contacts_were_forgotten_early():
    policy = with_parameters(only(DISTINCT, "sms_group"), sms_group={"contacts_max": 2})
    history = [text(number, number, f"r{number}") for number in range(3)]
    history.append(text(3, 3, "r", corrects="e-2", void=True))
    run = Run(policy).in_parts(history, range(len(history)))
    assert [finding.level for finding in run.findings] == ["breach"]
    assert run.partition.state.rules["sms_group"].kept == 1


@pytest.mark.parametrize("entries_max", [1, 3])
def test_the_ledger_keeps_no_more_events_than_it_may(entries_max):
    run = Run(POLICY)
    run.partition = Partition(0, POLICY, entries_max)
    for number in range(8):
        run.fold([sms(number)], [number])
    ledger = run.partition.state.ledgers["sms"]
    assert (len(ledger), ledger.evicted) == (entries_max, 8 - entries_max)
    run.fold([sms(8, corrects="e-0", void=True)], [8])
    assert run.uncorrectable == [8]


# -- siblings -------------------------------------------------------------------------------------

WINDOW_HOURS, SIBLINGS_HOURS = 24, 25


def ledger_of(entries_max=IDS_MAX):
    return Ledger("sms", ("is_sent_sms",), WINDOW_HOURS, SIBLINGS_HOURS, entries_max)


def added(ledger, hour, number, customer=7):
    """Add text `number` of a customer to a ledger, with the watermark half an hour after `hour`."""
    batch = Batch(
        kind="sms",
        slot=np.array([0]),
        time_ms=np.array([hour * HOUR_MS + number]),
        watermark_ms=np.array([hour * HOUR_MS + HOUR_MS // 2]),
        offset=np.array([number]),
        fields=Fields.of({"is_sent_sms": np.array([True])}),
    )
    ledger.note(*of_event(number, customer), batch)
    return batch


def of_event(number, customer=7):
    return np.array([100 + number], np.uint64), np.array([customer], np.uint64)


def taken_back(ledger, hour, number):
    """Take a text back: its siblings, or None if it is not in the ledger."""
    at = added(Ledger("sms", (), 0, 0, 1), hour, 99)
    event = ledger.take_back(*of_event(number), at.newest_ms)
    return None if event is None else ledger.siblings(event, at)


@pytest.mark.parametrize("moved", [False, True])
def test_siblings_are_the_customers_events_that_count_in_the_order_they_came(moved):
    ledger = ledger_of()
    for number in range(4):
        added(ledger, 500, number)
    added(ledger, 500, 4, customer=8)
    taken_back(ledger, 500, 1)
    if moved:
        chunks, ledger = ledger.changes(), ledger_of()
        for number, chunk in reversed(chunks):
            ledger.restore(number, chunk)
    siblings = taken_back(ledger, 501, 2)
    assert siblings.others.offset.tolist() == [0, 3]
    assert siblings.others.time_ms.tolist() == [500 * HOUR_MS, 500 * HOUR_MS + 3]
    assert siblings.others.watermark_ms.tolist() == [500 * HOUR_MS + HOUR_MS // 2] * 2
    assert siblings.events.offset.tolist() == [0, 2, 3]
    assert siblings.event.offset.tolist() == [2]


@pytest.mark.parametrize("later", [0, 1, WINDOW_HOURS])
def test_siblings_are_remembered_as_long_as_an_event_can_be_corrected(later):
    ledger = ledger_of()
    first, last = 500, 500 + SIBLINGS_HOURS
    added(ledger, first, 0)
    added(ledger, last, 1)
    siblings = taken_back(ledger, last + later, 1)
    assert siblings.others.offset.tolist() == [0]
    assert siblings.complete_ms <= first * HOUR_MS


def test_siblings_say_from_when_on_none_has_expired_or_been_evicted():
    ledger = ledger_of()
    added(ledger, 500, 0)
    added(ledger, 526, 1)
    siblings = taken_back(ledger, 550, 1)
    assert (siblings.others.offset.tolist(), siblings.complete_ms) == ([], 501 * HOUR_MS)

    ledger = ledger_of(entries_max=2)
    for number in range(4):
        added(ledger, 500 + number, number)
    siblings = taken_back(ledger, 503, 3)
    assert siblings.complete_ms > 501 * HOUR_MS
    assert all(time_ms > 501 * HOUR_MS for time_ms in siblings.others.time_ms.tolist())


def test_the_ledger_has_no_fields_for_siblings_that_no_rule_asks_for():
    partition = Partition(0, only(LOW, "sms_daily"), IDS_MAX)
    assert partition.state.ledgers["sms"].dtype.names == (
        "key",
        "time_ms",
        "expiry",
        "is_gone",
        "is_sent_sms",
    )
