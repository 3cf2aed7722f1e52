"""The contract as an AsyncAPI document: ``python -m broker.asyncapi [FILE]`` writes it.

Generated from `broker.topics` and `broker.messages`, so it cannot drift; a test compares the
committed file with a fresh one.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, JsonValue
from pydantic.json_schema import models_json_schema

from broker.messages import (
    ADMIN_REQUESTS,
    ID_REQUIRED,
    MAX_PAYLOAD_BYTES,
    RECORD,
    REQUESTS,
    Assignment,
    Batch,
    Channels,
    Command,
    Console,
    ErrorCode,
    ErrorReport,
    EstopRelease,
    EstopRequest,
    Experiment,
    FileChunk,
    HubMetrics,
    HubStatus,
    JournalAck,
    ManualEnd,
    NodeReport,
    Notification,
    Payload,
    Queue,
    Reply,
    ServiceStatus,
    Telemetry,
    Tokens,
)
from broker.topics import EXPERIMENT_ID, NAME, NOTIFICATIONS, SPECS, STREAMS, Topic

DESTINATION: Final = Path(__file__).parent.parent / "docs" / "reference" / "asyncapi.json"

VERSION: Final = "1.0.0"
"""Of the contract: the first number grows when something that was valid no longer is."""

PAYLOADS: Final[Mapping[Topic, type[Payload]]] = MappingProxyType(
    {
        Topic.HUB_STATUS: HubStatus,
        Topic.NODE_STATUS: ServiceStatus,
        Topic.PORTAL_STATUS: ServiceStatus,
        Topic.REPLY: Reply,
        Topic.QUEUE: Queue,
        Topic.EXPERIMENT: Experiment,
        Topic.NODE_CHANNELS: Channels,
        Topic.NODE_ASSIGNMENT: Assignment,
        Topic.NODE_REPORT: NodeReport,
        Topic.NODE_TELEMETRY: Telemetry,
        Topic.NODE_CONSOLE: Console,
        Topic.NODE_JOURNAL: Batch,
        Topic.NODE_JOURNAL_ACK: JournalAck,
        Topic.NODE_COMMAND: Command,
        Topic.NODE_MANUAL_END: ManualEnd,
        Topic.NODE_ESTOP: EstopRequest,
        Topic.NODE_ESTOP_RELEASE: EstopRelease,
        Topic.ERRORS: ErrorReport,
        Topic.NOTIFICATION: Notification,
        Topic.HUB_METRICS: HubMetrics,
        Topic.HUB_TOKENS: Tokens,
    }
)
"""What a topic carries; the two topics of requests carry a payload by verb."""

_VERBS: Final = {Topic.HUB_REQUEST: REQUESTS, Topic.HUB_ADMIN: ADMIN_REQUESTS}

_LEVELS: Final = {
    "principal": "The sender's name at the broker; on reply and errors, the addressee's.",
    "node": "A node's id.",
    "portal": "A portal's id.",
    "verb": "What is asked for.",
    "client": "Chosen by the asker in its request.",
    "experiment": "An experiment's id, a ULID.",
    "channel": "A channel of the node.",
    "stream": "A stream of the journal.",
    "kind": "What happened.",
}

ERROR_CODES: Final[Mapping[ErrorCode, str]] = MappingProxyType(
    {
        ErrorCode.MALFORMED: "The message is not what the topic carries; details name the fields.",
        ErrorCode.TOO_LARGE: "The message is larger than allowed.",
        ErrorCode.UNKNOWN_VERB: "The hub knows no such request.",
        ErrorCode.EXPIRED: "The request came after its expires_at and was not executed.",
        ErrorCode.RETAINED_COMMAND: "A request was published with the retain flag; it was removed.",
        ErrorCode.ID_REQUIRED: "The verb needs an id, so that a repeat is not executed twice.",
        ErrorCode.ID_REUSED: "The id was used before, for another request.",
        ErrorCode.CONFIRMATION_REQUIRED: "The verb wants a word that a person has to give.",
        ErrorCode.UNAUTHENTICATED: "The token that was sent is not admitted.",
        ErrorCode.FORBIDDEN: "The asker may not do this.",
        ErrorCode.NOT_FOUND: "What is named does not exist.",
        ErrorCode.USER_LIMIT: "The user has as many experiments as are allowed.",
        ErrorCode.RATE_LIMIT: "Too many requests in too short a time.",
        ErrorCode.WRONG_STATE: "The command does not apply to the state that the thing is in.",
        ErrorCode.CHANGED_MEANWHILE: "What the command goes by was changed meanwhile; look again.",
        ErrorCode.SCRIPT_EMPTY: "The script has no content.",
        ErrorCode.SCRIPT_ENCODING: "The script is not UTF-8 text, or has control characters.",
        ErrorCode.SCRIPT_TOO_LARGE: "The script is larger than allowed.",
        ErrorCode.SCRIPT_SYNTAX: "The script is not Python; details name line and column.",
        ErrorCode.SCRIPT_METADATA: "The script's inline metadata is wrong.",
        ErrorCode.SCRIPT_IMPORT: "The script uses what the experiment image does not have.",
        ErrorCode.SCRIPT_PARAMETERS: "A parameter is unknown to the script or has a wrong value.",
        ErrorCode.SCRIPT_FAILED: "The script ended with an error of its own.",
        ErrorCode.INTERRUPTED: "The run was cut short by a restart of its node.",
        ErrorCode.CANCELLED: "The experiment was cancelled.",
        ErrorCode.NO_SUITABLE_REACTOR: "No reactor has what the script needs.",
        ErrorCode.UNKNOWN_CHANNEL: "The reactor has no such channel.",
        ErrorCode.NOT_AN_ACTUATOR: "The channel can be read, not set.",
        ErrorCode.OUT_OF_RANGE: "The value is outside the channel's range.",
        ErrorCode.LIMIT: "A limit of the channel or the run is reached; details say what is left.",
        ErrorCode.INTERLOCK: "A safety rule forbids the command at present.",
        ErrorCode.ESTOP: "The emergency stop is engaged.",
        ErrorCode.LEASE_ENDED: "The run no longer controls the reactor.",
        ErrorCode.OUTPUTS_RESET: "The node restarted and made direct outputs safe; told once.",
        ErrorCode.HARDWARE: "The hardware failed or does not answer.",
        ErrorCode.REACTOR_BUSY: "An experiment holds the reactor, or a person does, by hand.",
        ErrorCode.STORAGE_FULL: "A disk is full.",
        ErrorCode.ENGINE: "The container engine failed or is missing.",
        ErrorCode.TIMEOUT: "No answer in time; the request may have been executed.",
        ErrorCode.UNAVAILABLE: "The broker, the hub or the node cannot be reached.",
        ErrorCode.INTERNAL: "A fault of the service, none of the asker's; it is in its log.",
    }
)
"""What each error code means, in one sentence."""


def document() -> dict[str, JsonValue]:
    """Return the AsyncAPI 3 document."""
    schemas = _schemas()
    schemas["ErrorCode"] = {
        "title": "ErrorCode",
        "description": "Stable: never renamed, never reused.",
        "oneOf": [{"const": code, "description": text} for code, text in ERROR_CODES.items()],
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Bioreactor Control System",
            "version": VERSION,
            "description": (
                "Topics below the site's root (bioreactor by default). JSON in UTF-8 over MQTT "
                f"3.1.1, at most {MAX_PAYLOAD_BYTES} bytes. Times are ISO 8601 with an offset, ids "
                "ULIDs, durations seconds."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in Topic},
        "operations": dict(_operations()),
        "components": {
            "messages": {name: _message(model) for name, model in sorted(_models().items())},
            "schemas": schemas,
        },
    }


def render() -> bytes:
    """Return the document as the committed file holds it."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _channel(topic: Topic) -> JsonValue:
    spec = SPECS[topic]
    levels = [part[1:-1] for part in topic.value.split("/") if part.startswith("{")]
    messages: dict[str, JsonValue] = {
        model.__name__: {"$ref": f"#/components/messages/{model.__name__}"}
        for model in _carried(topic)
    }
    channel: dict[str, JsonValue] = {
        "address": topic.value,
        "description": spec.summary,
        "messages": messages,
        "x-retained": spec.retained,
    }
    if levels:
        channel["parameters"] = {level: _level(topic, level) for level in levels}
    if topic in _VERBS:
        channel["x-verbs"] = {
            verb: {"payload": model.__name__, "id-required": verb in ID_REQUIRED}
            for verb, model in _VERBS[topic].items()
        }
    return channel


