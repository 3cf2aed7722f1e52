"""What a settings model says of itself: its fields, read from its schema and its docstring."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

_ENTRY: Final = re.compile(r"^ {4}(\w+): (.+)$")


class UndocumentedError(Exception):
    """A field has no line in its class's docstring; the message names both."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting.

    Attributes:
        key: As in the file.
        values: What may stand there, in words.
        default: As TOML; empty where there is none or the meaning says what happens.
        meaning: In Markdown.
    """

    key: str
    values: str
    default: str
    meaning: str


def fields(model: type[BaseModel]) -> Iterator[Field]:
    """Yield the fields of a model, in its order.

    Raises:
        UndocumentedError: One of them has no line under ``Attributes`` of its class or a base.
    """
    schema = model.model_json_schema()
    told = meanings(model)
    required = set(schema.get("required", ()))
    for key, field in schema["properties"].items():
        if key not in told:
            raise UndocumentedError(
                f"{model.__module__}.{model.__name__} says nothing of {key}: "
                "add a line under Attributes of its docstring"
            )
        yield Field(
            key,
            _values(field, schema.get("$defs", {})),
            "required" if key in required else _default(field),
            told[key],
        )


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return what the docstrings of a model and its bases say of each attribute, as Markdown."""
    told: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls.__module__.startswith("pydantic"):
            continue
        _, _, section = (cls.__doc__ or "").partition("Attributes:\n")
        key = None
        for line in section.splitlines():
            text = line.removeprefix("    ")
            entry = _ENTRY.match(text) or _ENTRY.match(line)
            if entry is not None:
                key = entry[1]
                told[key] = entry[2]
            elif key is not None and line.strip():
                told[key] += f" {line.strip()}"
    return {key: text.replace("``", "`") for key, text in told.items()}


def _values(schema: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _values(models[name], models) if "enum" in models[name] else "table"
    if "anyOf" in schema:
        kinds = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(_values(one, models) for one in kinds))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_values(schema['items'], models)}"
    if kind == "object":
        return "table"
    if kind == "string":
        return {"password": "text, a secret", "path": "path"}.get(schema.get("format", ""), "text")
    if kind in {"integer", "number"}:
        return ("whole number" if kind == "integer" else "number") + _bounds(schema)
    return {"boolean": "`true`, `false`"}.get(kind or "", "any")


def _bounds(schema: Mapping[str, Any]) -> str:
    words = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
    }
    said = [text.format(schema[key]) for key, text in words.items() if key in schema]
    return f" {', '.join(said)}" if said else ""


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    if value is None or value == {} or ("$ref" in schema and isinstance(value, dict)):
        return ""
    if schema.get("uniqueItems"):  # of a set, whose order changes from run to run
        value = sorted(value)
    return f"`{json.dumps(value, ensure_ascii=False)}`"
