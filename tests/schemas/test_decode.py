"""Decoding: each bad record is rejected with its reason, all others become rows."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.decode import AHEAD_MS_MAX, DETAIL_CHARACTERS_MAX, REASONS, decode
from schemas.events import CALL_MS_MAX, RECORD_BYTES_MAX, TIME_MS_MIN, USAGE_KINDS
from tests.support.paths import GOLDEN

PROPERTY = settings(max_examples=200)

NOW_MS = 1_774_738_800_000
GOOD = {kind: json.loads((GOLDEN / f"{kind}.json").read_bytes()) for kind in USAGE_KINDS}
for fields in GOOD.values():
    fields.pop("corrects", None)
    fields.pop("void", None)
    fields["event_time_ms"] = NOW_MS


def record(kind="sms", without=(), **changed):
    fields = {name: v for name, v in (GOOD[kind] | changed).items() if name not in without}
    return json.dumps(fields).encode()


def decoded(values, keys=None, kind=None):
    count = len(values)
    return decode(values, np.arange(count) + 100, np.full(count, NOW_MS), keys, kind)


BAD = {
    "empty": [None],
    "oversized": [
        record(field_of_the_future="x" * RECORD_BYTES_MAX),
        b" " * (RECORD_BYTES_MAX + 1),
    ],
    "not_json": [
        b"",
        b"{",
        b"x",
        record()[:-1],
        record() + b"}",
        record() + record(),
        b"\xef\xbb\xbf" + record(),
        record().replace(b'"event_id"', b"event_id"),
        record(recipient=float("nan")),
        record(recipient="").replace(b'"recipient": ""', b'"recipient": "\n"'),
        record(recipient="").replace(b'"recipient": ""', b'"recipient": "\xff"'),
        record(recipient="\ud800"),
        record(recipient="\udc00\ud800"),
        b'{"type": "sms", "field_of_the_future": ' + b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    "unknown_type": [
        b"{}",
        record(type="fax"),
        record(type="SMS"),
        record(type=None),
        record(type=7),
        record(without=["type"]),
    ],
    "unknown_value": [
        record(direction="sideways"),
        record(direction="missing required field `type`"),
        record(direction="Expected `int` >= 0 - at `$.type`"),
        record(service="fax"),
        record("flow", state="open"),
        record("flow", direction="mo"),
    ],
    "missing_field": [
        b'{"type":"sms"}',
        record(without=["event_id"]),
        record(without=["customer_id"]),
        record(without=["event_time_ms"]),
        record(without=["recipient"]),
        record("voice", without=["duration_ms"]),
        record("data", without=["bytes_downlink"]),
        record("flow", without=["protocol"]),
        record("stream", without=["device_id"]),
        b'{"type":"storage","event_id":"e","customer_id":"c","event_time_ms":%d}' % NOW_MS,
    ],
    "wrong_type": [
        b"null",
        b"[]",
        b'"sms"',
        b"17",
        b"[" * 100_000,
        record(customer_id=7),
        record(customer_id=None),
        record(event_time_ms=str(NOW_MS)),
        record(event_time_ms=float(NOW_MS)),
        record(event_time_ms=1e30),
        record(event_time_ms=None),
        record(recipient=["r"]),
        record(segment_number=True),
        record("data", bytes_uplink="1"),
        record("data", bytes_uplink=1.5),
        record(void="yes"),
    ],
    "string_length": [
        record(event_id=""),
        record(event_id="e" * 65),
        record(customer_id=""),
        record(customer_id="é" * 65),
        record(recipient="r" * 257),
        record(cell_id="c" * 257),
        record(corrects=""),
    ],
    "time_out_of_range": [
        record(event_time_ms=TIME_MS_MIN - 1),
        record(event_time_ms=0),
        record(event_time_ms=-1),
        record(event_time_ms=NOW_MS // 1000),
        record(event_time_ms=NOW_MS * 1000),
        record(event_time_ms=10**40),
        record(event_time_ms=NOW_MS + AHEAD_MS_MAX + 1),
    ],
    "negative_amount": [
        record(segment_number=-1),
        record("voice", duration_ms=-1),
        record("data", bytes_uplink=-(2**60)),
        record("flow", packets=-(10**30)),
        record("storage", used_bytes=-1),
        record("stream", duration_ms=-1),
        record("flow", destination_port=-1),
    ],
    "amount_out_of_range": [
        record("data", bytes_downlink=2**53 + 1),
        record("data", bytes_downlink=10**30),
        record("voice", duration_ms=CALL_MS_MAX + 1),
        record("flow", destination_port=65_536),
        record("flow", protocol=256),
        record("flow", sampling_interval=0),
        record("storage", used_bytes=2**63),
    ],
    "correction": [
        record(void=True),
        record("data", void=True),
        record("storage", corrects="e-0", void=True),
        record("flow", corrects="e-0"),
    ],
}
ON_A_TOPIC = {
    "wrong_topic": [record("voice"), record("storage"), record("data", corrects="e-0")],
    "wrong_key": [record(customer_id="somebody else"), record(customer_id="SOMEBODY")],
}

NEIGHBOURS = [record(source="a"), record("voice"), record("flow")]


def cases(bad):
    return [
        pytest.param(reason, value, id=f"{reason}-{number}")
        for reason, values in bad.items()
        for number, value in enumerate(values)
    ]


@pytest.mark.parametrize(("reason", "value"), cases(BAD))
def test_bad_records_are_rejected_with_their_reason_and_good_ones_become_rows(reason, value):
    """Also when bad records stand among good ones."""
    for values, place in (([value], 0), ([*NEIGHBOURS[:2], value, *NEIGHBOURS[2:]], 2)):
        columns, rejects = decoded(values)
        assert [(place, reason)] == [(reject.record, reject.reason) for reject in rejects]
        assert 0 < len(rejects[0].detail) <= DETAIL_CHARACTERS_MAX
        rows = sorted(row for part in columns for row in part.record.tolist())
        assert [row for row in range(len(values)) if row != place] == rows


@pytest.mark.parametrize(("reason", "value"), cases(ON_A_TOPIC))
def test_a_topic_takes_one_kind_of_event_with_the_customer_id_as_key(reason, value):
    """With another key or topic an event would be counted by the wrong worker."""
    good = record(customer_id="somebody")
    columns, rejects = decoded([good, value, good], [b"somebody"] * 3, "sms")
    assert [(1, reason)] == [(reject.record, reject.reason) for reject in rejects]
    assert [part.record.tolist() for part in columns] == [[0, 2]]


def test_every_reason_has_a_record_that_shows_it():
    """And no record above has a reason that is not listed."""
    assert sorted(REASONS) == sorted(BAD | ON_A_TOPIC)


GOOD_EDGES = [
    record(event_time_ms=TIME_MS_MIN),
    record(event_time_ms=NOW_MS + AHEAD_MS_MAX),
    record(event_id="e" * 64, customer_id="é" * 64, recipient="r" * 256),
    record(event_id="\x00", customer_id="a\nb/#", recipient=""),
    record(field_of_the_future={"deep": [[[None]]], "huge": 10**400}),
    record("data", bytes_uplink=0, bytes_downlink=2**53),
    record("voice", duration_ms=CALL_MS_MAX),
    record("flow", destination_port=0, protocol=255, sampling_interval=1),
    record("flow", without=["destination_port"]),
    b'{"type":"storage","event_id":"e","customer_id":"c","event_time_ms":%d,"contacts":0}' % NOW_MS,
    b"\n " + record() + b"\r\n",
    record()[:-1] + b', "event_id": "again"}',
    record(void=False, corrects=None),
    record() + b" " * (RECORD_BYTES_MAX - len(record())),
]


@pytest.mark.parametrize("value", GOOD_EDGES, ids=range(len(GOOD_EDGES)))
def test_values_at_the_limit_become_rows(value):
    """The limits themselves, unknown fields, white space, a field given twice."""
    columns, rejects = decoded([value])
    assert (rejects, [len(part) for part in columns]) == ([], [1])


@pytest.mark.parametrize("kind", USAGE_KINDS)
def test_columns_hold_the_values_of_the_records(kind):
    """In the order in which they came, with their offsets."""
    values = [record(kind), record("sms"), record(kind, event_id="other", customer_id="é")]
    part = next(part for part in decoded(values)[0] if part.kind == kind)
    rows = [0, 1, 2] if kind == "sms" else [0, 2]
    assert rows == part.record.tolist()
    assert [100 + row for row in rows] == part.offset.tolist()
    assert [GOOD[kind]["customer_id"].encode(), "é".encode()] == [
        part.customer_id[0],
        part.customer_id[-1],
    ]
    assert [NOW_MS] * len(rows) == part.time_ms.tolist()
    assert all(len(column) == len(rows) for column in part.fields.values())
    assert part.event_hash[0] != part.event_hash[-1]


def test_the_hash_of_an_event_does_not_depend_on_the_rest_of_the_batch():
    """An id is unique within its source; whether other events name a source does not matter."""
    plain, sourced, other = (record(**s) for s in ({}, {"source": "a"}, {"source": "b"}))
    if "source" in GOOD["sms"]:
        plain = record(without=["source"])
    alone = [decoded([value])[0][0].event_hash[0] for value in (plain, sourced, other)]
    together = decoded([plain, sourced, other])[0][0].event_hash
    assert alone == together.tolist()
    assert len(set(alone)) == 3


def test_many_small_records_are_not_taken_for_a_large_one():
    """The limit is on each record."""
    values = [record()] * (RECORD_BYTES_MAX // len(record()) + 1)
    columns, rejects = decoded(values)
    assert ([], [len(values)]) == (rejects, [len(part) for part in columns])


def test_an_empty_batch_gives_no_columns():
    """A fetch from Kafka may be empty."""
    assert decoded([]) == ([], [])


# -- fuzz -----------------------------------------------------------------------------------------

surrogates = st.sampled_from(("\ud800", "\udfff\ud800", "a\udc00"))
texts = st.text(max_size=6) | surrogates | st.sampled_from(("", "x" * 65, "x" * 257, "\x00", "\n"))
numbers = st.one_of(
    st.integers(-2, 2),
    st.sampled_from((NOW_MS, 2**53, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400)),
    st.floats(),
    st.integers(),
)
leaves = st.none() | st.booleans() | numbers | texts
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2)
)
NAMES = sorted({name for fields in GOOD.values() for name in fields} | {"corrects", "void", "x"})


@st.composite
def changed_events(draw):
    """A good event with fields replaced, left out, repeated or invented."""
    fields = dict(GOOD[draw(st.sampled_from(sorted(GOOD)))])
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(NAMES))
        if draw(st.booleans()):
            fields[name] = draw(anything)
        else:
            fields.pop(name, None)
    text = json.dumps(fields, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 4)) == 0:
        text = text[:-1] + "," + json.dumps(fields)[1:]
    return text.encode("utf-8", "surrogatepass")


@st.composite
def broken_bytes(draw):
    """A good event with bytes removed, inserted or changed."""
    value = bytearray(draw(changed_events()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(value)))
        value[at : at + draw(st.integers(0, 4))] = draw(
            st.binary(max_size=3)
            | st.sampled_from((b"\n", b'"', b"\\", b"}", b"\\u", b"\xef\xbb\xbf"))
        )
    return bytes(value)


@st.composite
def deep(draw):
    """Nesting so deep that a recursive reader fails."""
    depth = draw(st.sampled_from((1, 10, 999, 1_001, 50_000)))
    opened, closed = draw(st.sampled_from(((b"[", b"]"), (b'{"a":', b"}"), (b"[{", b"}]"))))
    nest = opened * depth + closed * draw(st.sampled_from((0, depth)))
    return draw(st.sampled_from((nest, record()[:-1] + b',"deep":' + nest + b"}")))


records = st.one_of(
    st.sampled_from((None, b"", b"\xef\xbb\xbf", b"null", record(), record("flow"))),
    st.binary(max_size=40),
    changed_events(),
    changed_events(),
    broken_bytes(),
    deep(),
)


@PROPERTY
@example([record()[:-1] + b',"deep":' + b"[" * 50_000 + b"}", record()], None, False)
@given(
    st.lists(records, max_size=8), st.none() | st.sampled_from(sorted(USAGE_KINDS)), st.booleans()
)
def test_each_record_ends_in_columns_or_in_rejects_exactly_once(values, kind, keyed):
    """Whatever bytes come, decoding does not raise, and each record is decoded on its own."""
    keys = [GOOD["sms"]["customer_id"].encode()] * len(values) if keyed else None
    columns, rejects = decoded(values, keys, kind)

    rows = [row for part in columns for row in part.record.tolist()]
    assert list(range(len(values))) == sorted(rows + [reject.record for reject in rejects])
    assert {reject.reason for reject in rejects} <= set(REASONS)
    assert all(len(reject.detail) <= DETAIL_CHARACTERS_MAX for reject in rejects)
    assert all((np.diff(part.record) > 0).all() for part in columns)

    reasons = {reject.record: reject.reason for reject in rejects}
    hashes = {
        row: int(event_hash)
        for part in columns
        for row, event_hash in zip(part.record.tolist(), part.event_hash, strict=True)
    }
    for number, value in enumerate(values):
        part, rejected = decoded([value], keys and keys[:1], kind)
        assert reasons.get(number) == (rejected[0].reason if rejected else None)
        assert hashes.get(number) == (int(part[0].event_hash[0]) if not rejected else None)
