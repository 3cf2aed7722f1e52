"""One file that is replaced as a whole, and TinyDB on top of it.

TinyDB's own storage rewrites its file in place: a kill in the middle or a full disk leaves it
unreadable. Here a write goes to a new file that takes the old one's place when it is on the disk.
"""

import fcntl
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Table

SCRATCH: Final = ("new", "spare", "keep")
"""Endings of files that stand beside a snapshot and mean nothing."""
_BLOCK: Final = 16 * 1024

Data = dict[str, dict[str, Any]]


class StoreError(Exception):
    """The store cannot be opened; the message names the file and says what to do."""


def nothing(step: str) -> None:
    """Called before each step of a write; tests stop the world there."""


class SnapshotFile:
    """A file and its previous generation.

    Args:
        path: The file; beside it lie ``.previous`` and, meaning nothing, ``.new``, ``.keep`` and
            ``.spare``.
        before: Called with the name of each step of a write before it is taken.
    """

    def __init__(self, path: Path, before: Callable[[str], None] = nothing) -> None:
        self.path = path
        self.previous = path.with_name(path.name + ".previous")
        self._new, self._spare, self._keep = (
            path.with_name(f"{path.name}.{scratch}") for scratch in SCRATCH
        )
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

        It is written over what was the generation before the previous one, whose blocks the disk
        has allocated already: half as long as a new file takes, and possible on a full disk.

        Raises:
            OSError: It could not be written; the file holds the old content.
        """
        self._before("write")
        with suppress(FileNotFoundError):
            self._spare.replace(self._new)
        descriptor = self._open_new()
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            if os.fstat(descriptor).st_size != len(content):
                os.ftruncate(descriptor, len(content))
            self._before("sync")
            # Before the rename: else the name could outlive a power cut that the content did not.
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def publish(self) -> None:
        """Put the prepared content in place of the old, which becomes the previous generation.

        When it returns the content survives a power cut. A crash before leaves the old or the new
        content under the name, whole, never a mixture and never nothing.

        Raises:
            OSError: It could not be done; the file holds the old or the new content.
        """
        try:
            self._before("keep")
            self._keep_previous()
            self._before("replace")
            self._new.replace(self.path)
            self._before("sync directory")
            sync_directory(self.path.parent)
        except OSError:
            # The disk may still call it the previous generation: it must not be written over.
            self._spare.unlink(missing_ok=True)
            raise
        self._before("return")

    def settle(self, content: bytes, why: OSError) -> None:
        """Find out what a `publish` that failed left; return if that is the new content, durably.

        The name may be the new content's already, and only its durability unknown. `publish` then
        took the spare away, so the directory is to be written again: this is not told of the
        disk's first failure for the second time.

        Args:
            content: What was to be published.
            why: How that failed.

        Raises:
            OSError: `why`; the file holds the old content, nothing has happened.
            StoreError: The file holds the new content, and the disk does not say whether it
                survives a power cut; or it cannot be read.
        """
        if self.read() != content:
            raise why
        try:
            self._before("sync directory again")
            sync_directory(self.path.parent)
        except OSError as error:
            raise StoreError(
                f"the queue in {self.path} has the last change, and the disk does not say whether "
                f"it would survive a power cut ({error.strerror}): it may have happened or not; "
                "look after the disk, then start the hub again: it goes on with what is there"
            ) from why

    def clean(self) -> None:
        """Remove what a crash in the middle of a write left."""
        for path in (self._new, self._spare, self._keep):
            path.unlink(missing_ok=True)

    def keep_as(self, ending: str) -> Path:
        """Keep the present content under another name beside it; durable when it returns.

        Raises:
            OSError: It could not be written.
        """
        kept = self.path.with_name(f"{self.path.name}.{ending}")
        _link(self.path, kept)  # what has two names is never written over
        sync_directory(kept.parent)
        return kept

    def damaged(self, why: str) -> StoreError:
        """Return the error that says what is wrong with the file and what to do."""
        kept = "there is no previous generation of it; restore it from a backup"
        with suppress(OSError):
            size = self.previous.stat().st_size
            kept = (
                f"its previous generation is {self.previous} ({size} bytes): to go back to it, run "
                f"`bioreactor hub restore {shlex.quote(str(self.path.parent))}`"
            )
        return StoreError(
            f"the queue in {self.path} cannot be used: {why}; the hub does not start with an empty "
            f"queue in its place; {kept}"
        )

    def _open_new(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._new, flags, 0o600)
        if os.fstat(descriptor).st_nlink == 1:
            return descriptor
        os.close(descriptor)  # somebody keeps it under another name, a backup perhaps
        self._new.unlink()
        return os.open(self._new, flags | os.O_EXCL, 0o600)

    def _keep_previous(self) -> None:
        """Give the present content its second name, so that it is there at every instant."""
        with suppress(FileNotFoundError):
            _link(self.previous, self._spare)
        with suppress(FileNotFoundError):  # before the first write
            _link(self.path, self._keep)
            self._keep.replace(self.previous)


def _link(path: Path, name: Path) -> None:
    try:
        name.hardlink_to(path)
    except FileExistsError:
        name.unlink()
        name.hardlink_to(path)


def sync_directory(path: Path) -> None:
    """Return when the names in a directory survive a power cut."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class _Rows(MutableMapping[str, Any]):
    """The documents of one table by name, and each as it stands in the snapshot.

    Whoever gets a document may change it, so it is encoded anew; the others are not touched: a
    change costs what it changes, however much the queue holds.
    """

    def __init__(self, documents: dict[str, Any]) -> None:
        self.documents = documents
        self._encoded: dict[str, bytes] = {}
        self._touched = dict.fromkeys(documents)

    def __getitem__(self, name: str) -> Any:
        document = self.documents[name]
        self._touched[name] = None
        return document

    def __setitem__(self, name: str, document: Any) -> None:
        self.documents[name] = document
        self._touched[name] = None

    def __delitem__(self, name: str) -> None:
        del self.documents[name]
        self._touched[name] = None

    def __contains__(self, name: object) -> bool:
        return name in self.documents

    def __iter__(self) -> Iterator[str]:
        return iter(self.documents)

    def __len__(self) -> int:
        return len(self.documents)

    def encode(self) -> Sequence[bytes]:
        """Return the table as JSON, in pieces: a queue is long, and copied once only."""
        for name in self._touched:
            if name in self.documents:
                pair = orjson.dumps(name), orjson.dumps(self.documents[name])
                self._encoded[name] = b":".join(pair)
            else:
                self._encoded.pop(name, None)
        self._touched.clear()
        return b"{", b",".join(self._encoded.values()), b"}"


