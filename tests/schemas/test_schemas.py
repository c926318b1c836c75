"""The published schemas fit the structs, and the bytes of each record stay what they are."""

import json

import msgspec
import pytest
from jsonschema import Draft202012Validator

from schemas.documents import (
    EXTRA_RULES,
    FOLDER,
    RECORDS,
    REMEDY,
    STORAGE_QUANTITIES,
    TOPICS,
    asyncapi,
    main,
    record_schema,
    stale,
    write,
)
from schemas.events import USAGE_KINDS, Storage, UsageEvent
from tests.support.paths import GOLDEN

STORAGE_EMPTY = {
    "type": "storage",
    "event_id": "e-1",
    "customer_id": "c-1",
    "event_time_ms": 1_717_401_600_000,
}

every_record = pytest.mark.parametrize("name", RECORDS)
every_event = pytest.mark.parametrize("name", USAGE_KINDS)


def golden(name):
    return (GOLDEN / f"{name}.json").read_bytes()


def decode_event(fields):
    return msgspec.json.decode(json.dumps(fields), type=UsageEvent)


def is_accepted(fields):
    try:
        decode_event(fields)
    except msgspec.ValidationError:
        return False
    return True


def references(node):
    if isinstance(node, dict):
        yield from [node["$ref"]] if "$ref" in node else []
        node = list(node.values())
    for child in node if isinstance(node, list) else []:
        yield from references(child)


def resolve(document, pointer):
    for step in pointer.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_generated_files_are_up_to_date():
    """Whoever changes a struct or a topic publishes it in the same change."""
    names = stale()
    assert names == [], f"{', '.join(f'schemas/{name}' for name in names)}: stale, {REMEDY}"


def test_check_names_each_stale_file_and_writing_mends_it(tmp_path, capsys):
    """Missing, changed and superfluous files are found, and the remedy it prints is one."""
    write(tmp_path)
    (tmp_path / "asyncapi.json").unlink()
    (tmp_path / "json/sms.schema.json").write_text("{}")
    (tmp_path / "json/fax.schema.json").write_text("{}")
    expected = ["asyncapi.json", "json/fax.schema.json", "json/sms.schema.json"]

    assert main(["--check"], tmp_path) == 1
    lines = [f"schemas/{name} is stale: {REMEDY}" for name in expected]
    assert lines == capsys.readouterr().err.splitlines()
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0


@every_record
def test_golden_bytes_survive_decoding_and_encoding(name):
    """What an older release wrote reads back whole and is written again byte for byte."""
    record = msgspec.json.decode(golden(name), type=RECORDS[name])
    encoded = msgspec.json.encode(record)
    assert golden(name) == encoded + b"\n"
    assert record == msgspec.json.decode(encoded, type=RECORDS[name])


@every_record
def test_golden_examples_fill_every_field_in_declared_order(name):
    """A new field is not covered until the example carries it."""
    config = RECORDS[name].__struct_config__
    expected = [config.tag_field] if config.tag_field else []
    expected += RECORDS[name].__struct_encode_fields__
    assert expected == list(json.loads(golden(name)))


def test_golden_folder_holds_the_records_and_nothing_else():
    """A removed record takes its example with it."""
    assert sorted(RECORDS) == sorted(path.stem for path in GOLDEN.iterdir())


@every_record
def test_golden_examples_fit_the_schema(name):
    """The schema accepts what the struct accepts."""
    schema = json.loads((FOLDER / "json" / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(golden(name)))


@every_event
def test_schemas_of_events_fix_their_type(name):
    """A schema matches its own kind of event and no other."""
    schema = record_schema(name)
    assert {"enum": [name]} == schema["properties"]["type"]
    others = [json.loads(golden(other)) for other in USAGE_KINDS if other != name]
    assert not any(Draft202012Validator(schema).is_valid(other) for other in others)


@every_event
def test_events_with_unknown_fields_are_the_same_events(name):
    """A newer sender may add fields; we ignore them, and so does the schema."""
    fields = json.loads(golden(name))
    newer = {**fields, "field_of_the_future": {"nested": [1]}}
    assert decode_event(fields) == decode_event(newer)
    assert Draft202012Validator(record_schema(name)).is_valid(newer)


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name in USAGE_KINDS for field in record_schema(name)["required"]],
)
def test_events_without_a_required_field_are_refused(name, field):
    """By the decoder and by the schema, one missing field at a time."""
    fields = json.loads(golden(name))
    del fields[field]
    assert not is_accepted(fields)
    assert not Draft202012Validator(record_schema(name)).is_valid(fields)


@pytest.mark.parametrize("value", [1, None])
@pytest.mark.parametrize("field", Storage.__annotations__)
def test_storage_needs_a_quantity_in_the_schema_as_in_the_struct(field, value):
    """Each quantity suffices alone; the capacity alone and a null do not."""
    snapshot = {**STORAGE_EMPTY, field: value}
    expected = field in STORAGE_QUANTITIES and value is not None
    validator = Draft202012Validator(record_schema("storage"))
    assert [expected, expected] == [is_accepted(snapshot), validator.is_valid(snapshot)]


def test_extra_rules_only_name_fields_of_their_record():
    """A renamed field does not leave a rule behind that nothing can meet."""
    for name, rules in EXTRA_RULES.items():
        named = {field for choice in rules["anyOf"] for field in choice["required"]}
        assert named <= set(RECORDS[name].__struct_encode_fields__)


def test_every_record_is_on_exactly_one_topic():
    """A record without a topic would be published as a schema that nobody can receive."""
    assert sorted(RECORDS) == sorted(name for topic in TOPICS for name in topic.records)


def test_asyncapi_references_lead_somewhere():
    """Within the document, and to the payload schemas beside it."""
    document = asyncapi()
    for target in references(document):
        if target.startswith("#/"):
            assert resolve(document, target)
        else:
            assert (FOLDER / target).is_file()


def test_asyncapi_lists_the_topics_of_the_contract():
    """Names, clean-up and direction are promised to others."""
    document = asyncapi()
    described = {
        (
            channel["address"],
            *channel["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"],
            *(
                operation["action"]
                for operation in document["operations"].values()
                if operation["channel"]["$ref"] == f"#/channels/{name}"
            ),
        )
        for name, channel in document["channels"].items()
    }
    assert {
        ("usage.sms", "delete", "receive"),
        ("usage.voice", "delete", "receive"),
        ("usage.data", "delete", "receive"),
        ("usage.flow", "delete", "receive"),
        ("usage.storage", "delete", "receive"),
        ("usage.stream", "delete", "receive"),
        ("customers", "compact", "receive"),
        ("policies", "compact", "receive"),
        ("enforcement.results", "delete", "receive"),
        ("decisions", "delete", "receive"),
        ("findings", "delete", "send"),
        ("actions", "delete", "send"),
        ("dead-letters", "delete", "send"),
        ("cohort-averages", "compact", "receive", "send"),
    } == described
