"""Result files: each is there with the content that its hash names, and none without a row."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from hub_service.archive.archive import DATABASE
from hub_service.archive.blobs import Blobs
from hub_service.checking.findings import Aside, Finding, Progress, Severity, told

_FILES: Final = (
    "SELECT sha256, max(staged), max(size), group_concat(DISTINCT r.experiment_id || ' ' || name)"
    " FROM files f JOIN runs r ON r.id = f.run GROUP BY sha256"
)


def check_results(
    connection: sqlite3.Connection, directory: Path, aside: Aside, progress: Progress
) -> Iterator[Finding]:
    """Read every result file."""
    blobs = Blobs(directory, make=False)
    (total,) = connection.execute("SELECT count(DISTINCT sha256) FROM files").fetchone()
    known: set[Path] = set()
    for sha256, staged, size, names in told(
        progress, "result files", connection.execute(_FILES), total
    ):
        path = blobs.path(sha256)
        if staged is not None and not path.exists():
            path = blobs.staged_path(staged)  # the next start moves it to its place
        known |= {blobs.path(sha256), path}
        problem = _problem(path, size, sha256)
        if problem is not None:
            yield Finding(
                Severity.DAMAGE,
                f"result file {names}",
                f"{problem} ({path.relative_to(directory.parent)})",
                "restore this file from a backup; `--mend` notes it with the results, so that "
                "whoever downloads them is told",
                partial(_note, directory / DATABASE, sha256, problem),
            )
    yield from _strangers(directory / "blobs", known, aside, "no result file has this content")
    begun = connection.execute("SELECT file FROM staging").fetchall()
    in_use = {blobs.staged_path(file) for (file,) in begun}
    yield from _strangers(
        directory / "staging",
        known | in_use,
        aside,
        "left by a transfer that a crash cut short; its bytes come again",
        Severity.NOTE,
    )
    for path in sorted(in_use):
        if not path.exists():
            yield Finding(
                Severity.WARNING,
                str(path.relative_to(directory.parent)),
                "what came so far of a result file is gone",
                "where its node does not send it again, the file is told incomplete",
            )


def _problem(path: Path, size: int, sha256: str) -> str | None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            length = file.tell()
    except FileNotFoundError:
        return "it is gone from the hub's disk"
    except OSError as error:
        return f"the hub's disk cannot read it: {error.strerror}"
    if length != size:
        return f"it has {length} bytes on the hub's disk, {size} were recorded"
    if found != sha256:
        return "its content on the hub's disk is not what was recorded"
    return None


def _note(database: Path, sha256: str, problem: str) -> str:
    with closing(sqlite3.connect(database)) as writing, writing:
        writing.execute("UPDATE files SET problem = ? WHERE sha256 = ?", (problem, sha256))
    return "noted with the results"


def _strangers(
    directory: Path,
    known: set[Path],
    aside: Aside,
    what: str,
    severity: Severity = Severity.WARNING,
) -> Iterator[Finding]:
    if not directory.is_dir():
        return
    for path in sorted(directory.rglob("*")):
        if path in known or path.is_dir():
            continue
        yield Finding(
            severity,
            str(path.relative_to(directory.parent.parent)),
            what,
            "`--mend` sets it aside; look at it, then delete it",
            _mover(aside, path),
        )


def _mover(aside: Aside, path: Path) -> Callable[[], str]:
    return lambda: aside.move(path)
