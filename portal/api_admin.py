"""REST: who did what, who has what, and the tokens that scripts are admitted by."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from broker.messages import (
    MAX_KEEP_DAYS,
    Audited,
    ContractError,
    DueOf,
    ErrorCode,
    Storage,
    UsersOf,
)
from portal.access import ERRORS, Asking, as_json
from portal.api import commanded
from portal.asking import need_admin
from portal.compression import CONFIDENTIAL
from portal.desk import Desk
from portal.reader import Reader
from portal.state import State
from portal.tokens import ScriptTokens
from portal.views import Commanded, TokenMade, TokenRequest, TokensOf, freshness


class AdminApi:
    """The calls under `/api/audit`, `/api/admin` and `/api/tokens`."""

    def __init__(self, desk: Desk, reader: Reader, state: State, tokens: ScriptTokens) -> None:
        self._desk = desk
        self._reader = reader
        self._state = state
        self._tokens = tokens

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/api", tags=["administration"], responses=ERRORS)
        add = router.add_api_route
        add("/audit", self.audit, methods=["GET"], response_model=Audited)
        add("/admin/users", self.users, methods=["GET"], response_model=UsersOf)
        add("/admin/storage", self.storage, methods=["GET"], response_model=Storage)
        add("/admin/retention", self.due, methods=["GET"], response_model=DueOf)
        add("/tokens", self.list_tokens, methods=["GET"], response_model=TokensOf)
        add("/tokens", self.create_token, methods=["POST"], response_model=TokenMade)
        add("/tokens/{token_id}", self.revoke_token, methods=["DELETE"], response_model=Commanded)
        return router

    async def audit(
        self,
        session: Asking,
        *,
        experiment: Annotated[str | None, Query(description="Only of this one, by id.")] = None,
        verb: Annotated[str | None, Query(description="Only this, for example `cancel`.")] = None,
        who: Annotated[str | None, Query(description="Only of this handle or user.")] = None,
        before: Annotated[int | None, Query(ge=1, description="The `next` of a page.")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Response:
        """Tell who did what, newest first; administrators are told all of it."""
        page = await self._reader.audit(
            session, experiment_id=experiment, verb=verb, who=who, before=before, limit=limit
        )
        return as_json(page)

    async def users(
        self,
        session: Asking,
        after: Annotated[str | None, Query(description="The `next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 100,
    ) -> Response:
        """List users: what they have and had, and their limits. Administrators only."""
        return as_json(await self._reader.users(session, after, limit))

    async def storage(self, session: Asking) -> Response:
        """Tell how full the hub's disk is. Administrators only."""
        return as_json(await self._reader.storage(session))

    async def due(
        self, session: Asking, days: Annotated[int, Query(ge=1, le=MAX_KEEP_DAYS)]
    ) -> Response:
        """Tell what a retention of so many days would delete now. Administrators only."""
        return as_json(await self._reader.due(session, days))

    async def list_tokens(self, session: Asking) -> Response:
        """List the tokens that are admitted, without their text. Administrators only."""
        need_admin(session, "see the tokens")
        known = self._state.tokens
        if known is None:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                "the tokens are not known yet",
                "they are as soon as the hub answers; is it running?",
            )
        return as_json(TokensOf(tokens=known.tokens, freshness=freshness(self._state)))

    async def create_token(self, session: Asking, body: TokenRequest) -> Response:
        """Make a token: send it as `Authorization: Bearer …`. It is shown this once.

        Administrators only.
        """
        token_id, text = self._tokens.new()
        made = await self._desk.create_token(
            session, token_id, name=body.name, role=body.role, expires_on=body.expires_on
        )
        answer = as_json(TokenMade(**made.model_dump(), token=text))
        answer.headers["Cache-Control"] = CONFIDENTIAL
        return answer

    async def revoke_token(self, session: Asking, token_id: str) -> Response:
        """Refuse a token from now on. Administrators only."""
        return commanded(await self._desk.revoke_token(session, token_id))