def _level(topic: Topic, level: str) -> JsonValue:
    if level == "verb":
        return {"description": _LEVELS[level], "enum": [*sorted(_VERBS[topic])]}
    if level == "stream":
        return {"description": _LEVELS[level], "enum": [*STREAMS]}
    if level == "kind":
        return {"description": _LEVELS[level], "enum": [*NOTIFICATIONS]}
    pattern = EXPERIMENT_ID if level == "experiment" else NAME
    return {"description": f"{_LEVELS[level]} Pattern: {pattern.pattern}"}


def _operations() -> Iterator[tuple[str, JsonValue]]:
    for topic, spec in SPECS.items():
        for action, roles in (("send", spec.senders), ("receive", spec.readers)):
            for role in sorted(roles):
                operation: dict[str, JsonValue] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{topic.name}"},
                    "tags": [{"name": role}],
                    "bindings": {"mqtt": {"qos": spec.qos}},
                }
                if action == "send":
                    operation["bindings"] = {"mqtt": {"qos": spec.qos, "retain": spec.retained}}
                yield f"{role}-{action}-{topic.name}", operation


def _message(model: type[BaseModel]) -> JsonValue:
    summary = (model.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
    return {
        "name": model.__name__,
        "summary": " ".join(summary.split()),
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"#/components/schemas/{model.__name__}"},
        },
    }


def _carried(topic: Topic) -> list[type[Payload]]:
    if topic in _VERBS:
        return sorted(set(_VERBS[topic].values()), key=lambda model: model.__name__)
    return [PAYLOADS[topic]]


def _models() -> dict[str, type[Payload]]:
    return {model.__name__: model for topic in Topic for model in _carried(topic)}


def _schemas() -> dict[str, JsonValue]:
    template = "#/components/schemas/{model}"
    models: list[type[BaseModel]] = [*_models().values(), FileChunk]
    modes: list[tuple[type[BaseModel], Literal["validation"]]] = [(m, "validation") for m in models]
    _, together = models_json_schema(modes, ref_template=template)
    schemas: dict[str, JsonValue] = dict(together["$defs"])
    record: dict[str, Any] = RECORD.json_schema(ref_template=template)
    schemas.update(record.pop("$defs"))
    record["description"] = "An entry of the journal's stream `records`; of `files`: FileChunk."
    schemas["Record"] = record
    return dict(sorted(schemas.items()))


def main() -> None:
    """Write docs/reference/asyncapi.json; with --check, say whether it is what the code says."""
    parser = argparse.ArgumentParser(prog="python -m broker.asyncapi", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    if not parser.parse_args().check:
        DESTINATION.parent.mkdir(parents=True, exist_ok=True)
        DESTINATION.write_bytes(render())
    elif not DESTINATION.exists() or DESTINATION.read_bytes() != render():
        sys.exit(f"{DESTINATION} is not what the code says: run `python -m broker.asyncapi`")


if __name__ == "__main__":
    main()
