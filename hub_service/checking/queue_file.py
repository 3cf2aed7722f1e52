"""The queue's file and what lies beside it."""

from collections.abc import Iterator
from pathlib import Path

from hub_service import snapshot
from hub_service.checking.findings import Aside, Finding, Severity
from hub_service.snapshot import Contents, SnapshotError
from hub_service.storage import SCRATCH, SnapshotFile, SnapshotStorage, StoreError
from hub_service.store import FILE

PREVIOUS = FILE + ".previous"


def read_queue(path: Path) -> Contents | None:
    """Return what a snapshot holds, None if there is no such file.

    Raises:
        StoreError: It is no queue of this hub.
    """
    file = SnapshotFile(path)
    tables = SnapshotStorage(file).read()
    if tables is None:
        return None
    try:
        return snapshot.contents(tables)
    except SnapshotError as error:
        raise file.damaged(str(error)) from error


def check_queue(directory: Path, aside: Aside) -> tuple[list[Finding], Contents | None]:
    """Look at the queue; return what it holds, None if it cannot be read."""
    findings: list[Finding] = []
    held: Contents | None = None
    try:
        held = read_queue(directory / FILE)
    except StoreError as error:
        findings.append(
            Finding(
                Severity.DAMAGE,
                FILE,
                str(error),
                "go back to its previous generation with `bioreactor hub restore`, or restore "
                "the whole directory from a backup",
            )
        )
    else:
        if held is None and (directory / "archive").exists():
            findings.append(
                Finding(
                    Severity.WARNING,
                    FILE,
                    "there is an archive but no queue",
                    "where it was not removed on purpose, restore it from a backup; started like "
                    "this the hub begins in recovery and starts no experiment by itself",
                )
            )
    findings += _beside(directory, aside)
    return findings, held


def _beside(directory: Path, aside: Aside) -> Iterator[Finding]:
    previous = directory / PREVIOUS
    if previous.exists():
        try:
            read_queue(previous)
        except StoreError:
            yield Finding(
                Severity.WARNING,
                PREVIOUS,
                "the previous generation of the queue cannot be used",
                "nothing is lost while the queue itself is sound; `--mend` sets it aside and the "
                "next change of the queue makes a new one",
                lambda: aside.move(previous),
            )
    for ending in SCRATCH:
        leftover = directory / f"{FILE}.{ending}"
        if leftover.exists():
            yield Finding(
                Severity.NOTE,
                leftover.name,
                "left by a write that a crash cut short; it means nothing",
                "the next start removes it",
                lambda leftover=leftover: aside.move(leftover),  # type: ignore[misc]
            )
