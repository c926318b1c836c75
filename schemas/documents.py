"""The records and topics as JSON Schema and AsyncAPI, for those who do not read Python.

`python -m schemas.documents` writes the files; with `--check` it only says which are stale.
"""

import argparse
import json
import sys
from inspect import cleandoc
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from schemas import topics
from schemas.events import STORAGE_QUANTITIES, USAGE_KINDS
from schemas.records import (
    Action,
    CohortAverage,
    CohortPartial,
    Customer,
    DeadLetter,
    Decision,
    EnforcementResult,
    Finding,
    PolicyRecord,
)

CONTRACT_VERSION = "1.0.0"
KAFKA_BINDING_VERSION = "0.5.0"
REMEDY = "run python -m schemas.documents"
FOLDER = Path(__file__).parent

RECORDS: dict[str, type[Struct]] = {
    **USAGE_KINDS,
    "customer": Customer,
    "finding": Finding,
    "action": Action,
    "enforcement_result": EnforcementResult,
    "decision": Decision,
    "dead_letter": DeadLetter,
    "cohort_partial": CohortPartial,
    "cohort_average": CohortAverage,
    "policy": PolicyRecord,
}
"""Every record that gets a schema. Add a new one to the `records` of its topic below, too."""

EXTRA_RULES: dict[str, dict[str, Any]] = {
    "storage": {
        "anyOf": [
            {"properties": {name: {"type": "integer"}}, "required": [name]}
            for name in STORAGE_QUANTITIES
        ]
    }
}
"""JSON Schema for what a struct checks in code: at least one quantity that is not null."""

CUSTOMER_KEY = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "description": "customer_id",
}
POLICY_KEY = {"type": "string", "description": "policy name"}
COHORT_KEY = {"type": "string", "description": "cohort + period"}
ANY_KEY = {"description": "the key of the input record, as it came"}


class Topic(Struct, kw_only=True, frozen=True):
    """A topic of the contract; `actions` says whether fairuse receives or sends its records."""

    name: str
    title: str
    description: str
    key: dict[str, Any]
    cleanup: Literal["delete", "compact"]
    actions: tuple[Literal["receive", "send"], ...]
    records: tuple[str, ...]


USAGE = tuple(
    Topic(
        name=topics.USAGE_PREFIX + kind,
        title=f"Usage: {kind}",
        description="Usage events, one per record.",
        key=CUSTOMER_KEY,
        cleanup="delete",
        actions=("receive",),
        records=(kind,),
    )
    for kind in USAGE_KINDS
)

TOPICS: tuple[Topic, ...] = (
    *USAGE,
    Topic(
        name=topics.CUSTOMERS,
        title="Customers",
        description="Who has which plan.",
        key=CUSTOMER_KEY,
        cleanup="compact",
        actions=("receive",),
        records=("customer",),
    ),
    Topic(
        name=topics.POLICIES,
        title="Policies",
        description="Policy documents: a new one takes effect without a restart.",
        key=POLICY_KEY,
        cleanup="compact",
        actions=("receive",),
        records=("policy",),
    ),
    Topic(
        name=topics.ENFORCEMENT_RESULTS,
        title="Enforcement results",
        description="What became of each action.",
        key=CUSTOMER_KEY,
        cleanup="delete",
        actions=("receive",),
        records=("enforcement_result",),
    ),
    Topic(
        name=topics.DECISIONS,
        title="Decisions",
        description=(
            "What a person decided: approve, reject, exempt, snooze, consent, release the brake."
        ),
        key=CUSTOMER_KEY,
        cleanup="delete",
        actions=("receive",),
        records=("decision",),
    ),
    Topic(
        name=topics.FINDINGS,
        title="Findings",
        description="Every breach seen, shadow policies' too.",
        key=CUSTOMER_KEY,
        cleanup="delete",
        actions=("send",),
        records=("finding",),
    ),
    Topic(
        name=topics.ACTIONS,
        title="Actions",
        description=(
            "What is to be done: the enforcement systems' only input. "
            "Give it a long retention, it is the record of what was done to whom."
        ),
        key=CUSTOMER_KEY,
        cleanup="delete",
        actions=("send",),
        records=("action",),
    ),
    Topic(
        name=topics.DEAD_LETTERS,
        title="Dead letters",
        description=(
            "Each input record that could not be used: the bytes as they came, "
            "where from (topic, partition, offset), why."
        ),
        key=ANY_KEY,
        cleanup="delete",
        actions=("send",),
        records=("dead_letter",),
    ),
    Topic(
        name=topics.COHORT_AVERAGES,
        title="Cohort averages",
        description="Frozen averages, and each partition's share of those to come.",
        key=COHORT_KEY,
        cleanup="compact",
        actions=("receive", "send"),
        records=("cohort_partial", "cohort_average"),
    ),
)


