"""Tokens for scripts, as a portal judges them."""

from datetime import timedelta

import pytest

from broker.messages import ContractError, ErrorCode, Role, Token, Tokens, utc_now
from portal.tokens import ScriptTokens, bearer

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
NOW = utc_now()


class Site:
    def __init__(self) -> None:
        self.admitted: Tokens | None = Tokens()
        self.tokens = ScriptTokens(KEY, lambda: self.admitted, lambda: NOW)

    def admit(self, role: Role = Role.USER, *, expires_in: float | None = None) -> str:
        token_id, text = self.tokens.new()
        expires = None if expires_in is None else NOW + timedelta(seconds=expires_in)
        token = Token(
            token_id=token_id,
            name="Plate reader",
            role=role,
            created_by="teal-heron",
            created_at=NOW,
            expires_on=expires,
        )
        self.admitted = Tokens(tokens=(token,))
        return text

    def refusal(self, text: str) -> ErrorCode:
        with pytest.raises(ContractError) as refused:
            self.tokens.session(text)
        return refused.value.error.code


def test_a_token_is_a_user_of_its_own() -> None:
    site = Site()
    text = site.admit()
    session = site.tokens.session(text)
    assert (session.handle, session.admin) == ("Plate reader", False)
    assert session == site.tokens.session(text)
    assert session.user != site.tokens.session(site.admit(Role.ADMINISTRATOR)).user
    assert site.tokens.session(site.admit(Role.ADMINISTRATOR)).admin
    assert site.tokens.session(site.admit(expires_in=1)).handle


def test_what_is_not_admitted() -> None:
    site = Site()
    assert site.refusal(site.tokens.new()[1]) is ErrorCode.UNAUTHENTICATED
    assert site.refusal(site.admit(expires_in=0)) is ErrorCode.UNAUTHENTICATED
    text = site.admit()
    other = ScriptTokens(OTHER_KEY, lambda: site.admitted, lambda: NOW)
    with pytest.raises(ContractError, match="not made by a portal of this site"):
        other.session(text)
    for forged in ("", "x", "bioreactor_", text + "x", text[:-1]):
        assert site.refusal(forged) is ErrorCode.UNAUTHENTICATED
    site.admitted = None  # the portal has just started, and the hub is away
    assert site.refusal(text) is ErrorCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("header", "token"),
    [(None, None), ("", None), ("Basic eDp5", None), ("Bearer a.b", "a.b"), ("bearer  c", "c")],
)
def test_only_bearer_tokens_are_ours(header: str | None, token: str | None) -> None:
    assert bearer(header) == token
