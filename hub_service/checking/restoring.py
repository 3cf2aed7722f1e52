"""Going back to the previous generation of a damaged queue."""

from pathlib import Path
from typing import Final

import orjson

from hub_service import snapshot
from hub_service.checking.findings import Aside
from hub_service.checking.queue_file import PREVIOUS, read_queue
from hub_service.storage import SnapshotFile, SnapshotStorage, StoreError
from hub_service.store import FILE

REASON: Final = "the queue went back to its previous generation: its last change is lost"


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
    tables = SnapshotStorage(SnapshotFile(previous)).read() or {}
    content = orjson.dumps(snapshot.in_recovery(tables, REASON))
    file = SnapshotFile(path)
    file.prepare(content)
    file.publish()
    file.clean()
    return (
        f"{path} is what it was one change before; the damaged one {moved}. Start the hub: it is "
        "in recovery, adopts what runs and starts nothing. Look whether an experiment is missing "
        "that was submitted last, then resume the queue (`bioreactor queue resume`)"
    )
