"""The upload form as a browser sends it: the script, a name, parameters as text."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import FormData, UploadFile
from ulid import ULID

from broker.messages import (
    MAX_SCRIPT_BYTES,
    ContractError,
    Error,
    ErrorCode,
    ParameterInfo,
    Parameters,
)
from portal.desk import SMALLER, check_size
from portal.posting import text_of

PARAMETER: Final = "param."
"""What the names of the parameters' fields begin with."""
_MAX_PARAMETERS: Final = 200
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass
class Upload:
    """What the form brought, or what it is to show.

    Attributes:
        source: The field that the script came by.
        parameters: Text by name, empty ones left out; also those that the script does not declare
            at this moment, so that what was typed is there when it does again.
        request_id: The same one again is the same submission.
        again: The experiment that this is to run again, with changes.
    """

    script: str = ""
    source: str = "script"
    filename: str = ""
    name: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: str(ULID()))
    again: str = ""

    def typed(self, declared: Iterable[ParameterInfo]) -> tuple[Parameters, dict[str, Error]]:
        """Return the values of the declared parameters, and what is wrong by field."""
        values: dict[str, bool | int | float | str] = {}
        errors: dict[str, Error] = {}
        for info in declared:
            text = self.parameters.get(info.name)
            if text is None:
                continue
            try:
                values[info.name] = parse_as(info.default, text)
            except ValueError as error:
                errors[PARAMETER + info.name] = Error(
                    code=ErrorCode.SCRIPT_PARAMETERS, message=str(error)
                )
        return values, errors


class FieldError(Exception):
    """A field cannot be used."""

    def __init__(self, field_name: str, error: Error) -> None:
        super().__init__(error.message)
        self.field = field_name
        self.error = error


def parse_as(default: bool | float | str, text: str) -> bool | int | float | str:
    """Return a form's text as the type of a declared default.

    `frontend/src/js/parameters.js` says the same while one types.

    Raises:
        ValueError: It is not of that type; the message says which is wanted.
    """
    if isinstance(default, bool):
        word = text.lower()
        if word in {"true", "yes", "on", "1"}:
            return True
        if word in {"false", "no", "off", "0"}:
            return False
        raise ValueError("yes or no is wanted")
    if isinstance(default, str):
        return text
    if _NUMBER.fullmatch(text) is None:
        wanted = ", with a point in place of the comma" if "," in text else ""
        raise ValueError(f"a number is wanted{wanted}")
    number = float(text)
    if math.isinf(number):
        raise ValueError("a smaller number is wanted")
    try:
        return int(text) if isinstance(default, int) else number
    except ValueError:
        return number  # a whole default does not forbid 0.5: the hub decides by the script's limits


def text_for(value: bool | float | str) -> str:
    """Return a value as the form writes it; `parse_as` reads it back."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def texts_for(parameters: Mapping[str, bool | float | str]) -> dict[str, str]:
    """Return parameters as the form writes them."""
    return {name: text_for(value) for name, value in parameters.items()}


async def read_upload(fields: FormData, given: Upload) -> None:
    """Take the form's fields.

    Raises:
        FieldError: The file or the text is no script that could be sent.
    """
    given.name = text_of(fields, "name")
    given.again = text_of(fields, "again")
    given.request_id = text_of(fields, "request_id") or given.request_id
    for key, value in fields.multi_items():
        if not key.startswith(PARAMETER) or not isinstance(value, str):
            continue
        name = key.removeprefix(PARAMETER)
        if value.strip() and len(given.parameters) < _MAX_PARAMETERS:
            given.parameters[name] = value.strip()
    file = fields.get("file")
    if isinstance(file, UploadFile) and file.filename:
        given.source = "file"
        given.filename = _plain(file.filename)
        given.script = _decoded(await file.read(MAX_SCRIPT_BYTES + 1), file.size or 0)
    else:
        text = fields.get("script")
        given.filename = _plain(text_of(fields, "filename"))
        # browsers send the lines of a text area with CRLF, whatever was typed
        given.script = text.replace("\r\n", "\n") if isinstance(text, str) else ""
    if not given.script.strip():
        raise FieldError(
            given.source,
            Error(
                code=ErrorCode.SCRIPT_EMPTY,
                message="the script is empty",
                hint="choose a Python file with an experiment",
            ),
        )
    try:
        check_size(given.script)
    except ContractError as wrong:
        raise FieldError(given.source, wrong.error) from wrong


def _plain(filename: str) -> str:
    """Return a file's name without folders and without what cannot be printed."""
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(ch for ch in name if ch.isprintable())[-200:]


def _decoded(data: bytes, size: int) -> str:
    if len(data) > MAX_SCRIPT_BYTES:
        raise FieldError(
            "file",
            Error(
                code=ErrorCode.SCRIPT_TOO_LARGE,
                message=f"the file has {size} bytes, at most {MAX_SCRIPT_BYTES} are allowed",
                hint=SMALLER,
                details={"bytes": size, "limit": MAX_SCRIPT_BYTES},
            ),
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FieldError(
            "file",
            Error(
                code=ErrorCode.SCRIPT_ENCODING,
                message=f"the file is not UTF-8 text: line {line} has a byte that cannot be read",
                hint="save the file as UTF-8",
                details={"line": line},
            ),
        ) from error