def _description(record: type[Struct]) -> str:
    """Docstrings of a record and of the classes that it inherits fields from."""
    family = [kind for kind in record.__mro__ if issubclass(kind, Struct) and kind is not Struct]
    return "\n\n".join(cleandoc(kind.__doc__ or "") for kind in family)


def _part(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose description is not indented; msgspec copies docstrings with indentation."""
    if "description" not in schema:
        return schema
    return {**schema, "description": cleandoc(schema["description"])}


def record_schema(name: str) -> dict[str, Any]:
    """Describe one record in JSON Schema 2020-12, complete in itself."""
    record = RECORDS[name]
    _, parts = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:fairuse:schema:{name}",
        **parts.pop(record.__name__),
        "description": _description(record),
        **EXTRA_RULES.get(name, {}),
    }
    if parts:
        schema["$defs"] = {part: _part(body) for part, body in parts.items()}
    return schema


def _message(name: str, topic: Topic) -> dict[str, Any]:
    """Describe the message that carries one kind of record."""
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "summary": _description(RECORDS[name]).splitlines()[0],
        "payload": {"$ref": f"json/{name}.schema.json"},
        "bindings": {"kafka": {"bindingVersion": KAFKA_BINDING_VERSION, "key": topic.key}},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    """Describe one topic."""
    return {
        "address": topic.name,
        "title": topic.title,
        "description": f"{topic.description} Key: {topic.key['description']}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in topic.records},
        "bindings": {
            "kafka": {
                "bindingVersion": KAFKA_BINDING_VERSION,
                "topicConfiguration": {"cleanup.policy": [topic.cleanup]},
            }
        },
    }


def _operation(action: str, topic: Topic) -> dict[str, Any]:
    """Describe what fairuse does with a topic."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "title": f"{action.capitalize()} {topic.name}",
    }


def asyncapi() -> dict[str, Any]:
    """Describe every topic in AsyncAPI 3.0; the payloads are the schemas in `json/`."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:fairuse:asyncapi",
        "info": {
            "title": "fairuse",
            "version": CONTRACT_VERSION,
            "description": (
                "Usage events in, findings and actions out. Records are JSON, one object each; "
                "times are milliseconds since the Unix epoch, UTC; unknown fields are ignored. "
                "All usage topics and `customers` have the same number of partitions, so that "
                "one customer's records meet in one worker."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {
            f"{action}.{topic.name}": _operation(action, topic)
            for topic in TOPICS
            for action in topic.actions
        },
        "components": {
            "messages": {name: _message(name, topic) for topic in TOPICS for name in topic.records}
        },
    }


def _text(document: dict[str, Any]) -> str:
    """A document as JSON text; the same content always gives the same bytes."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def documents() -> dict[str, str]:
    """Give the text of every generated file by its path below `schemas/`."""
    texts = {f"json/{name}.schema.json": _text(record_schema(name)) for name in RECORDS}
    return {**texts, "asyncapi.json": _text(asyncapi())}


def stale(folder: Path = FOLDER) -> list[str]:
    """Name the files in `folder` that are missing, outdated, or no longer generated."""
    wanted = documents()
    there = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in (*folder.glob("json/*.schema.json"), *folder.glob("asyncapi.json"))
    }
    return sorted(name for name in wanted | there if wanted.get(name) != there.get(name))


def write(folder: Path = FOLDER) -> None:
    """Write every stale file, and remove those that are no longer generated."""
    wanted = documents()
    (folder / "json").mkdir(parents=True, exist_ok=True)
    for name in stale(folder):
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8", newline="\n")
        else:
            (folder / name).unlink()


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Write the files, or with `--check` say which are stale; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m schemas.documents", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 when stale")
    if not parser.parse_args(arguments).check:
        write(folder)
        return 0
    names = stale(folder)
    for name in names:
        sys.stderr.write(f"schemas/{name} is stale: {REMEDY}\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
