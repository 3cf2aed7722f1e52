"""The page `/docs`: the REST interface as OpenAPI describes it, without scripts of others."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from broker.topics import SPECS
from portal.contract import EYES
from portal.errors import HTTP_STATUS, MEANING
from portal.live import MAX_FILTERS, MAX_WINDOWS
from portal.websocket import MAX_MESSAGE_BYTES, MESSAGES_PER_SECOND


@dataclass(frozen=True, slots=True)
class Parameter:
    """What stands in a call's path, query or header."""

    name: str
    where: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call, with an example of what is sent and answered."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: Sequence[Parameter]
    body: str
    answer: str
    curl: str


@dataclass(frozen=True, slots=True)
class Group:
    """Calls that belong together."""

    name: str
    calls: Sequence[Call]


@dataclass(frozen=True, slots=True)
class Fault:
    """What an error's code means."""

    code: str
    status: int
    meaning: str


FAULTS = tuple(Fault(code.value, HTTP_STATUS[code].value, told) for code, told in MEANING.items())


@dataclass(frozen=True, slots=True)
class Watchable:
    """A topic of the WebSocket."""

    name: str
    retained: bool
    summary: str


WATCHABLE = tuple(
    Watchable(topic.value, spec.retained, spec.summary)
    for topic, spec in SPECS.items()
    if topic in EYES
)
WS_LIMITS = {
    "filters": MAX_FILTERS,
    "windows": MAX_WINDOWS,
    "messages": int(MESSAGES_PER_SECOND),
    "bytes": MAX_MESSAGE_BYTES,
}


def groups_of(openapi: Mapping[str, Any], base: str) -> list[Group]:
    """Return all calls of an OpenAPI document by tag, in its order.

    Args:
        openapi: The document.
        base: The address of the portal, for the examples.
    """
    schemas: Mapping[str, Any] = openapi.get("components", {}).get("schemas", {})
    found: dict[str, list[Call]] = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            tag = operation.get("tags", ["portal"])[0]
            call = _call(path, method, operation, schemas, base)
            found.setdefault(tag, []).append(call)
    return [Group(name, calls) for name, calls in found.items()]


def _call(
    path: str,
    method: str,
    operation: Mapping[str, Any],
    schemas: Mapping[str, Any],
    base: str,
) -> Call:
    sent = _example(operation.get("requestBody", {}))
    answered = _example(operation["responses"].get("200", {}))
    summary, _, rest = operation.get("description", "").partition("\n")
    parameters = operation.get("parameters", ())
    address = base + path
    for item in parameters:
        address = address.replace(f"{{{item['name']}}}", quote(str(item.get("example", ""))))
    curl = f"curl -H 'X-Session-ID: {'s' * 20}' '{address}'"
    if method != "get":
        curl = curl.replace("curl ", f"curl -X {method.upper()} ", 1)
    if sent is not None:
        curl += f" \\\n  --json {shlex.quote(json.dumps(sent))}"
    return Call(
        operation["operationId"],
        method.upper(),
        path,
        summary or operation.get("summary", ""),
        rest.strip(),
        [_parameter(item, schemas) for item in parameters],
        _json(sent),
        _json(answered),
        curl,
    )


def _parameter(item: Mapping[str, Any], schemas: Mapping[str, Any]) -> Parameter:
    return Parameter(
        item["name"],
        item["in"],
        _type(item.get("schema", {}), schemas),
        item.get("required", False),
        item.get("description", ""),
    )


def _example(part: Mapping[str, Any]) -> Any:
    return part.get("content", {}).get("application/json", {}).get("example")


def _type(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _type(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas)
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = [_type(one, schemas) for one in schema[several]]
            return " or ".join(kind for kind in kinds if kind != "null")
    if schema.get("type") == "array":
        return f"several: {_type(schema.get('items', {}), schemas)}"
    return str(schema.get("type", "anything"))


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)
