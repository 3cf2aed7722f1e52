"""What the administrators' pages post. They need no JavaScript, and have none of their own."""

from datetime import datetime, timedelta
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from broker.messages import ContractError, ErrorCode, Role, utc_now
from portal.access import Asking
from portal.admin_pages import AdminPages
from portal.asking import need_admin
from portal.compression import CONFIDENTIAL
from portal.desk import Desk
from portal.errors import not_found
from portal.posting import Postbox, Question, number_of, read_form, text_of
from portal.reader import Reader
from portal.state import State
from portal.tokens import ScriptTokens

_LONGEST_DAYS: Final = 3660


class AdminForms:
    """The commands of the pages below `/admin`."""

    def __init__(
        self,
        desk: Desk,
        reader: Reader,
        *,
        state: State,
        tokens: ScriptTokens,
        pages: AdminPages,
        postbox: Postbox,
    ) -> None:
        self._desk = desk
        self._reader = reader
        self._state = state
        self._tokens = tokens
        self._pages = pages
        self._postbox = postbox

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        for path, handler in (
            ("/admin/limits", self.limits),
            ("/admin/users", self.user),
            ("/admin/retention", self.retention),
            ("/admin/tokens", self.create),
            ("/admin/tokens/{token_id}/revoke", self.revoke),
        ):
            router.add_api_route(path, handler, methods=["POST"], response_class=Response)
        return router

    async def limits(self, request: Request, session: Asking) -> Response:
        """Change everybody's limits."""
        fields = await read_form(request)
        hours = number_of(fields, "max_hours", float)
        held = number_of(fields, "max_pause_hours", float)
        done = await self._desk.limits(
            session,
            per_user=number_of(fields, "per_user", int),
            max_duration=None if hours is None else 3600.0 * hours,
            max_pause=None if held is None else 3600.0 * held,
        )
        return self._postbox.done(request, done.message, "/admin/users")

    async def user(self, request: Request, session: Asking) -> Response:
        """Give one user a limit of their own, or everybody's again."""
        fields = await read_form(request)
        done = await self._desk.limits(
            session, user=text_of(fields, "user"), per_user=number_of(fields, "per_user", int)
        )
        return self._postbox.done(request, done.message, "/admin/users")

    async def retention(self, request: Request, session: Asking) -> Response:
        """Say how long finished experiments are kept, after telling what that deletes."""
        fields = await read_form(request)
        days = number_of(fields, "days", int)
        if days is not None and not text_of(fields, "sure"):
            return self._postbox.ask(request, await self._question(session, days))
        done = await self._desk.retention(session, days)
        return self._postbox.done(request, done.message, "/admin/retention")

    async def _question(self, session: Asking, days: int) -> Question:
        due = await self._reader.due(session, days)
        if due.oldest is None:
            now = "Nothing is that old: nothing is deleted now."
        else:
            what = "1 experiment is" if due.count == 1 else f"{due.count} experiments are"
            now = (
                f"{what} deleted now with all data and results; the oldest ended on "
                f"{due.oldest:%Y-%m-%d}. This cannot be undone: export first what is still needed."
            )
        return Question(
            page="admin",
            title=f"Delete finished experiments {days} days after their end?",
            text=f"{now} From then on each is deleted when it is {days} days old.",
            ok=f"Delete {due.count} and go on so" if due.count else f"Keep them for {days} days",
            back="/admin/retention",
            fields={"days": (str(days),)},
        )

    async def create(self, request: Request, session: Asking) -> Response:
        """Make a token and show it, this once."""
        need_admin(session, "make tokens")
        fields = await read_form(request)
        token_id, text = self._tokens.new()
        made = await self._desk.create_token(
            session,
            token_id,
            name=text_of(fields, "name"),
            role=Role.ADMINISTRATOR if text_of(fields, "role") == Role.ADMINISTRATOR else Role.USER,
            expires_on=_in_days(number_of(fields, "days", int)),
        )
        page = self._pages.tokens_page(request, made, text, 201)
        page.headers["Cache-Control"] = CONFIDENTIAL
        return page

    async def revoke(self, request: Request, session: Asking, token_id: str) -> Response:
        """Refuse a token from now on."""
        need_admin(session, "revoke tokens")
        fields = await read_form(request)
        if not text_of(fields, "sure"):
            known = self._state.tokens
            token = (
                next((t for t in known.tokens if t.token_id == token_id), None) if known else None
            )
            if token is None:
                raise not_found("this token", "it may have been revoked already")
            question = Question(
                page="admin",
                title=f"Revoke the token “{token.name}”?",
                text="Scripts that use it are refused from now on. A new one can be made, this one "
                "never comes back.",
                ok="Revoke it",
                back="/admin/tokens",
            )
            return self._postbox.ask(request, question)
        done = await self._desk.revoke_token(session, token_id)
        return self._postbox.done(request, done.message, "/admin/tokens")


def _in_days(days: int | None) -> datetime | None:
    if days is None:
        return None
    if not 1 <= days <= _LONGEST_DAYS:
        raise ContractError(
            ErrorCode.MALFORMED,
            f"a token is valid for 1 to {_LONGEST_DAYS} days, or for ever",
            "choose one of the durations",
        )
    return utc_now() + timedelta(days=days)
