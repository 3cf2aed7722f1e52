"""Complaints about a script: what is wrong, on which line, and the remedy."""

from typing import Final, Literal

from pydantic import JsonValue

from broker.messages import Error, ErrorCode, ScriptProblem

NO_REMEDY: Final = "nothing is to be done"
"""The hint of a warning that is there to be known."""


def problem(
    code: ErrorCode,
    message: str,
    hint: str,
    line: int | None = None,
    column: int | None = None,
    *,
    severity: Literal["error", "warning"] = "error",
    **details: JsonValue,
) -> ScriptProblem:
    """Make a complaint; the line stands in the message too, for those who see only that."""
    where = "" if line is None else f"line {line}: "
    places: dict[str, JsonValue] = {}
    if line is not None:
        places["line"] = line
    if column is not None:
        places["column"] = column
    error = Error(code=code, message=where + message, hint=hint, details={**places, **details})
    return ScriptProblem(severity=severity, error=error, line=line, column=column)