class SnapshotStorage(Storage):
    """TinyDB's storage: operations change a cached snapshot, which is then made durable at once.

    TinyDB writes after each operation; several operations make one change here, so that a reader
    of the disk sees all of them or none.
    """

    def __init__(self, file: SnapshotFile) -> None:
        self._file = file
        self._tables = self._load()
        self._prepared = b""

    def read(self) -> Data | None:
        """Return the cached snapshot, None if there is none yet."""
        if self._tables is None:
            return None
        return {name: rows.documents for name, rows in self._tables.items()}

    def write(self, data: Data) -> None:
        """Take a whole snapshot; `content`, `prepare` and `publish` make it durable."""
        self._tables = {name: _Rows(documents) for name, documents in data.items()}

    def rows(self, table: str) -> MutableMapping[str, Any]:
        """Return the documents of one table, to be changed in place."""
        if self._tables is None:
            self._tables = {}
        return self._tables.setdefault(table, _Rows({}))

    def content(self) -> bytes:
        """Return the cached snapshot as it is to be saved."""
        pieces = [b"{"]
        for name, rows in (self._tables or {}).items():
            comma = b"," if len(pieces) > 1 else b""
            pieces += (comma, orjson.dumps(name), b":", *rows.encode())
        pieces.append(b"}")
        # Of the same length for long, so that the disk has only the content to take.
        pieces.append(b" " * (-sum(map(len, pieces)) % _BLOCK))
        return b"".join(pieces)

    def prepare(self, content: bytes) -> None:
        """Put a content on the disk; blocks for it. It counts only when it is published.

        Raises:
            OSError: As `SnapshotFile.prepare`; the cache is then ahead of the disk: reload.
        """
        self._file.prepare(content)
        self._prepared = content

    def publish(self) -> None:
        """Make the prepared content count; blocks for the disk.

        Raises:
            OSError: It does not count; the cache is then ahead of the disk: reload.
            StoreError: Nobody knows whether it counts; see `SnapshotFile.settle`.
        """
        try:
            self._file.publish()
        except OSError as error:
            self._file.settle(self._prepared, error)

    def reload(self) -> None:
        """Forget the cache for what the disk holds.

        Raises:
            StoreError: The file cannot be read.
        """
        self._tables = self._load()

    def close(self) -> None:
        """Leave no more beside the file than its previous generation."""
        with suppress(OSError):
            self._file.clean()

    def _load(self) -> dict[str, _Rows] | None:
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
        return {name: _Rows(documents) for name, documents in data.items()}


class NamedTable(Table):
    """A table whose documents are named by us: TinyDB uses a number again after a removal."""

    document_id_class = str  # type: ignore[assignment]

    def _update_table(self, updater: Callable[[dict[int, Mapping[str, Any]]], None]) -> None:
        """Let an operation change the documents in place: TinyDB copies the table twice for each.

        One that fails in the middle leaves the cache changed; the store then reloads it.
        """
        if not isinstance(self._storage, SnapshotStorage):
            raise TypeError("the table needs a snapshot for its storage")
        updater(self._storage.rows(self.name))  # type: ignore[arg-type]  # our ids are text
        self.clear_cache()


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
