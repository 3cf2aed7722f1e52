"""The pages of who looks after the laboratory."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from broker.messages import Audited, ContractError, Role, Storage, Token, UsersOf, utc_now
from portal.access import Asking
from portal.audit_csv import rows
from portal.downloads import disposition
from portal.errors import UNREACHABLE
from portal.health_views import findings, versions_of
from portal.reader import Reader
from portal.rendering import Renderer
from portal.security import FILE_SECURITY_POLICY
from portal.sessions import Session
from portal.state import State

AUDIT_PAGE: Final = 50
_CSV_PAGE: Final = 200
_CSV_MOST: Final = 100_000
_Text = Annotated[str, Query(max_length=120)]


class AdminPages:
    """All pages below `/admin`; `admin_forms.py` has what they post."""

    def __init__(
        self,
        reader: Reader,
        state: State,
        renderer: Renderer,
        *,
        login: bool,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._reader = reader
        self._state = state
        self._renderer = renderer
        self._login = login
        self._clock = clock

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        for path, handler in (
            ("/admin", self.laboratory),
            ("/admin/users", self.users),
            ("/admin/retention", self.retention),
            ("/admin/tokens", self.tokens),
            ("/admin/audit", self.audit),
            ("/admin/audit.csv", self.audit_csv),
        ):
            router.add_api_route(path, handler, methods=["GET"], response_class=Response)
        return router

    async def laboratory(self, request: Request, session: Asking) -> Response:
        """Show how everything is: services, disk, reactors, images."""
        if not session.admin:
            return RedirectResponse("/login", 303)
        storage: Storage | None = None
        try:
            storage = await self._reader.storage(session)
        except ContractError as error:
            if error.error.code not in UNREACHABLE:
                raise
        versions = versions_of(self._state)
        return self.page(
            request,
            "laboratory",
            partial=storage is None,
            findings=findings(self._state, storage, self._clock(), versions),
            versions=versions,
        )

    async def users(self, request: Request, session: Asking, after: _Text = "") -> Response:
        """Show who has what, and their limits."""
        if not session.admin:
            return RedirectResponse("/login", 303)
        found: UsersOf | None = None
        try:
            found = await self._reader.users(session, after or None)
        except ContractError as error:
            if error.error.code not in UNREACHABLE:
                raise
        return self.page(request, "users", partial=found is None, found=found, after=after)

    async def retention(self, request: Request, session: Asking) -> Response:
        """Show how long finished experiments are kept."""
        if not session.admin:
            return RedirectResponse("/login", 303)
        return self.page(request, "retention")

    async def tokens(self, request: Request, session: Asking) -> Response:
        """Show the tokens that scripts are admitted by."""
        if not session.admin:
            return RedirectResponse("/login", 303)
        return self.tokens_page(request)

    def tokens_page(
        self, request: Request, made: Token | None = None, text: str = "", code: int = 200
    ) -> Response:
        """Return the page of tokens; with one that was made just now, its text this once."""
        known = self._state.tokens
        return self.page(
            request,
            "tokens",
            code=code,
            tokens=known.tokens if known is not None else None,
            made=made,
            text=text,
            roles=list(Role),
            address=str(request.base_url).rstrip("/"),
            now=self._clock(),
        )

    async def audit(
        self,
        request: Request,
        session: Asking,
        *,
        who: _Text = "",
        verb: _Text = "",
        experiment: _Text = "",
        before: Annotated[int | None, Query(ge=1)] = None,
    ) -> Response:
        """Show who did what."""
        if not session.admin:
            return RedirectResponse("/login", 303)
        found: Audited | None = None
        wrong = None
        try:
            page = self._audit(session, who, verb, experiment, AUDIT_PAGE)
            found = await page(before)
        except ContractError as error:
            wrong = error.error
        return self.page(
            request,
            "audit",
            partial=wrong is not None and wrong.code in UNREACHABLE,
            audit=found,
            wrong=wrong,
            before=before,
            filters={"who": who, "verb": verb, "experiment": experiment},
        )

    async def audit_csv(
        self, session: Asking, *, who: _Text = "", verb: _Text = "", experiment: _Text = ""
    ) -> Response:
        """Download the audit, as much of it as the asker may see."""
        page = self._audit(session, who, verb, experiment, _CSV_PAGE)
        first = await page(None)  # so that a refusal is told as one, not by a torn file

        async def pages(before: int | None) -> Audited:
            return first if before is None else await page(before)

        headers = {
            "Content-Disposition": disposition("audit.csv"),
            "Content-Security-Policy": FILE_SECURITY_POLICY,
        }
        return StreamingResponse(rows(pages, _CSV_MOST), media_type="text/csv", headers=headers)

    def page(
        self,
        request: Request,
        tab: str,
        code: int = 200,
        *,
        partial: bool = False,
        **context: object,
    ) -> Response:
        """Return one of the pages."""
        return self._renderer.page(
            request,
            "admin",
            f"admin_{tab}.html",
            code,
            partial=partial,
            tab=tab,
            login=self._login,
            **context,
        )

    def _audit(
        self, session: Session, who: str, verb: str, experiment: str, limit: int
    ) -> Callable[[int | None], Awaitable[Audited]]:
        asked = partial(
            self._reader.audit,
            session,
            experiment_id=experiment or None,
            verb=verb or None,
            who=who or None,
            limit=limit,
        )
        return lambda before: asked(before=before)
