"""The reference of MQTT topics and payloads, from the AsyncAPI document."""

import json
from collections.abc import Mapping
from typing import Any, Final

from tools.docs.markdown import code, docstring, table

INTRODUCTION: Final = """\
# MQTT topics and payloads

{description} This page is made from [`asyncapi.json`](asyncapi.json), which is made from the code
and which tools for AsyncAPI 3 read. Who a message comes from is in its topic: the broker lets each
principal speak in its own level alone. `{{principal}}` is the sender's own name; on `reply` and
`errors` it is the addressee's.

A request without `client` gets no reply; what was wrong with it is told on `errors/{{principal}}`.
"""


def topics(document: Mapping[str, Any]) -> str:
    """Return the page about all topics and payloads."""
    out = [INTRODUCTION.format(description=document["info"]["description"])]
    roles = _roles(document)
    channels = document["channels"]
    out += ["## Topics\n"]
    for key, channel in channels.items():
        out.append(f"### `{channel['address']}` {{ #{_anchor(key)} }}\n")
        out.append(channel["description"] + "\n")
        sends, receives, qos = roles[key]
        kept = "retained" if channel["x-retained"] else "not retained"
        out.append(f"From {_listed(sends)} to {_listed(receives)}; QoS {qos}, {kept}.\n")
        verbs = channel.get("x-verbs")
        if verbs:
            rows = [
                (code(verb), _link(told["payload"]), "yes" if told["id-required"] else "")
                for verb, told in verbs.items()
            ]
            out.append(table(("verb", "payload", "wants an `id`"), rows))
        else:
            out.append(f"Payload: {', '.join(_link(name) for name in channel['messages'])}.\n")
    out += ["## Payloads\n", *_schemas(document["components"]["schemas"])]
    return "\n".join(out)


def _roles(document: Mapping[str, Any]) -> dict[str, tuple[list[str], list[str], int]]:
    found: dict[str, tuple[list[str], list[str], int]] = {
        key: ([], [], 0) for key in document["channels"]
    }
    for operation in document["operations"].values():
        key = operation["channel"]["$ref"].rpartition("/")[2]
        sends, receives, _ = found[key]
        (sends if operation["action"] == "send" else receives).extend(
            tag["name"] for tag in operation["tags"]
        )
        found[key] = (sends, receives, operation["bindings"]["mqtt"]["qos"])
    return found


def _schemas(schemas: Mapping[str, Any]) -> list[str]:
    out: list[str] = []
    for name, schema in schemas.items():
        out.append(f"### {name} {{ #{_anchor(name)} }}\n")
        if schema.get("description"):
            out.append(docstring(schema["description"]))
        if "enum" in schema:
            out.append("One of " + ", ".join(code(str(value)) for value in schema["enum"]) + ".\n")
        rows = [
            (
                code(field),
                kind(told),
                "yes" if field in schema.get("required", ()) else "",
                code(json.dumps(told["default"], ensure_ascii=False)) if "default" in told else "",
                told.get("description", "") or _bounds(told),
            )
            for field, told in schema.get("properties", {}).items()
        ]
        out.append(table(("field", "type", "required", "default", "bounds"), rows))
    return out


def kind(schema: Mapping[str, Any]) -> str:
    """Return what a JSON schema allows, in few words."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return " or ".join(code(json.dumps(value)) for value in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(kind(one) for one in schema[several]))
    if schema.get("type") == "array":
        items = schema.get("items") or {"type": "anything"}
        return f"array of {kind(items)}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"object of {kind(values)}" if isinstance(values, dict) else "object"
    name = str(schema.get("type", "anything"))
    return str(schema["format"]) if "format" in schema else name


_BOUNDS: Final = {
    "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters", "maxLength": "at most {} characters",
    "minItems": "at least {} items", "maxItems": "at most {} items", "pattern": "`{}`",
}  # fmt: skip


def _bounds(schema: Mapping[str, Any]) -> str:
    parts = [schema, *schema.get("anyOf", ())]
    return ", ".join(
        told.format(part[key]) for part in parts for key, told in _BOUNDS.items() if key in part
    )


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names)) or "nobody"


def _anchor(name: str) -> str:
    return name.lower().replace("_", "-")


def _link(name: str) -> str:
    return f"[{name}](#{_anchor(name)})"
