"""Tokens for scripts: signed with the site's key, admitted while the hub lists them.

A token's text is shown once, to who had it made, and kept nowhere. It carries an id alone: what its
holder may, and until when, is what the hub says of that id, so a revocation counts at every portal
as soon as the broker has brought it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from itsdangerous import BadSignature
from ulid import ULID

from broker.messages import ContractError, ErrorCode, Role, Token, Tokens, utc_now
from portal.sessions import Session, signer, user_of

SCHEME: Final = "bearer"
_PREFIX: Final = "bioreactor_"
"""So that people, and programs that look for leaked secrets, know what it is."""


class ScriptTokens:
    """Makes and knows tokens.

    Args:
        site_key: Shared by the portals of a site.
        admitted: Returns which are admitted; None while that is not known.
        clock: The wall clock, in UTC.
    """

    def __init__(
        self,
        site_key: bytes,
        admitted: Callable[[], Tokens | None],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._site_key = site_key
        self._signer = signer(site_key, "token")
        self._admitted = admitted
        self._clock = clock

    def new(self) -> tuple[str, str]:
        """Return a fresh id and the token's text, which is worth nothing until it is admitted."""
        token_id = str(ULID())
        return token_id, _PREFIX + str(self._signer.dumps(token_id))

    def session(self, text: str) -> Session:
        """Return whose token it is.

        Raises:
            ContractError: UNAUTHENTICATED, it is not admitted; UNAVAILABLE, nobody knows yet.
        """
        try:
            token_id = self._signer.loads(text.removeprefix(_PREFIX))
        except BadSignature:
            raise _refused("it was not made by a portal of this site") from None
        admitted = self._admitted()
        if admitted is None:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                "which tokens are admitted is not known yet",
                "it is as soon as the hub answers; try again",
            )
        token = next((t for t in admitted.tokens if t.token_id == token_id), None)
        if token is None:
            raise _refused("it was revoked, or has expired")
        if token.expires_on is not None and token.expires_on <= self._clock():
            raise _refused(f"it expired on {token.expires_on:%Y-%m-%d %H:%M} UTC")
        return self._session(token)

    def _session(self, token: Token) -> Session:
        user = user_of(self._site_key, "token", token.token_id)
        return Session(user, token.name, admin=token.role is Role.ADMINISTRATOR)


def bearer(authorization: str | None) -> str | None:
    """Return the token of an `Authorization` header, None if it has none: of another scheme."""
    scheme, _, text = (authorization or "").partition(" ")
    return text.strip() if scheme.lower() == SCHEME else None


def _refused(why: str) -> ContractError:
    return ContractError(
        ErrorCode.UNAUTHENTICATED,
        f"the token is not admitted: {why}",
        "an administrator can make a new one",
    )
