"""Going back to the previous generation of a damaged queue."""

import shutil
from pathlib import Path
from typing import Final

import orjson

from hub_service import snapshot
from hub_service.checking.findings import Aside
from hub_service.checking.queue_file import PREVIOUS, read_queue
from hub_service.storage import SnapshotFile, SnapshotStorage, StoreError
from hub_service.store import FILE

REASON: Final = "the queue went back to its previous generation: its last change is lost"


FROM_BACKUP: Final = "the hub was restored from a backup: what came after it is not known here"


class RestoreError(Exception):
    """Nothing was changed; the message says why."""


def restore(directory: Path, aside: Aside) -> str:
    """Put the previous generation in the place of a damaged queue, in posture recovery.

    Its last change is lost, and may have been told to people and nodes already. So nothing is
    started until an administrator has looked and resumes the queue.

    Returns:
        What was done, and what is to be done next.

    Raises:
        RestoreError: The queue is sound, or there is nothing sound to go back to.
    """
    path, previous = directory / FILE, directory / PREVIOUS
    try:
        if read_queue(path) is not None:
            raise RestoreError(f"the queue in {path} is sound: nothing was changed")
    except StoreError:
        pass
    try:
        held = read_queue(previous)
    except StoreError as error:
        raise RestoreError(
            f"the previous generation {previous} cannot be used either; restore the directory from "
            f"a backup: {error}"
        ) from error
    if held is None:
        raise RestoreError(f"there is no {previous} to go back to; restore from a backup")
    moved = aside.move(path) if path.exists() else "was gone"
    _publish(previous, path, REASON)
    return (
        f"{path} is what it was one change before; the damaged one {moved}. Start the hub: it is "
        "in recovery, adopts what runs and starts nothing. Look whether an experiment is missing "
        "that was submitted last, then resume the queue (`bioreactor queue resume`)"
    )


def restore_backup(backup: Path, directory: Path) -> str:
    """Make a hub's directory of a backup, in posture recovery.

    What happened after the backup is known to nodes alone, and to people. So nothing is started
    until an administrator has looked and resumes the queue.

    Args:
        backup: Was looked over; it is not changed.
        directory: Where the hub will look for its data; absent or empty.

    Returns:
        What was done, and what is to be done next.

    Raises:
        RestoreError: There is something in the directory, or no queue in the backup.
        OSError: The disk does not take it; what was begun is removed.
    """
    if directory.exists() and any(directory.iterdir()):
        raise RestoreError(f"{directory} is not empty: move it away first, do not delete it")
    if not (backup / FILE).exists():
        raise RestoreError(f"there is no {FILE} in {backup}: it is no backup of a hub")
    draft = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        shutil.copytree(backup, draft)
        draft.chmod(0o700)
        _publish(draft / FILE, draft / FILE, FROM_BACKUP)
        if directory.exists():
            directory.rmdir()
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return (
        f"{directory} is what {backup} has. See that the hub's user owns it, start the hub: it is "
        "in recovery, adopts what runs, takes what the nodes kept and starts nothing. Look at all "
        "reactors, then resume the queue (`bioreactor queue resume`)"
    )


def _publish(source: Path, path: Path, reason: str) -> None:
    """Write a queue in posture recovery, durably."""
    tables = SnapshotStorage(SnapshotFile(source)).read() or {}
    file = SnapshotFile(path)
    file.prepare(orjson.dumps(snapshot.in_recovery(tables, reason)))
    file.publish()
    file.clean()
