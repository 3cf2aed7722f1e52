"""One file that is replaced as a whole, and TinyDB on top of it.

TinyDB's own storage rewrites its file in place: a kill in the middle or a full disk leaves it
unreadable. Here a write goes to a new file that takes the old one's place when it is on the disk.
"""

import fcntl
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Table

log = logging.getLogger(__name__)

Data = dict[str, dict[str, Any]]


class StoreError(Exception):
    """The store cannot be opened; the message names the file and says what to do."""


def nothing(step: str) -> None:
    """Called before each step of a write; tests stop the world there."""


class SnapshotFile:
    """A file and its previous generation.

    Args:
        path: The file; beside it lie ``.previous`` and, during a write, ``.new``.
        before: Called with the name of each step of a write before it is taken.
    """

    def __init__(self, path: Path, before: Callable[[str], None] = nothing) -> None:
        self.path = path
        self.previous = path.with_name(path.name + ".previous")
        self._new = path.with_name(path.name + ".new")
        self._before = before

    def read(self) -> bytes | None:
        """Return the content, None where there never was one.

        Raises:
            StoreError: The file is gone though its previous generation is there.
        """
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            if self.previous.exists():
                raise self.damaged("it is gone") from None
            return None

    def prepare(self, content: bytes) -> None:
        """Put the content on the disk beside the file, which stays as it is until `publish`.

        Raises:
            OSError: It could not be written; the file holds the old content.
        """
        self._before("write")
        with self._new.open("wb") as file:
            file.write(content)
            file.flush()
            self._before("sync")
            # Before the rename: else the name could outlive a power cut that the content did not.
            os.fsync(file.fileno())

    def publish(self) -> None:
        """Put the prepared content in place of the old, which becomes the previous generation.

        When it returns the content survives a power cut. A crash before leaves the old or the new
        content under the name, whole, never a mixture and never nothing.

        Raises:
            OSError: It could not be done; the file holds the old or the new content.
        """
        self._before("keep")
        self._keep_previous()
        self._before("replace")
        self._new.replace(self.path)
        self._before("sync directory")
        self._sync_directory()
        self._before("return")

    def clean(self) -> None:
        """Remove what a crash in the middle of a write left."""
        self._new.unlink(missing_ok=True)

    def damaged(self, why: str) -> StoreError:
        """Return the error that says what is wrong with the file and what to do."""
        kept = "there is no previous generation of it"
        with suppress(OSError):
            size = self.previous.stat().st_size
            kept = f"its previous generation is {self.previous} ({size} bytes)"
        return StoreError(
            f"the queue in {self.path} cannot be used: {why}; {kept}; the hub does not start with "
            "an empty queue in its place. Restore the file from its previous generation or from a "
            "backup, or move both away to begin anew"
        )

    def _keep_previous(self) -> None:
        """Give the present content its second name, so that it is there at every instant."""
        spare = self.path.with_name(self.path.name + ".keep")
        spare.unlink(missing_ok=True)
        try:
            spare.hardlink_to(self.path)
        except FileNotFoundError:
            return  # the first write
        spare.replace(self.previous)

    def _sync_directory(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class SnapshotStorage(Storage):
    """TinyDB's storage: operations change a cached snapshot, which is then made durable at once.

    TinyDB calls `write` after each operation; several operations make one change here, so that a
    reader of the disk sees all of them or none.
    """

    def __init__(self, file: SnapshotFile) -> None:
        self._file = file
        self._data = self._load()

    def read(self) -> Data | None:
        """Return the cached snapshot, None if there is none yet."""
        return self._data

    def write(self, data: Data) -> None:
        """Keep what TinyDB changed; `content`, `prepare` and `publish` make it durable."""
        self._data = data

    def content(self) -> bytes:
        """Return the cached snapshot as it is to be saved."""
        return orjson.dumps(self._data)

    def prepare(self, content: bytes) -> None:
        """Put a content on the disk; blocks for it. It counts only when it is published.

        Raises:
            OSError: As `SnapshotFile.prepare`; the cache is then ahead of the disk: reload.
        """
        self._file.prepare(content)

    def publish(self) -> None:
        """Make the prepared content count; blocks for the disk.

        Raises:
            OSError: As `SnapshotFile.publish`; the cache may then be ahead of the disk: reload.
        """
        self._file.publish()

    def reload(self) -> None:
        """Forget the cache for what the disk holds.

        Raises:
            StoreError: The file cannot be read.
        """
        self._data = self._load()

    def _load(self) -> Data | None:
        try:
            content = self._file.read()
        except OSError as error:
            raise self._file.damaged(f"it cannot be read ({error.strerror})") from error
        if content is None:
            return None
        if not content.strip(b"\0 \n"):
            raise self._file.damaged("it is empty")
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise self._file.damaged(f"it is torn or no JSON ({error})") from error
        if not isinstance(data, dict) or not all(isinstance(t, dict) for t in data.values()):
            raise self._file.damaged("it is not a queue of this hub")
        return data


class NamedTable(Table):
    """A table whose documents are named by us: TinyDB uses a number again after a removal."""

    document_id_class = str  # type: ignore[assignment]


class Database(TinyDB):
    """TinyDB with named documents."""

    table_class = NamedTable


def lock(path: Path) -> int:
    """Lock a file for this process until the returned descriptor is closed.

    Raises:
        StoreError: Another process holds it.
    """
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(number, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(number)
        raise StoreError(
            f"another hub (process {holder}) uses {path.parent}; stop it, or give this one "
            "another data_dir"
        ) from None
    os.ftruncate(number, 0)
    os.pwrite(number, f"{os.getpid()}\n".encode(), 0)
    return number
