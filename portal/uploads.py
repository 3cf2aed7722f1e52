"""The upload form: a file or text, a name, parameters; what is wrong stands next to its field."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from broker.messages import (
    MAX_SCRIPT_BYTES,
    ContractError,
    Error,
    ErrorCode,
    Parameters,
    ScriptProblem,
)
from portal.access import Asking
from portal.desk import SMALLER, Desk, check_size
from portal.errors import status_of
from portal.flash import Flash, Flashes
from portal.pages import Pages, upload_form
from portal.posting import text_of
from portal.security import MAX_BODY_BYTES, BodyTooLargeError
from portal.sessions import Session

_MAX_FIELDS: Final = 200
_PARAMETER: Final = "param."
_MAY_HAVE_HAPPENED: Final = frozenset((ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE))
"""After these the same request id is offered again, so that a second try queues nothing twice."""


@dataclass
class _Upload:
    """What the form brought.

    Attributes:
        source: The field that the script came by.
        parameters: Text by name, empty ones left out.
    """

    script: str = ""
    source: str = "script"
    filename: str = ""
    name: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    request_id: str | None = None


class _FieldError(Exception):
    """A field cannot be used."""

    def __init__(self, field_name: str, error: Error) -> None:
        super().__init__(error.message)
        self.field = field_name
        self.error = error


class Uploads:
    """Takes the upload form."""

    def __init__(self, desk: Desk, pages: Pages, flashes: Flashes) -> None:
        self._desk = desk
        self._pages = pages
        self._flashes = flashes

    def router(self) -> APIRouter:
        """Return the route."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/upload", self.upload, methods=["POST"], response_class=Response)
        return router

    async def upload(self, request: Request, session: Asking) -> Response:
        """Queue the experiment and go to its page, or show what is wrong where it is wrong."""
        given = _Upload()
        try:
            async with request.form(
                max_files=1, max_fields=_MAX_FIELDS, max_part_size=MAX_BODY_BYTES
            ) as fields:
                await _read(fields, given)
            parameters = await self._typed(session, given)
            done = await self._desk.submit(
                session,
                given.script,
                name=given.name or None,
                filename=given.filename or None,
                parameters=parameters,
                request_id=given.request_id,
            )
        except _FieldError as wrong:
            return self._again(request, session, given, {wrong.field: wrong.error})
        except BodyTooLargeError as wrong:
            return self._again(request, session, given, {"file": wrong.error})
        except HTTPException as wrong:
            error = Error(code=ErrorCode.MALFORMED, message=wrong.detail, hint="send it again")
            return self._again(request, session, given, {"form": error})
        except ContractError as refused:
            return await self._refused(request, session, given, refused.error)
        target = f"/experiment/{done.experiment_id}"
        response = RedirectResponse(target, HTTPStatus.SEE_OTHER)
        self._flashes.leave(request, response, Flash("ok", done.message))
        return response

    async def _typed(self, session: Session, given: _Upload) -> Parameters:
        """Return the parameters in the types that the script declares for them.

        Raises:
            _FieldError: One is not of its type.
            ContractError: What the hub said of the script.
        """
        if not given.parameters:
            return {}
        checked = await self._desk.check(session, given.script, {})
        declared = checked.script.parameters if checked.script else ()
        defaults = {parameter.name: parameter.default for parameter in declared}
        typed: dict[str, bool | int | float | str] = {}
        for name, text in given.parameters.items():
            try:
                typed[name] = parse_as(defaults.get(name, ""), text)
            except ValueError as error:
                raise _FieldError(
                    _PARAMETER + name,
                    Error(code=ErrorCode.SCRIPT_PARAMETERS, message=f"{name}: {error}"),
                ) from error
        return typed

    async def _refused(
        self, request: Request, session: Session, given: _Upload, error: Error
    ) -> Response:
        where = _field_of(error, given)
        problems: tuple[ScriptProblem, ...] = ()
        if error.code.startswith("SCRIPT_") or error.code == ErrorCode.NO_SUITABLE_REACTOR:
            problems = await self._problems(session, given, error)
        return self._again(request, session, given, {where: error}, problems)

    async def _problems(
        self, session: Session, given: _Upload, error: Error
    ) -> tuple[ScriptProblem, ...]:
        """Return everything that is wrong with the script; at least what it was refused for."""
        try:
            check_size(given.script)
            checked = await self._desk.check(session, given.script, {})
        except ContractError:
            checked = None
        if checked is not None and checked.problems:
            return checked.problems
        line = error.details.get("line")
        number = line if isinstance(line, int) and line > 0 else None
        return (ScriptProblem(severity="error", error=error, line=number),)

    def _again(
        self,
        request: Request,
        session: Session,
        given: _Upload,
        errors: dict[str, Error],
        problems: tuple[ScriptProblem, ...] = (),
    ) -> Response:
        first = next(iter(errors.values()))
        form = upload_form(
            name=given.name,
            script=given.script,
            filename=given.filename,
            parameters=given.parameters,
            request_id=given.request_id if first.code in _MAY_HAVE_HAPPENED else None,
        )
        return self._pages.upload_page(
            request, session, form, problems=problems, errors=errors, code=status_of(first)
        )


def parse_as(default: bool | float | str, text: str) -> bool | int | float | str:
    """Return a form's text as the type of a declared default.

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
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            pass  # a whole default does not forbid 0.5: the hub decides by the script's limits
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError("a number is wanted") from error
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN
        raise ValueError("a finite number is wanted")
    return number


async def _read(fields: FormData, given: _Upload) -> None:
    """Take the form's fields.

    Raises:
        _FieldError: The file or the text is no script that could be sent.
    """
    given.name = text_of(fields, "name")
    given.request_id = text_of(fields, "request_id") or None
    for key, value in fields.multi_items():
        if key.startswith(_PARAMETER) and isinstance(value, str) and value.strip():
            given.parameters[key.removeprefix(_PARAMETER)] = value.strip()
    file = fields.get("file")
    if isinstance(file, UploadFile) and file.filename:
        given.source = "file"
        name = file.filename.replace("\\", "/").rsplit("/", 1)[-1]
        given.filename = "".join(ch for ch in name if ch.isprintable())[-200:]
        given.script = _decoded(await file.read(MAX_SCRIPT_BYTES + 1), file.size or 0)
    else:
        text = fields.get("script")
        # browsers send the lines of a text area with CRLF, whatever was typed
        given.script = text.replace("\r\n", "\n") if isinstance(text, str) else ""
    if not given.script.strip():
        raise _FieldError(
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
        raise _FieldError(given.source, wrong.error) from wrong


def _decoded(data: bytes, size: int) -> str:
    if len(data) > MAX_SCRIPT_BYTES:
        raise _FieldError(
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
        raise _FieldError(
            "file",
            Error(
                code=ErrorCode.SCRIPT_ENCODING,
                message=f"the file is not UTF-8 text: line {line} has a byte that cannot be read",
                hint="save the file as UTF-8",
                details={"line": line},
            ),
        ) from error


def _field_of(error: Error, given: _Upload) -> str:
    """Return the form's field that an error of the hub belongs to."""
    if error.code.startswith("SCRIPT_") or error.code == ErrorCode.NO_SUITABLE_REACTOR:
        parameter = error.details.get("parameter")
        if isinstance(parameter, str) and parameter in given.parameters:
            return _PARAMETER + parameter
        return given.source
    return "name" if error.details.get("field") == "name" else "form"
