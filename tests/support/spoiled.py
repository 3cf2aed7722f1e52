"""Messages made from the contract's models, whole ones and spoiled ones.

Everything is derived from the models' JSON schemas, so that a new message is covered unasked.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from broker.messages import MAX_PAYLOAD_BYTES, ContractError, Payload, decode

Path = tuple[str | int, ...]

_TEXTS: Final = (
    "01JNE5X6T3M9Y2Q8R4V7W0ZEX1",
    "reactor-1",
    "a" * 64,
    "web:abcdefgh",
    "kept.bin",
)
_WRONG: Final[Mapping[str, Any]] = {
    "null": None,
    "a boolean": True,
    "a number": -7.5,
    "a text": "\x00 no \ud83d name",
    "a list": [[]],
    "an object": {"no": {"such": "field"}},
    "a large number": 10**400,
    "a long text": "x" * 5_000,
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "many things": list(range(500)),
}
DEPTH: Final = 20_000


def whole(model: type[Payload]) -> dict[str, Any]:
    """Return a valid message with every field, optional ones too, as plain JSON."""
    schema = model.model_json_schema()
    example = _sample(schema, schema.get("$defs", {}))
    assert isinstance(example, dict)
    return example


def spoiled(model: type[Payload]) -> Iterator[tuple[str, bytes, ContractError]]:
    """Yield what is wrong, the message, and how it is refused, for all that a door must refuse."""
    for what, payload in _broken(whole(model)):
        try:
            decode(model, payload)
        except ContractError as error:
            yield what, payload, error


def _broken(example: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    good = json.dumps(example).encode()
    yield "cut off", good[: len(good) // 2]
    yield "not UTF-8", good[:-1] + b', "\xff\xfe": 1}'
    yield "two messages", good + good
    yield "no object", b"[" + good + b"]"
    yield "nested deeply", b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    yield "too large", b'{"a": "' + b"x" * MAX_PAYLOAD_BYTES + b'"}'
    yield "a long name", json.dumps({**example, "x" * 300_000: "red"}).encode()
    yield "an unknown field", json.dumps({**example, "colour": "red"}).encode()
    for path in _paths(example):
        name = ".".join(map(str, path))
        yield f"{name} is missing", _with(example, path, ...)
        for what, value in _WRONG.items():
            yield f"{name} is {what}", _with(example, path, value)


def _paths(value: object, above: Path = ()) -> Iterator[Path]:
    inside: Sequence[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    for key, below in inside:
        yield (*above, key)
        yield from _paths(below, (*above, key))


def _with(example: dict[str, Any], path: Path, value: object) -> bytes:
    changed = json.loads(json.dumps(example))
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(changed).encode("utf-8", "surrogatepass")


def _sample(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _sample(known[schema["$ref"].rpartition("/")[2]], known)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            some = [s for s in schema[choice] if s.get("type") != "null"]
            return _sample(some[0], known)
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            example = {name: _sample(field, known) for name, field in fields.items()}
            more = schema.get("additionalProperties")
            if isinstance(more, dict):
                keys = schema.get("propertyNames", {"type": "string"})
                example[_sample(keys, known)] = _sample(more, known)
            return example
        case "array":
            if "prefixItems" in schema:
                return [_sample(item, known) for item in schema["prefixItems"]]
            return [_sample(schema.get("items", {}), known)]
        case "string":
            return _text(schema)
        case "integer" | "number" as kind:
            least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
            return int(least) if kind == "integer" else float(least)
        case "boolean":
            return False
        case _:
            return 1


def _text(schema: Mapping[str, Any]) -> str:
    if schema.get("format") == "date-time":
        return "2026-02-17T14:26:01Z"
    pattern = schema.get("pattern")
    for text in _TEXTS:
        if pattern is None or re.search(pattern, text):
            return text
    raise AssertionError(f"no example of {pattern}")
