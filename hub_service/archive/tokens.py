"""The tokens for scripts that are admitted; who holds one is not known here."""

import sqlite3
from datetime import datetime
from functools import partial
from typing import Any, Final

from broker.database import Transaction
from broker.messages import Role, Token
from hub_service.archive import audits
from hub_service.archive.audits import Audit
from hub_service.archive.outbox import Read, Write
from hub_service.archive.runs import micros, moment

_COLUMNS: Final = "token_id, name, role, created_by, created_at, expires_on"


class AdmittedTokens:
    """The tokens, each change with its audit in one transaction.

    Args:
        write: Runs a job on the archive's writer.
        read: Runs a query.
    """

    def __init__(self, write: Write, read: Read) -> None:
        self._write = write
        self._read = read

    async def get(self, token_id: str) -> tuple[Token, bool] | None:
        """Return a token, and whether it was revoked."""
        return await self._read(partial(_get, token_id=token_id))

    async def list(self, now: datetime) -> list[Token]:
        """Return the tokens that are admitted, the oldest first."""
        return await self._read(partial(_admitted, now=now))

    async def admit(self, token: Token, noted: Audit) -> None:
        """Admit a token that is not known yet."""
        row = audits.row_of(noted)

        def admit(transaction: Transaction) -> None:
            _put(transaction.connection, token)
            audits.put(transaction.connection, row)

        await self._write(admit)

    async def revoke(self, token_id: str, noted: Audit) -> None:
        """Admit a token no more."""
        row = audits.row_of(noted)

        def revoke(transaction: Transaction) -> None:
            connection = transaction.connection
            connection.execute("UPDATE tokens SET revoked = 1 WHERE token_id = ?", (token_id,))
            audits.put(connection, row)

        await self._write(revoke)


def _put(connection: sqlite3.Connection, token: Token) -> None:
    expires = None if token.expires_on is None else micros(token.expires_on)
    connection.execute(
        f"INSERT INTO tokens ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608  constants
        (
            token.token_id,
            token.name,
            token.role.value,
            token.created_by,
            micros(token.created_at),
            expires,
        ),
    )


def _get(connection: sqlite3.Connection, token_id: str) -> tuple[Token, bool] | None:
    row = connection.execute(
        f"SELECT {_COLUMNS}, revoked FROM tokens WHERE token_id = ?",  # noqa: S608  constants
        (token_id,),
    ).fetchone()
    return None if row is None else (_token(*row[:-1]), bool(row[-1]))


def _admitted(connection: sqlite3.Connection, now: datetime) -> list[Token]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM tokens WHERE NOT revoked"  # noqa: S608  constants
        " AND ifnull(expires_on > ?, TRUE) ORDER BY created_at, token_id",
        (micros(now),),
    )
    return [_token(*row) for row in rows]


def _token(*row: Any) -> Token:
    *said, created_at, expires_on = row
    token_id, name, role, created_by = said
    return Token(
        token_id=token_id,
        name=name,
        role=Role(role),
        created_by=created_by,
        created_at=moment(created_at),
        expires_on=None if expires_on is None else moment(expires_on),
    )
