"""Tokens for scripts: administrators have them admitted and revoked, portals read which are.

What the holder of a token sends is made by the portals of the site and never comes here.
"""

from collections.abc import Callable
from datetime import datetime

from broker.messages import MAX_TOKENS, CreateToken, Done, ErrorCode, RevokeToken, Token, Tokens
from broker.requests import Asked
from hub_service.archive import Archive
from hub_service.authority import handle
from hub_service.desk import Desk, audit_of
from hub_service.refusal import RefusedError


class TokenBook:
    """The tokens that are admitted.

    Args:
        desk: Remembers answers.
        archive: Keeps the tokens.
        show: Publishes which are admitted.
        clock: The wall clock, in UTC.
    """

    def __init__(
        self,
        desk: Desk,
        archive: Archive,
        *,
        show: Callable[[Tokens], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._desk = desk
        self._archive = archive
        self._show = show
        self._clock = clock

    async def tell(self) -> None:
        """Publish which tokens are admitted."""
        self._show(Tokens(tokens=tuple(await self._archive.tokens.list(self._clock()))))

    async def create(self, asked: Asked, request: CreateToken) -> Done:
        """Admit a token.

        Raises:
            RefusedError: It would be over already, there are too many, or the id is another's.
        """
        now = self._clock()
        if request.expires_on is not None and request.expires_on <= now:
            raise RefusedError(
                ErrorCode.MALFORMED,
                "expires_on: it has passed",
                "name a time to come, or none",
                field="expires_on",
            )
        known = await self._archive.tokens.get(request.token_id)
        if known is not None:
            return _same(known, request)
        if len(await self._archive.tokens.list(now)) >= MAX_TOKENS:
            raise RefusedError(
                ErrorCode.LIMIT,
                f"there are {MAX_TOKENS} tokens already",
                "revoke those that nobody needs",
                limit=MAX_TOKENS,
            )
        token = Token(
            token_id=request.token_id,
            name=request.name,
            role=request.role,
            created_by=handle(asked),
            created_at=now,
            expires_on=request.expires_on,
        )
        await self._archive.tokens.admit(token, audit_of(asked, "done", None))
        return await self._told(asked, f"the token {token.name} is admitted")

    async def revoke(self, asked: Asked, request: RevokeToken) -> Done:
        """Admit a token no more.

        Raises:
            RefusedError: There is none.
        """
        known = await self._archive.tokens.get(request.token_id)
        if known is None:
            raise RefusedError(
                ErrorCode.NOT_FOUND,
                f"there is no token {request.token_id}",
                "compare the id with the list of tokens",
            )
        token, revoked = known
        if revoked:
            return Done(outcome="unchanged", message=f"the token {token.name} is revoked already")
        await self._archive.tokens.revoke(token.token_id, audit_of(asked, "done", None))
        return await self._told(asked, f"the token {token.name} is revoked")

    async def _told(self, asked: Asked, message: str) -> Done:
        await self.tell()
        done = Done(outcome="done", message=message)
        await self._desk.remember(asked, done)
        return done


def _same(known: tuple[Token, bool], request: CreateToken) -> Done:
    """Return the answer to a repeat.

    Raises:
        RefusedError: It is another token, or was revoked.
    """
    token, revoked = known
    wanted = (request.name, request.role, request.expires_on)
    if revoked or (token.name, token.role, token.expires_on) != wanted:
        raise RefusedError(
            ErrorCode.ID_REUSED,
            f"the id {token.token_id} was used for another token",
            "choose a new id for each token",
        )
    return Done(outcome="unchanged", message=f"the token {token.name} is admitted already")
