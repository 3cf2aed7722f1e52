"""The file behind the ledger: its tables, how it is opened and checked, how a row is read."""

import json
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from broker.messages import Assignment, Estop
from node_service.runs import ClockAnchor, Ending, LogPosition, Run, RunKey, Stage

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE attempts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    experiment_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    stage TEXT NOT NULL,
    assignment TEXT,
    accepted_at TEXT NOT NULL,
    container_id TEXT,
    image TEXT,
    started_at TEXT,
    clock TEXT,
    log TEXT,
    setpoints TEXT,
    ending TEXT,
    UNIQUE (experiment_id, attempt)
);
CREATE INDEX unfinished ON attempts (stage) WHERE stage <> 'finished';
CREATE TABLE files (
    experiment_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    epoch TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (experiment_id, attempt, name)
) WITHOUT ROWID;
CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, record TEXT NOT NULL);
"""

RUN_COLUMNS: Final = (
    "experiment_id, attempt, stage, assignment, accepted_at, container_id, image, started_at,"
    " clock, log, setpoints, ending"
)


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the file; blocks while SQLite recovers what a crash left.

    Raises:
        sqlite3.DatabaseError: It is damaged, no ledger, or of another version; unchanged.
    """
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def read_estop(path: Path) -> Estop | None:
    """Return the latch of the emergency stop, from beside the process that owns the file.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
        row = db.execute("SELECT value FROM meta WHERE key = 'estop'").fetchone()
    return None if row is None else Estop.model_validate_json(row[0])


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
    elif version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(
            f"it has version {version}, this program knows version {SCHEMA_VERSION}"
        )
    problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise sqlite3.DatabaseError(problem)
    path.chmod(0o600)


def read_run(  # noqa: PLR0917 - the columns, in their order
    experiment_id: str, attempt: int, stage: str, assignment: str | None, accepted_at: str,
    container_id: str | None, image: str | None, started_at: str | None, clock: str | None,
    log: str | None, setpoints: str | None, ending: str | None,
) -> Run:  # fmt: skip
    """Return the run that a row of `RUN_COLUMNS` holds."""
    return Run(
        key=RunKey(experiment_id, attempt),
        stage=Stage(stage),
        assignment=None if assignment is None else Assignment.model_validate_json(assignment),
        accepted_at=datetime.fromisoformat(accepted_at),
        container_id=container_id,
        image=image,
        started_at=None if started_at is None else datetime.fromisoformat(started_at),
        clock=None if clock is None else ClockAnchor.model_validate_json(clock),
        log=LogPosition() if log is None else LogPosition.model_validate_json(log),
        setpoints=()
        if setpoints is None
        else tuple((name, value) for name, value in json.loads(setpoints)),
        ending=None if ending is None else Ending.model_validate_json(ending),
    )
