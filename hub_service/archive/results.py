"""Result files that are complete."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from hub_service.archive.blobs import Blobs
from hub_service.archive.runs import latest_runs


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that an experiment saved.

    Attributes:
        path: Where it is; the file may be opened and linked, not changed.
        problem: Why it is not what the node had; empty if it is.
    """

    name: str
    size: int
    sha256: str
    path: Path
    problem: str


def result_files(
    connection: sqlite3.Connection, blobs: Blobs, experiment_id: str
) -> list[StoredFile]:
    """Return the files of an experiment's latest attempt, by name."""
    runs = latest_runs(connection, experiment_id)
    return [file for run in runs for file in files_of_run(connection, blobs, run.id)]


def files_of_run(connection: sqlite3.Connection, blobs: Blobs, run: int) -> list[StoredFile]:
    """Return the files of a run, by name."""
    return [
        StoredFile(name, size, sha256, _find(blobs, sha256, staged), problem or "")
        for name, size, sha256, staged, problem in connection.execute(
            "SELECT name, size, sha256, staged, problem FROM files WHERE run = ? ORDER BY name",
            (run,),
        )
    ]


def _find(blobs: Blobs, sha256: str, staged: str | None) -> Path:
    """Return where a file is; between commit and move it still stands in staging."""
    path = blobs.path(sha256)
    if staged is not None and not path.exists() and blobs.staged_path(staged).exists():
        return blobs.staged_path(staged)
    return path
