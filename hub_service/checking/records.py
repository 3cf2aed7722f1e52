"""The archive's database: whole, of this version, and its rows in agreement with one another."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from broker.messages import Experiment
from hub_service.archive.archive import DATABASE
from hub_service.archive.schema import APPLICATION_ID, MIGRATIONS
from hub_service.checking.findings import Finding, Progress, Severity, told

_RESTORE: Final = (
    "restore the whole directory from a backup; where there is none, "
    f"`sqlite3 {DATABASE} .recover` saves what can be read"
)
_STEPS: Final = 100_000
"""Of SQLite's machine between two words on how far it is."""


def open_archive(directory: Path) -> sqlite3.Connection | Finding:
    """Open the database so that nothing on the disk changes, or say why it cannot be used."""
    path = directory / DATABASE
    if not path.exists():
        return _damage("the database is gone", _RESTORE)
    # With a write-ahead log beside it SQLite must look at that; without, nobody writes here now.
    mode = "mode=ro" if path.with_name(f"{DATABASE}-wal").exists() else "immutable=1"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None
        )
    except sqlite3.Error as error:  # it is none, or not ours to read
        return _damage(f"it cannot be read: {error}", _RESTORE)
    try:
        kind = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        connection.close()
        return _damage(f"it cannot be read: {error}", _RESTORE)
    if kind == APPLICATION_ID and version == len(MIGRATIONS):
        return connection
    connection.close()
    if kind != APPLICATION_ID:
        return _damage("it is no archive of a hub", _RESTORE)
    if version < len(MIGRATIONS):
        return Finding(
            Severity.NOTE,
            DATABASE,
            f"it has schema {version}, this version uses {len(MIGRATIONS)}; it is not looked into",
            "start the hub once: it copies the database beside itself and brings it up to date",
        )
    return _damage(
        f"it has schema {version}, this version knows up to {len(MIGRATIONS)}",
        "install the version that wrote it, or a newer one",
    )


def check_records(
    connection: sqlite3.Connection, path: Path, progress: Progress
) -> Iterator[Finding]:
    """Look at the tables. What SQLite finds damaged is not looked into further."""
    damage = list(_integrity(connection, progress))
    yield from damage
    if damage:
        return
    yield from _scripts(connection, progress)
    yield from _finished(connection, progress)
    yield from _tally(connection, path)
    (aside,) = connection.execute("SELECT count(*) FROM quarantine").fetchone()
    if aside:
        yield Finding(
            Severity.NOTE,
            "quarantine",
            f"{aside} entries of nodes' journals made no sense and are kept as they came",
            "look at them in the table `quarantine`; they are of a faulty or a newer node",
        )


def _damage(what: str, remedy: str) -> Finding:
    return Finding(Severity.DAMAGE, DATABASE, what, remedy)


def _integrity(connection: sqlite3.Connection, progress: Progress) -> Iterator[Finding]:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        progress("the database's integrity", steps, 0)
        return 0

    connection.set_progress_handler(step, _STEPS)
    try:
        for (said,) in connection.execute("PRAGMA integrity_check(20)"):
            if said != "ok":
                yield _damage(f"SQLite finds it damaged: {said}", _RESTORE)
    except sqlite3.Error as error:
        yield _damage(f"SQLite cannot read all of it: {error}", _RESTORE)
    finally:
        connection.set_progress_handler(None, 0)


def _scripts(connection: sqlite3.Connection, progress: Progress) -> Iterator[Finding]:
    (total,) = connection.execute("SELECT count(*) FROM scripts").fetchone()
    rows = connection.execute("SELECT sha256, script FROM scripts")
    for sha256, script in told(progress, "scripts", rows, total):
        if hashlib.sha256(script.encode()).hexdigest() != sha256:
            yield Finding(
                Severity.DAMAGE,
                f"script {sha256[:12]}…",
                "its text is not the one that was submitted",
                _RESTORE,
            )


_OVER: Final = (
    "SELECT experiment_id, body FROM finished UNION ALL SELECT experiment_id, body FROM trash"
)


def _finished(connection: sqlite3.Connection, progress: Progress) -> Iterator[Finding]:
    (total,) = connection.execute(f"SELECT count(*) FROM ({_OVER})").fetchone()  # noqa: S608  constants
    rows = connection.execute(_OVER)
    for experiment_id, body in told(progress, "finished experiments", rows, total):
        try:
            sound = Experiment.model_validate_json(body).experiment_id == experiment_id
        except ValidationError:
            sound = False
        if not sound:
            yield Finding(
                Severity.DAMAGE,
                f"experiment {experiment_id}",
                "what is kept of it is not a finished experiment",
                _RESTORE,
            )


_TALLY: Final = (
    "SELECT user, status, count(*) FROM finished GROUP BY user, status ORDER BY user, status"
)


def _tally(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    kept = connection.execute(
        "SELECT user, status, n FROM tally WHERE n != 0 ORDER BY user, status"
    ).fetchall()
    if kept == connection.execute(_TALLY).fetchall():
        return

    def count_again() -> str:
        with closing(sqlite3.connect(path)) as writing, writing:
            writing.execute("DELETE FROM tally")
            writing.execute(f"INSERT INTO tally {_TALLY}")
        return "counted again"

    yield Finding(
        Severity.WARNING,
        "tally",
        "the counts of finished experiments by user and state are wrong",
        "`--mend` counts again",
        count_again,
    )
