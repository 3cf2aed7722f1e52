"""What pages post without JavaScript: the answer is the next page, or says what is wrong."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from broker.messages import ContractError, Done, ErrorCode
from portal.access import Asking
from portal.desk import Desk
from portal.errors import not_found, status_of
from portal.estop import EmergencyStop
from portal.flash import Flash, Flashes
from portal.ratelimit import RateLimit
from portal.rendering import Renderer
from portal.sessions import Session, Sessions

_LOGINS_PER_SECOND: Final = 1 / 12
_LOGIN_BURST_SECONDS: Final = 60.0
_MAX_FIELDS: Final = 50
_N = TypeVar("_N", int, float)


class Forms:
    """The commands of the pages.

    Args:
        now: Monotonic seconds, for the pace of logins.
    """

    def __init__(
        self,
        desk: Desk,
        estop: EmergencyStop,
        sessions: Sessions,
        renderer: Renderer,
        flashes: Flashes,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._estop = estop
        self._sessions = sessions
        self._renderer = renderer
        self._flashes = flashes
        self._logins = RateLimit(_LOGINS_PER_SECOND, now, _LOGIN_BURST_SECONDS)

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        for path, handler in (
            ("/experiment/{experiment_id}/{verb}", self.experiment),
            ("/queue/{verb}", self.queue),
            ("/nodes/{node}/{verb}", self.node),
            ("/login", self.login),
            ("/logout", self.logout),
        ):
            router.add_api_route(path, handler, methods=["POST"], response_class=Response)
        return router

    async def experiment(
        self, request: Request, session: Asking, experiment_id: str, verb: str
    ) -> Response:
        """Cancel, pause, resume, move or run now."""
        fields = await read_form(request)
        request_id = text_of(fields, "request_id") or None
        done: Done
        match verb:
            case "cancel" | "pause" | "resume":
                done = await self._desk.command(session, verb, experiment_id)
            case "move":
                position = text_of(fields, "position")
                done = await self._desk.move(
                    session,
                    experiment_id,
                    position=_position(position) if position else None,
                    before=text_of(fields, "before") or None,
                    after=text_of(fields, "after") or None,
                    request_id=request_id,
                )
            case "run-now":
                done = await self._desk.run_now(
                    session,
                    experiment_id,
                    node=text_of(fields, "node") or None,
                    stop_running=bool(text_of(fields, "stop_running")),
                    request_id=request_id,
                )
            case _:
                raise not_found("this command")
        return self.done(request, done.message, f"/experiment/{experiment_id}")

    async def queue(self, request: Request, session: Asking, verb: str) -> Response:
        """Pause, resume or drain the queue, or change its limits."""
        fields = await read_form(request)
        match verb:
            case "pause" | "resume" | "drain":
                done = await self._desk.posture(session, verb)
            case "limits":
                per_user = _number(text_of(fields, "per_user"), int)
                hours = _number(text_of(fields, "max_hours"), float)
                max_duration = None if hours is None else 3600.0 * hours
                done = await self._desk.limits(
                    session, per_user=per_user, max_duration=max_duration
                )
            case "retention":
                days = _number(text_of(fields, "days"), int)
                done = await self._desk.retention(session, days)
            case _:
                raise not_found("this command")
        return self.done(request, done.message, "/queue")

    async def node(self, request: Request, session: Asking, node: str, verb: str) -> Response:
        """Engage or release a reactor's emergency stop, drain it, give it up or back."""
        fields = await read_form(request)
        match verb:
            case "estop":
                message = await self._estop.engage(session, node, text_of(fields, "reason")[:120])
            case "estop-release":
                latch = text_of(fields, "latch") or None
                message = await self._estop.release(session, node, latch)
            case "drain":
                message = (await self._desk.drain_node(session, node)).message
            case "resume":
                message = (await self._desk.resume_node(session, node)).message
            case "declare-dead":
                power_is_off = bool(text_of(fields, "power_is_off"))
                done = await self._desk.declare_dead(session, node, power_is_off=power_is_off)
                message = done.message
            case _:
                raise not_found("this command")
        return self.done(request, message, f"/nodes/{node}")

    async def login(self, request: Request, session: Asking) -> Response:
        """Give the session an administrator's rights for half a day."""
        fields = await read_form(request)
        try:
            self._log_in(request, session, text_of(fields, "password"))
        except ContractError as refused:
            return self._renderer.page(
                request,
                "login",
                "login.html",
                status_of(refused.error),
                errors={"password": refused.error},
            )
        return self.done(request, "You are an administrator for the next 12 hours.", "/")

    async def logout(self, request: Request, session: Asking) -> Response:  # noqa: ARG002 - needs one
        """Give the administrator's rights back."""
        if hasattr(request.state, "ticket"):
            request.state.ticket = self._sessions.logged_out(request.state.ticket)
        return self.done(request, "You are no administrator any more.", "/")

    def done(self, request: Request, message: str, default: str) -> Response:
        """Go back to the page that the form stands on, and say there what was done."""
        response = RedirectResponse(_page_of(request) or default, HTTPStatus.SEE_OTHER)
        self._flashes.leave(request, response, Flash("ok", message))
        return response

    def _log_in(self, request: Request, session: Session, password: str) -> None:
        address = request.client.host if request.client else ""
        wait = self._logins.wait_of(address)
        if wait:
            raise ContractError(
                ErrorCode.RATE_LIMIT, "too many tries", f"try again in {round(wait) + 1} s"
            )
        ticket = getattr(request.state, "ticket", None)
        better = self._sessions.logged_in(ticket, password) if ticket is not None else None
        if better is None:
            raise ContractError(
                ErrorCode.FORBIDDEN,
                f"{session.handle}, this is not the administrator's password",
                "it is admin_password in the portal's settings",
            )
        request.state.ticket = better


async def read_form(request: Request) -> FormData:
    """Return the fields of a form without files, of bounded number."""
    return await request.form(max_files=0, max_fields=_MAX_FIELDS)


def text_of(fields: FormData, name: str) -> str:
    """Return a field's text, empty if it is absent."""
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""


def _position(text: str) -> int:
    try:
        return max(1, int(text))
    except ValueError as error:
        raise ContractError(
            ErrorCode.MALFORMED, f"{text[:20]!r} is no position", "1 is next"
        ) from error


def _number(text: str, kind: Callable[[str], _N]) -> _N | None:
    """Return a field's number, None if it is empty."""
    if not text:
        return None
    try:
        return kind(text)
    except ValueError as error:
        raise ContractError(
            ErrorCode.MALFORMED, f"{text[:20]!r} is no number that fits here", "write digits only"
        ) from error


def _page_of(request: Request) -> str | None:
    """Return the path of the page that a form was sent from, if it is one of ours."""
    parts = urlsplit(request.headers.get("referer", ""))
    ours = parts.netloc == request.headers.get("host")
    if not ours or not parts.path.startswith("/") or parts.path.startswith(("//", "/\\")):
        return None
    if parts.path == "/login":
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
