"""The page `/docs`: the REST interface as OpenAPI describes it, without scripts of others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_DEPTH: Final = 6
_EXAMPLES: Final = {
    "date-time": "2026-02-17T14:26:01Z",
    "string": "text",
    "integer": 1,
    "number": 0.5,
    "boolean": True,
    "null": None,
}
_NAMES: Final = {
    "experiment_id": "01JM9ZQ8E6Y7W5V4T3S2R1Q0P9",
    "script_content": "from bioreactor import experiment",
    "node": "reactor-1",
}


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
    sent = _content(operation.get("requestBody", {}))
    answered = _content(operation.get("responses", {}).get("200", {}))
    body = _json(_example(sent, schemas)) if sent else ""
    summary, _, rest = operation.get("description", "").partition("\n")
    address = base + path
    for name, value in _NAMES.items():
        address = address.replace(f"{{{name}}}", str(value))
    curl = f"curl -H 'X-Session-ID: {'s' * 20}' '{address}'"
    if method != "get":
        curl = curl.replace("curl ", "curl -X POST ", 1)
    if body:
        curl += f" \\\n  --json '{json.dumps(_example(sent, schemas))}'"
    return Call(
        operation["operationId"],
        method.upper(),
        path,
        summary or operation.get("summary", ""),
        rest.strip(),
        [_parameter(item, schemas) for item in operation.get("parameters", ())],
        body,
        _json(_example(answered, schemas)) if answered else "",
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


def _content(part: Mapping[str, Any]) -> Mapping[str, Any]:
    content: Mapping[str, Any] = part.get("content", {}).get("application/json", {})
    schema: Mapping[str, Any] = content.get("schema", {})
    return schema


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


def _example(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "", depth: int = _DEPTH
) -> Any:
    if depth == 0:
        return "…"
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas, name, depth)
    for fixed in ("const", "default"):
        if schema.get(fixed) is not None:
            return schema[fixed]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _example(schema[several][0], schemas, name, depth)
    return _example_of_type(schema, schemas, name, depth)


def _example_of_type(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int
) -> Any:
    match schema.get("type"):
        case "object" if "properties" in schema:
            return {
                key: _example(part, schemas, key, depth - 1)
                for key, part in schema["properties"].items()
            }
        case "object":
            inner = schema.get("additionalProperties")
            inner = inner if isinstance(inner, dict) else {}
            return {"name": _example(inner, schemas, "", depth - 1)}
        case "array":
            return [_example(schema.get("items", {}), schemas, name, depth - 1)]
        case kind:
            return _NAMES.get(name, _EXAMPLES.get(schema.get("format", kind), "text"))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
