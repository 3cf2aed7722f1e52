"""What pages post without JavaScript: the answer is the next page, or says what is wrong."""

import time
from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from broker.messages import ContractError, Done, ErrorCode
from portal.access import Asking
from portal.desk import Desk
from portal.errors import error_headers, not_found, status_of
from portal.parameters import changes
from portal.posting import Postbox, Question, number_of, read_form, text_of
from portal.queue_forms import Wanted, changed
from portal.ratelimit import RateLimit
from portal.reader import Reader
from portal.rendering import Renderer
from portal.sessions import Session, Sessions
from portal.state import State

_LOGINS_PER_SECOND: Final = 1 / 12
_LOGIN_BURST_SECONDS: Final = 60.0


class Forms:
    """The commands of the pages.

    Args:
        now: Monotonic seconds, for the pace of logins.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        sessions: Sessions,
        state: State,
        reader: Reader,
        renderer: Renderer,
        postbox: Postbox,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._reader = reader
        self._sessions = sessions
        self._state = state
        self._renderer = renderer
        self._postbox = postbox
        self._logins = RateLimit(_LOGINS_PER_SECOND, now, _LOGIN_BURST_SECONDS)

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        for path, handler in (
            ("/experiment/{experiment_id}/{verb}", self.experiment),
            ("/login", self.login),
            ("/logout", self.logout),
        ):
            router.add_api_route(path, handler, methods=["POST"], response_class=Response)
        return router

    async def experiment(
        self, request: Request, session: Asking, experiment_id: str, verb: str
    ) -> Response:
        """Cancel, pause, resume, move, run now or change parameters."""
        fields = await read_form(request)
        request_id = text_of(fields, "request_id") or None
        done: Done
        match verb:
            case "cancel" | "pause" | "resume":
                if verb == "cancel" and not text_of(fields, "sure"):
                    return self._postbox.ask(request, self._cancel(experiment_id))
                done = await self._desk.command(session, verb, experiment_id)
            case "move":
                position = text_of(fields, "position")
                before, after = text_of(fields, "before"), text_of(fields, "after")
                try:
                    done = await self._desk.move(
                        session,
                        experiment_id,
                        position=_position(position) if position else None,
                        before=before or None,
                        after=after or None,
                        known=number_of(fields, "known", int),
                        request_id=request_id,
                    )
                except ContractError as error:
                    if error.error.code is not ErrorCode.CHANGED_MEANWHILE or position:
                        raise
                    where = "before" if before else "after"
                    wanted = Wanted((experiment_id,), where, before or after)
                    return changed(self._postbox, request, error, wanted)
            case "run-now":
                done = await self._desk.run_now(
                    session,
                    experiment_id,
                    node=text_of(fields, "node") or None,
                    stop_running=bool(text_of(fields, "stop_running")),
                    stops=text_of(fields, "stops") or None,
                    request_id=request_id,
                )
            case "parameters":
                done = await self._parameters(session, experiment_id, fields)
            case _:
                raise not_found("this command")
        return self._postbox.done(request, done.message, f"/experiment/{experiment_id}")

    async def _parameters(self, session: Session, experiment_id: str, fields: FormData) -> Done:
        got = await self._reader.get(session, experiment_id)
        texts = {key: text_of(fields, key) for key in fields}
        chosen, expected = changes(got.info.parameters if got.info else (), texts)
        if not chosen:
            return Done(outcome="unchanged", message="no parameter was changed")
        return await self._desk.send(session, experiment_id, chosen, expected)

    async def login(self, request: Request, session: Asking) -> Response:
        """Give the session an administrator's rights for half a day."""
        fields = await read_form(request)
        try:
            password = fields.get("password")  # as it is: blanks belong to it
            self._log_in(request, session, password if isinstance(password, str) else "")
        except ContractError as refused:
            response = self._renderer.page(
                request,
                "login",
                "login.html",
                status_of(refused.error),
                errors={"password": refused.error},
            )
            response.headers.update(error_headers(response.status_code, refused.error))
            return response
        told = "You are an administrator for the next 12 hours."
        return self._postbox.done(request, told, "/admin")

    async def logout(self, request: Request, session: Asking) -> Response:  # noqa: ARG002 - needs one
        """Give the administrator's rights back."""
        if hasattr(request.state, "ticket"):
            request.state.ticket = self._sessions.logged_out(request.state.ticket)
        return self._postbox.done(request, "You are no administrator any more.", "/")

    def _cancel(self, experiment_id: str) -> Question:
        known = self._state.experiment(experiment_id)
        what = f"“{known.name}” of {known.owner}" if known else f"the experiment {experiment_id}"
        waits = known is not None and known.node is None
        return Question(
            page="experiment",
            title="Cancel this experiment?",
            text=f"It is {what}. "
            + (
                "It leaves the queue."
                if waits
                else "The script is asked to stop and the reactor is made safe. What it measured "
                "and saved so far is kept."
            )
            + " This cannot be undone.",
            ok="Cancel the experiment",
            back=f"/experiment/{experiment_id}",
        )

    def _log_in(self, request: Request, session: Session, password: str) -> None:
        address = request.client.host if request.client else ""
        wait = self._logins.wait_of(address)
        if wait:
            raise ContractError(
                ErrorCode.RATE_LIMIT,
                "too many tries",
                f"try again in {round(wait) + 1} s",
                retry_after=round(wait) + 1,
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


def _position(text: str) -> int:
    try:
        return max(1, int(text))
    except ValueError as error:
        raise ContractError(
            ErrorCode.MALFORMED, f"{text[:20]!r} is no position", "1 is next"
        ) from error
