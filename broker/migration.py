"""Bringing a database's schema up to date: once, in one transaction, with a backup beside it.

The backup is whole under its name or not there: it is made under another name, synced, then
renamed. A crash at any instant leaves the old schema or the new one, and at most an unfinished
backup, which the next start replaces.
"""

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

PARTIAL: Final = ".partial"
"""Ends the name of a backup that is not whole."""
_PAGES: Final = 4096
"""Copied at a time: with 4 KiB each, 16 MiB."""


class NoRoomError(Exception):
    """The disk has no room for the backup that comes before a migration."""


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    migrations: Sequence[str],
    application_id: int,
    *,
    version: int,
    now: Callable[[], datetime],
    free: Callable[[Path], int],
    backup_needed: bool = True,
) -> None:
    """Apply what is missing.

    Args:
        connection: Open for writing, outside a transaction.
        path: Of the database.
        migrations: For each schema version its statements.
        application_id: Written with the schema.
        version: That the database has; 0 if it is empty.
        now: The wall clock, for the backup's name.
        free: Returns the bytes that a directory's disk has left.
        backup_needed: Whether to go without migrating where the disk has no room for a backup;
            otherwise it is migrated without.

    Raises:
        NoRoomError: Nothing was changed.
        sqlite3.Error: It could not be done; nothing was changed.
        OSError: The backup could not be written; nothing was changed.
    """
    if version:
        try:
            kept = back_up(connection, path, version, now(), free(path.parent))
        except NoRoomError as error:
            if backup_needed:
                raise
            log.warning("%s; the schema is changed without a backup", error)
        else:
            log.info("%s is brought from schema %d to %d; %s has it as it was",
                     path, version, len(migrations), kept)  # fmt: skip
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in migrations[version:]:
            for statement in statements.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {application_id}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def free_bytes(directory: Path) -> int:
    """Return the bytes that a directory's disk has left for us."""
    return shutil.disk_usage(directory).free


def back_up(
    connection: sqlite3.Connection, path: Path, version: int, at: datetime, free: int
) -> Path:
    """Copy a database beside itself; an earlier copy of the same schema is then removed.

    Only a migration that did not end leaves such an earlier copy.

    Returns:
        The copy, durable: ``NAME.schema-V.YYYYMMDDTHHMMSSZ``.

    Raises:
        NoRoomError: It would fill the disk.
    """
    directory, stem = path.parent, f"{path.name}.schema-{version}."
    earlier = list(directory.glob(f"{stem}*"))
    for unfinished in (p for p in earlier if p.name.endswith(PARTIAL)):
        unfinished.unlink()
    (size,) = connection.execute(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    ).fetchone()
    if free < 1.1 * size:
        raise NoRoomError(
            f"the backup of {path} before its schema is changed needs {size / 1e6:.0f} MB, "
            f"{directory} has {free / 1e6:.0f} MB left"
        )
    kept = directory / f"{stem}{at:%Y%m%dT%H%M%SZ}"
    partial = kept.with_name(kept.name + PARTIAL)
    with closing(sqlite3.connect(partial)) as copy:
        partial.chmod(0o600)
        connection.backup(copy, pages=_PAGES)
    _sync(partial, os.O_RDONLY)
    partial.replace(kept)
    _sync(directory, os.O_RDONLY | os.O_DIRECTORY)
    for one in earlier:
        if one != kept:
            one.unlink(missing_ok=True)
    return kept


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
