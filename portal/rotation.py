"""Which cookies have been replaced: what a portal must remember so that an old one dies.

A cookie is signed again now and then, each time with the next serial number. Once a browser has
shown the next one, the ones before are good for a moment more, for what was on its way, and then
never again: a copy that somebody took is worth nothing from the owner's next visit on. Until then
the old one is good: the answer that brought the new one may have been lost.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.database import open_database

_log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 60.0
"""How long an older cookie is still good after a newer one was shown."""
_FORGET_SECONDS: Final = 400 * 86400.0
"""What was not touched for so long is forgotten: no browser keeps a cookie for longer."""
_APPLICATION: Final = 0x42525057
_MIGRATIONS: Final = (
    """
    CREATE TABLE cookies (
        user TEXT PRIMARY KEY,
        serial INTEGER NOT NULL,
        shown_at REAL NOT NULL,
        logged_out INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
)


class Rotation:
    """Remembers the newest cookie of each user that had more than one; small and rarely written.

    Args:
        path: Of the database; portals that share it know the same.
        now: Unix time in seconds.

    Raises:
        DatabaseError: It cannot be used.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._database = open_database(path, _MIGRATIONS, _APPLICATION, backup_needed=False)
        self._database.execute("PRAGMA synchronous = NORMAL")  # no request waits for the disk
        self._write("DELETE FROM cookies WHERE shown_at < ?", now() - _FORGET_SECONDS)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def shown(self, user: str, serial: int) -> bool:
        """Take note of a cookie that was shown; return whether it is still good."""
        newest, at, _ = self._known(user)
        if serial > newest:
            self._write(
                "INSERT INTO cookies VALUES (?, ?, ?, -1) ON CONFLICT (user)"
                " DO UPDATE SET serial = excluded.serial, shown_at = excluded.shown_at",
                user,
                serial,
                self._now(),
            )
            return True
        return serial == newest or self._now() - at <= GRACE_SECONDS

    def log_out(self, user: str, serial: int) -> None:
        """End the administrator's rights of this cookie and all before it, at once."""
        self._write(
            "INSERT INTO cookies VALUES (?, 0, ?, ?) ON CONFLICT (user)"
            " DO UPDATE SET logged_out = max(logged_out, excluded.logged_out)",
            user,
            self._now(),
            serial,
        )

    def logged_out(self, user: str, serial: int) -> bool:
        """Whether a cookie's administrator's rights were given back."""
        return serial <= self._known(user)[2]

    def _known(self, user: str) -> tuple[int, float, int]:
        row = self._database.execute(
            "SELECT serial, shown_at, logged_out FROM cookies WHERE user = ?", (user,)
        ).fetchone()
        return (0, 0.0, -1) if row is None else (int(row[0]), float(row[1]), int(row[2]))

    def _write(self, statement: str, *values: str | float) -> None:
        """Write, if the disk lets us: people stay who they are even where it is full."""
        try:
            with self._database:
                self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            _log.warning("which cookies were replaced cannot be written: %s", error)
