"""Tokens for scripts: who holds them, and what they may."""

from enum import StrEnum
from typing import Final

from broker.messages.base import Label, Payload, Time, Ulid
from broker.messages.requests import Request

MAX_TOKENS: Final = 200
"""The most tokens for scripts that are valid at a time."""


class Role(StrEnum):
    """What the holder of a token may."""

    USER = "user"
    ADMINISTRATOR = "administrator"


class CreateToken(Request):
    """Have a token for scripts admitted; its text is made by who asks, and never sent here.

    Attributes:
        token_id: Chosen by the asker; said again with the same fields, nothing changes.
        expires_on: It is refused from then on; absent: never.
    """

    token_id: Ulid
    name: Label
    role: Role = Role.USER
    expires_on: Time | None = None


class RevokeToken(Request):
    """Have a token refused from now on."""

    token_id: Ulid


class Token(Payload):
    """A token for scripts, as the hub admits it; what its holder sends is not in here.

    Attributes:
        created_by: A handle for people.
        expires_on: It is refused from then on; absent: never.
    """

    token_id: Ulid
    name: Label
    role: Role
    created_by: str
    created_at: Time
    expires_on: Time | None = None


class Tokens(Payload):
    """The tokens that are admitted, retained at `hub/tokens`: what is not in it is refused."""

    tokens: tuple[Token, ...] = ()
