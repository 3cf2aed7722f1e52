"""The upload page: a file or text is checked while one writes, and queued when one says so.

One form, one handler, one template: with scripts the same form is posted and only the parts that
a check fills come back.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import orjson
from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from broker.messages import Checked, ContractError, Error, ErrorCode, ScriptProblem
from portal.access import Asking
from portal.desk import Desk, check_size
from portal.errors import status_of
from portal.examples import Example
from portal.flash import Flash, Flashes
from portal.reader import Reader
from portal.rendering import Renderer
from portal.sdk import sdk
from portal.security import MAX_BODY_BYTES, BodyTooLargeError
from portal.sessions import Session
from portal.state import State
from portal.upload_form import PARAMETER, FieldError, Upload, read_upload, texts_for

_MAX_FIELDS: Final = 300
_MAY_HAVE_HAPPENED: Final = frozenset((ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE))
"""After these the same request id is offered again, so that a second try queues nothing twice."""
_OF_PARAMETERS: Final = "parameters."


@dataclass
class _Findings:
    """What is to be said of an upload.

    Attributes:
        checked: What the hub said of the script; None while it was not asked or did not answer.
        errors: By field; `form` is what belongs to none.
    """

    checked: Checked | None = None
    errors: dict[str, Error] = field(default_factory=dict)
    problems: Sequence[ScriptProblem] = ()

    @property
    def code(self) -> int:
        """The HTTP status that tells of the first error."""
        first = next(iter(self.errors.values()), None)
        return HTTPStatus.OK if first is None else status_of(first)


class Uploads:
    """The upload page and its form."""

    def __init__(
        self,
        desk: Desk,
        reader: Reader,
        state: State,
        renderer: Renderer,
        flashes: Flashes,
        *,
        examples: Sequence[Example],
    ) -> None:
        self._desk = desk
        self._reader = reader
        self._state = state
        self._renderer = renderer
        self._flashes = flashes
        self._examples = examples
        self._sdk = orjson.dumps(sdk())
        self._sdk_url = f"/upload/sdk.json?v={hashlib.sha256(self._sdk).hexdigest()[:16]}"

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        add = router.add_api_route
        add("/upload", self.page, methods=["GET"], response_class=Response)
        add("/upload", self.upload, methods=["POST"], response_class=Response)
        add("/upload/sdk.json", self.sdk, methods=["GET"], response_class=Response)
        return router

    async def sdk(self) -> Response:
        """Send what the SDK offers, for the editor."""
        keep = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(self._sdk, media_type="application/json", headers=keep)

    async def page(
        self,
        request: Request,
        session: Asking,
        example: str | None = None,
        source: str | None = Query(None, alias="from"),
    ) -> Response:
        """Show the form: empty, with an example in it, or with an earlier experiment."""
        given = Upload()
        if "x-refresh" in request.headers:
            pass  # only what surrounds the form is wanted
        elif source is not None:
            try:
                given = await self._earlier(session, source)
            except ContractError as error:
                return self._shown(request, session, given, _Findings(errors={"form": error.error}))
        elif (chosen := next((e for e in self._examples if e.id == example), None)) is not None:
            given = Upload(script=chosen.script, filename=f"{chosen.id}.py")
        if not given.script:
            return self._shown(request, session, given, _Findings())
        found = await self._check(session, given)
        return self._shown(request, session, given, found, HTTPStatus.OK)

    async def upload(self, request: Request, session: Asking) -> Response:
        """Check the script or queue it, and show what is wrong where it is wrong."""
        given = Upload()
        try:
            async with request.form(
                max_files=1, max_fields=_MAX_FIELDS, max_part_size=MAX_BODY_BYTES
            ) as fields:
                only_check = fields.get("action") == "check"
                await read_upload(fields, given)
        except FieldError as wrong:
            found = _Findings(errors={wrong.field: wrong.error})
            return self._shown(request, session, given, found)
        except BodyTooLargeError as wrong:
            found = _Findings(errors={"file": wrong.error})
            return self._shown(request, session, given, found)
        except HTTPException as wrong:
            error = Error(code=ErrorCode.MALFORMED, message=wrong.detail, hint="send it again")
            return self._shown(request, session, given, _Findings(errors={"form": error}))
        if only_check:
            found = await self._check(session, given)
            return self._shown(request, session, given, found, HTTPStatus.OK)
        return await self._queue(request, session, given)

    async def _queue(self, request: Request, session: Session, given: Upload) -> Response:
        try:
            checked = (
                await self._desk.check(session, given.script, {}) if given.parameters else None
            )
            declared = checked.script.parameters if checked and checked.script else ()
            parameters, wrong = given.typed(declared)
            if wrong:
                problems = checked.problems if checked else ()
                return self._shown(request, session, given, _Findings(checked, wrong, problems))
            done = await self._desk.submit(
                session,
                given.script,
                name=given.name or None,
                filename=given.filename or None,
                parameters=parameters,
                request_id=given.request_id,
            )
        except ContractError as refused:
            found = await self._refused(session, given, refused.error)
            return self._shown(request, session, given, found)
        target = f"/experiment/{done.experiment_id}"
        response = (
            Response(status_code=HTTPStatus.CREATED, headers={"Location": target})
            if _in_parts(request)
            else RedirectResponse(target, HTTPStatus.SEE_OTHER)
        )
        self._flashes.leave(request, response, Flash("ok", done.message))
        return response

    async def _earlier(self, session: Session, experiment_id: str) -> Upload:
        """Return an earlier experiment as an upload of its own.

        Raises:
            ContractError: There is none, or its script is not for this session.
        """
        got = await self._reader.get(session, experiment_id)
        earlier = got.experiment
        if got.script is None:
            raise ContractError(
                ErrorCode.FORBIDDEN,
                f"only {earlier.owner} and administrators may see the script of {earlier.name!r}",
                "ask its owner for the file",
            )
        return Upload(
            script=got.script,
            name=earlier.name,
            parameters=texts_for(earlier.parameters),
            again=earlier.experiment_id,
        )

    async def _check(self, session: Session, given: Upload) -> _Findings:
        """Return what the hub says of the script, and of the parameters where it declares them."""
        try:
            checked = await self._desk.check(session, given.script, {})
            declared = checked.script.parameters if checked.script else ()
            parameters, errors = given.typed(declared)
            if parameters:
                checked = await self._desk.check(session, given.script, parameters)
        except ContractError as error:
            return _Findings(errors={"check": error.error})
        problems = []
        for problem in checked.problems:
            place = _parameter_of(problem.error)
            if place is None:
                problems.append(problem)
            else:
                errors.setdefault(place, _without_name(problem.error, place))
        return _Findings(checked, errors, problems)

    async def _refused(self, session: Session, given: Upload, error: Error) -> _Findings:
        """Return why the hub did not queue it, and all else that is wrong with the script."""
        about_script = error.code.startswith("SCRIPT_") or (
            error.code == ErrorCode.NO_SUITABLE_REACTOR
        )
        if not about_script:
            where = "name" if error.details.get("field") == "name" else "form"
            return _Findings(errors={where: error})
        found = _Findings()
        try:
            check_size(given.script)
            found = await self._check(session, given)
        except ContractError:
            pass  # what it was refused for is told below
        found.errors.pop("check", None)
        if not found.problems and not found.errors:
            line = error.details.get("line")
            number = line if isinstance(line, int) and line > 0 else None
            found.problems = (ScriptProblem(severity="error", error=error, line=number),)
        if not found.errors:
            found.errors = {_parameter_of(error) or given.source: error}
        return found

    def _shown(
        self,
        request: Request,
        session: Session,
        given: Upload,
        found: _Findings,
        code: int | None = None,
    ) -> Response:
        """Return the page, or its parts, with what was given and what is wrong with it."""
        first = next(iter(found.errors.values()), None)
        if first is not None and first.code not in _MAY_HAVE_HAPPENED:
            given.request_id = Upload().request_id
        checked = found.checked
        return self._renderer.page(
            request,
            "upload",
            "_upload_parts.html" if _in_parts(request) else "upload.html",
            found.code if code is None else code,
            form=given,
            checked=checked,
            info=checked.script if checked else None,
            prospect=checked.prospect if checked else None,
            problems=found.problems,
            errors=found.errors,
            examples=self._examples,
            quota=self._quota(session),
            sdk_url=self._sdk_url,
        )

    def _quota(self, session: Session) -> dict[str, int] | None:
        queue = self._state.queue
        if queue is None:
            return None
        used = sum(entry.user == session.user for entry in (*queue.running, *queue.waiting))
        return {"used": used, "limit": queue.limits.of(session.user)}


def _in_parts(request: Request) -> bool:
    """Whether a script asks, which puts the parts into the page that it has."""
    return request.headers.get("x-parts") == "upload"


def _without_name(error: Error, place: str) -> Error:
    """Return the error as it stands beside its field, which has the name."""
    named = f"parameter {place.removeprefix(PARAMETER)!r}: "
    return error.model_copy(update={"message": error.message.removeprefix(named)})


def _parameter_of(error: Error) -> str | None:
    """Return the form's field of the parameter that an error of the hub is about."""
    where = error.details.get("field")
    if isinstance(where, str) and where.startswith(_OF_PARAMETERS):
        return PARAMETER + where.removeprefix(_OF_PARAMETERS)
    return None
