"""The language of the runner's socket: one call a connection, one JSON value a line.

The client sends ``{"call": name, "arguments": {…}}``. The runner answers with any number of
``{"progress": line}`` or ``{"item": value}`` and at last ``{"result": value}`` or
``{"error": {…}}``. Closing the connection cancels the call. The types of arguments and results
are those of `interface.Runner`, so there is no second list of calls to keep true.
"""

import json
import types
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from math import isfinite
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from node_service.runner.interface import NoSuchContainerError, Runner, RunnerError

MAX_LINE: Final = 1024 * 1024
"""Bytes of the longest line; a chunk of output is at most six times 16 KiB in JSON."""


class Call(StrEnum):
    """What may be asked; the names of the methods of `Runner`."""

    INFO = "info"
    PREPARE = "prepare"
    START = "start"
    FIND = "find"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    KILL = "kill"
    REMOVE = "remove"
    WAIT = "wait"
    STATUS = "status"
    LOGS = "logs"
    OPEN_RESULTS = "open_results"
    DISCARD = "discard"
    LEFTOVERS = "leftovers"


@dataclass(frozen=True, slots=True)
class Signature:
    """The types of a call.

    Attributes:
        arguments: By name; what is left out of a request must have a default.
        result: Of the answer, or of each item.
        items: Whether it answers with items and no result.
        progress: Whether it reports progress.
    """

    arguments: Mapping[str, Any]
    result: Any
    items: bool
    progress: bool


@cache
def signature(call: Call) -> Signature:
    """Return the types of a call, as `Runner` declares them."""
    hints = get_type_hints(getattr(Runner, call.value))
    result = hints.pop("return")
    items = get_origin(result) is AsyncGenerator
    progress = hints.pop("progress", None) is not None
    return Signature(hints, get_args(result)[0] if items else result, items, progress)


def encode(value: object) -> Any:
    """Turn values of the interface into what JSON knows."""
    match value:
        case datetime():
            return value.isoformat()
        case _ if is_dataclass(value):
            return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
        case Mapping():
            return {key: encode(item) for key, item in value.items()}
        case str() | int() | float() | None:
            return value
        case Collection():
            return [encode(item) for item in value]
        case _:
            raise TypeError(f"{type(value).__name__} is not part of the runner's interface")


def decode(kind: Any, value: Any, where: str = "value") -> Any:
    """Turn what JSON knows into a value of the interface.

    Raises:
        ValueError: It has another type, names an unknown field or lacks one; says where.
    """
    if get_origin(kind) is not None:
        return _decode_generic(kind, value, where)
    if is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, value, where)
    if kind is datetime:
        return datetime.fromisoformat(decode(str, value, where))
    if kind is float:
        return _decode_number(value, where)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where}: {kind.__name__} is wanted")


def _decode_number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{where}: a finite number is wanted")
    return float(value)


def _decode_generic(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_optional(kind, value, where)
    if origin is Literal and value in get_args(kind):
        return value
    if origin is Mapping and isinstance(value, dict):
        item = get_args(kind)[1]
        return {key: decode(item, part, f"{where}.{key}") for key, part in value.items()}
    if origin in (Sequence, Collection) and isinstance(value, list):
        item = get_args(kind)[0]
        return tuple(decode(item, part, f"{where}[{n}]") for n, part in enumerate(value))
    raise ValueError(f"{where}: {kind} is wanted")


def _decode_optional(kind: Any, value: Any, where: str) -> Any:
    if value is None and type(None) in get_args(kind):
        return None
    (inner,) = (part for part in get_args(kind) if part is not type(None))
    return decode(inner, value, where)


def _decode_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: an object is wanted")  # noqa: TRY004 (bad input, no bug)
    hints = _hints(kind)
    if unknown := sorted(set(value) - set(hints)):
        raise ValueError(f"{where}: unknown field {unknown[0]}")
    parts = {name: decode(hints[name], part, f"{where}.{name}") for name, part in value.items()}
    try:
        return kind(**parts)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def line(message: Mapping[str, object]) -> bytes:
    """Return one message as a line."""
    return json.dumps(encode(message), separators=(",", ":")).encode() + b"\n"


def parse(data: bytes) -> Mapping[str, Any]:
    """Return the message of a line.

    Raises:
        ValueError: It is no JSON object.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("a JSON object is wanted")  # noqa: TRY004 (bad input, no bug)
    return value


def encode_error(error: RunnerError) -> Mapping[str, str]:
    """Return an error as a message."""
    return {"message": error.message, "hint": error.hint, "code": error.code}


def decode_error(value: Mapping[str, str]) -> RunnerError:
    """Return the error of a message, with its class."""
    error = RunnerError(value["message"], value["hint"], value["code"])
    if error.code == "NOT_FOUND":
        error.__class__ = NoSuchContainerError
    return error
