"""A copy of a hub's directory that is one moment of it, taken while the hub serves.

Queue and archive are files of their own, so the moment is found, not made: the archive's snapshot
(SQLite's, of a reading transaction) is opened between two looks at the queue, and holds if the
queue was the same at both. What is copied then is what a crash in that moment would have left,
which is what the hub starts from every time. Result files never change; one that was deleted
meanwhile makes the copy begin again.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from broker.database import is_full, open_reader
from broker.doorbook import FILE as DOORBOOK
from hub_service.archive.archive import DATABASE
from hub_service.archive.blobs import Blobs
from hub_service.checking.findings import Progress, told
from hub_service.checking.records import open_archive
from hub_service.store import FILE

PRIVATE: Final = ("client.id", "journal-client.id", "requests-client.id", DOORBOOK)
"""Small files beside the queue that a hub goes on with."""
PREFIX: Final = "hub-"
DRAFT: Final = ".partial"

_LOOKS: Final = 1000
_ATTEMPTS: Final = 3
_PAGES: Final = 1024
"""Of the database between two words on how far the copy is."""
_SPARE: Final = 16 * 1024**2


class BackupError(Exception):
    """There is no backup; one sentence that says why and what to do."""


class _DeletedMeanwhileError(Exception):
    """A result file went while the copy was made."""


def back_up(
    directory: Path, into: Path, now: datetime, progress: Progress, *, running: bool
) -> Path:
    """Copy a hub's directory.

    Args:
        directory: The hub's.
        into: Where backups are kept; made if need be.
        now: Names the copy.
        progress: Is told how far it is.
        running: Whether a hub serves there; otherwise the caller keeps hubs out.

    Returns:
        The copy, durable and complete: it has its name only then.

    Raises:
        BackupError: It cannot be made; what was begun is removed.
    """
    place = into / f"{PREFIX}{now:%Y%m%dT%H%M%SZ}"
    draft = place.with_name(place.name + DRAFT)
    if place.exists():
        raise BackupError(f"{place} is there already: wait a second")
    if into.resolve().is_relative_to(directory.resolve()):
        raise BackupError(f"{into} is inside of {directory}: keep backups elsewhere")
    try:
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            try:
                _copy(directory, draft, progress, running=running)
            except _DeletedMeanwhileError:
                continue
            _sync_tree(draft)
            draft.rename(place)
            _sync(into)
            return place
    except (OSError, sqlite3.Error) as error:
        if is_full(error):
            raise BackupError(f"no space for the backup in {into}: make room there") from error
        why = error.strerror if isinstance(error, OSError) else str(error)
        where = getattr(error, "filename", None) or directory
        raise BackupError(f"{where}: {why}; no backup was made") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    raise BackupError("results were deleted all the time while they were copied: try again")


def forget_old(into: Path, keep: int) -> list[Path]:
    """Delete all but the newest backups of a folder, and drafts; return what went."""
    made = sorted(path for path in into.glob(f"{PREFIX}*Z") if path.is_dir())
    old = [*made[: max(0, len(made) - keep)], *into.glob(f"{PREFIX}*{DRAFT}")]
    for path in old:
        shutil.rmtree(path)
    return old


def _copy(directory: Path, draft: Path, progress: Progress, *, running: bool) -> None:
    archive, copied = directory / "archive", draft / "archive"
    copied.mkdir(mode=0o700)
    with _moment(directory, running=running) as (queue, connection):
        blobs, copies = Blobs(archive, make=False), Blobs(copied)
        for (staged,) in connection.execute("SELECT file FROM staging"):  # they move on soonest
            _take(blobs.staged_path(staged), copies.staged_path(staged))
        for name in PRIVATE:
            with suppress(FileNotFoundError):
                shutil.copyfile(directory / name, draft / name)
                (draft / name).chmod(0o600)
        if queue is not None:
            (draft / FILE).write_bytes(queue)
            (draft / FILE).chmod(0o600)
        _room(connection, draft)

        def tell(_: int, remaining: int, total: int) -> None:
            progress("archive", total - remaining, total)

        with closing(sqlite3.connect(copied / DATABASE)) as target:
            connection.backup(target, pages=_PAGES, progress=tell)
        rows = connection.execute(
            "SELECT sha256, max(staged) FROM files GROUP BY sha256"
        ).fetchall()
        for sha256, staged in told(progress, "result files", rows, len(rows)):
            try:
                _take(blobs.path(sha256), copies.path(sha256))
            except _DeletedMeanwhileError:
                if staged is not None:  # the next start moves it to its place
                    _take(blobs.staged_path(staged), copies.staged_path(staged))
                elif running and not _wanted(archive, sha256):
                    raise
                # else it was gone before: the check of the copy says so


@contextmanager
def _moment(directory: Path, *, running: bool) -> Iterator[tuple[bytes | None, sqlite3.Connection]]:
    """Hold queue and archive as they were at one moment."""
    archive = directory / "archive"
    if running:
        connection = open_reader(archive / DATABASE)
    else:
        opened = open_archive(archive)
        if not isinstance(opened, sqlite3.Connection):
            raise BackupError(f"{archive / DATABASE}: {opened.what}; {opened.remedy}")
        connection = opened
    with closing(connection):
        for _ in range(_LOOKS):
            queue = _queue(directory)
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if _queue(directory) == queue:
                yield queue, connection
                return
            connection.execute("ROLLBACK")
    raise BackupError("the queue changes too fast to be copied: try again")


def _queue(directory: Path) -> bytes | None:
    try:
        return (directory / FILE).read_bytes()
    except FileNotFoundError:
        return None


def _wanted(archive: Path, sha256: str) -> bool:
    """Whether the archive as it is now still has this result."""
    with closing(open_reader(archive / DATABASE)) as now:
        query = "SELECT 1 FROM files WHERE sha256 = ?"
        return now.execute(query, (sha256,)).fetchone() is not None


def _room(connection: sqlite3.Connection, draft: Path) -> None:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    (results,) = connection.execute(
        "SELECT ifnull(sum(size), 0) FROM (SELECT max(size) AS size FROM files GROUP BY sha256)"
    ).fetchone()
    wanted = pages * size + results + _SPARE
    free = shutil.disk_usage(draft).free
    if wanted > free:
        raise BackupError(
            f"the backup needs {wanted // 1024**2} MiB and {draft.parent} has {free // 1024**2} "
            "MiB left: make room there, or delete older backups"
        )


def _take(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise _DeletedMeanwhileError from error
    target.chmod(0o600)


def _sync_tree(root: Path) -> None:
    for path in (*root.rglob("*"), root):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
