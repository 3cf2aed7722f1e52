"""Parameters: declared by the script, given by its user, changed while it runs."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from broker.messages import ErrorCode, ParameterInfo, Parameters, ScriptProblem
from hub_service.scripts.problems import problem

MAX_PARAMETERS: Final = 100
MAX_TEXT: Final = 1000
MAX_CHOICES: Final = 50
MAX_WHOLE: Final = 2**53
"""The largest whole number that JSON carries exactly everywhere."""
_LISTED: Final = 10
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TABLE: Final = {
    "default": "default", "unit": "unit", "min": "minimum", "max": "maximum",
    "choices": "choices", "description": "description",
}  # fmt: skip


class UnfitError(ValueError):
    """A parameter that cannot be; with the remedy."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


Complaint = tuple[str, str, str]
"""Parameter, what is wrong, the remedy."""
Value = bool | int | float | str


def declared(said: object) -> tuple[tuple[ParameterInfo, ...], list[Complaint]]:
    """Return the parameters of a table `[tool.bioreactor.parameters]` and what is wrong with it."""
    if not isinstance(said, dict):
        return (), [
            (
                "parameters",
                "parameters is not a table",
                "write [tool.bioreactor.parameters] and below it name = default",
            )
        ]
    if len(said) > MAX_PARAMETERS:
        told = f"there are {len(said)} parameters, at most {MAX_PARAMETERS} are allowed"
        return (), [("parameters", told, "declare fewer")]
    found: list[ParameterInfo] = []
    complaints: list[Complaint] = []
    for name, value in said.items():
        try:
            found.append(_declaration(name, value))
        except UnfitError as error:
            complaints.append((name, f"parameter {name[:64]!r}: {error}", error.hint))
    return tuple(found), complaints


def effective(
    infos: Sequence[ParameterInfo], given: Parameters
) -> tuple[Parameters, tuple[ScriptProblem, ...]]:
    """Return defaults overridden by what is given, and what is wrong with what is given."""
    values: dict[str, Value] = {info.name: info.default for info in infos}
    chosen, problems = changed(infos, given)
    return {**values, **chosen}, problems


def changed(
    infos: Sequence[ParameterInfo], given: Parameters
) -> tuple[Parameters, tuple[ScriptProblem, ...]]:
    """Return the given parameters in their declared types, and what is wrong with them."""
    known = {info.name: info for info in infos}
    chosen: dict[str, Value] = {}
    problems: list[ScriptProblem] = []
    for name, value in given.items():
        try:
            chosen[name] = _fit(value, _known(name, known))
        except UnfitError as error:
            problems.append(
                problem(
                    ErrorCode.SCRIPT_PARAMETERS,
                    f"parameter {name[:64]!r}: {error}",
                    error.hint,
                    field=f"parameters.{name[:64]}",
                )
            )
    return chosen, tuple(problems)


def _declaration(name: str, said: object) -> ParameterInfo:
    if _NAME.fullmatch(name) is None:
        raise UnfitError(
            "this cannot be its name", "use letters, digits and '_', not beginning with a digit"
        )
    table: Mapping[str, Any] = said if isinstance(said, dict) else {"default": said}
    for key in table:
        if key not in _TABLE:
            near = difflib.get_close_matches(key[:80], _TABLE, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(_TABLE)}"
            raise UnfitError(f"it has an unknown key {key[:80]!r}", hint)
    if "default" not in table:
        raise UnfitError("it has no default", "add default = …, which also gives its type")
    default = _plain(table["default"])
    try:
        info = ParameterInfo.model_validate(
            {_TABLE[key]: value for key, value in table.items()} | {"name": name}
        )
    except ValidationError as error:
        where = str(error.errors()[0]["loc"][0])
        key = next((k for k, v in _TABLE.items() if v == where), where)
        raise UnfitError(
            f"{key} is not what it should be",
            "unit and description are texts, min and max numbers, choices a list of values",
        ) from error
    bounded = info.minimum is not None or info.maximum is not None
    if bounded and isinstance(default, bool | str):
        raise UnfitError("min and max need a number as default", "leave them out")
    if info.minimum is not None and info.maximum is not None and info.minimum > info.maximum:
        raise UnfitError("min is above max", "exchange the two")
    if info.choices:
        info = info.model_copy(update={"choices": _choices(info, default)})
    return info.model_copy(update={"default": _fit(default, info)})


def _choices(info: ParameterInfo, default: Value) -> tuple[int | float | str, ...]:
    """Return the values that one may choose among, in the kind of the default."""
    if isinstance(default, bool):
        raise UnfitError("choices need a number or a text as default", "leave them out")
    if len(info.choices) > MAX_CHOICES:
        raise UnfitError("it has too many choices", f"give at most {MAX_CHOICES}")
    free = info.model_copy(update={"choices": ()})
    return tuple(dict.fromkeys(_fit(choice, free) for choice in info.choices))


def _fit(value: Value, info: ParameterInfo) -> Value:
    """Return the value in the kind of the default, inside its bounds.

    Any number fits where the default is one: who writes 37 for a temperature means no whole number.
    """
    value = _plain(value)
    kind = type(info.default)
    if kind is float and type(value) is int:
        value = float(value)
    elif kind is int and isinstance(value, float):
        kind, value = (int, int(value)) if value.is_integer() else (float, value)
    if type(value) is not kind:
        wanted = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
        hint = f"for example {info.default!r}" if kind is not bool else "give one of the two"
        raise UnfitError(f"it must be {wanted[kind]}", hint)
    if isinstance(value, int | float) and not isinstance(value, bool):
        unit = f" {info.unit}" if info.unit else ""
        if info.minimum is not None and value < info.minimum:
            raise UnfitError(f"{value:g} is too small", f"give at least {info.minimum:g}{unit}")
        if info.maximum is not None and value > info.maximum:
            raise UnfitError(f"{value:g} is too large", f"give at most {info.maximum:g}{unit}")
    if info.choices and value not in info.choices:
        listed = ", ".join(str(choice)[:40] for choice in info.choices[:_LISTED])
        more = ", …" if len(info.choices) > _LISTED else ""
        raise UnfitError(f"{str(value)[:40]!r} is none of its choices", f"give {listed}{more}")
    return value


def _plain(value: object) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_WHOLE:
            raise UnfitError("the number is too large", "write it with a decimal point")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnfitError("it is no finite number", "give a number")
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise UnfitError("the text is too long", f"give at most {MAX_TEXT} characters")
        return value
    raise UnfitError("it is neither number, text, true nor false", "give one of these")


def _known(name: str, known: Mapping[str, ParameterInfo]) -> ParameterInfo:
    if name in known:
        return known[name]
    if not known:
        raise UnfitError(
            "the script declares no parameters", "declare it below [tool.bioreactor.parameters]"
        )
    near = difflib.get_close_matches(name[:80], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it declares {', '.join(known)}"
    raise UnfitError("the script does not declare it", hint)
