"""Result files on the disk: pieces in staging, whole files under the hash of their content.

A piece is on the disk before the cursor of its journal commits, and a file is named by its hash
only after the row that says so was committed. A crash leaves at worst bytes that come again and
are written over, or a complete file in staging that the next start moves to its place.
"""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_READ: Final = 1024**2
_MOST_OPEN: Final = 64


@dataclass(slots=True)
class _Hashing:
    """The hash of a staged file from its beginning to `length`."""

    length: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)


class Blobs:
    """Staging and content-addressed files below one directory.

    Args:
        directory: The archive's.
        make: Make what is missing; False where nothing may change.
    """

    def __init__(self, directory: Path, *, make: bool = True) -> None:
        self._staging = directory / "staging"
        self._blobs = directory / "blobs"
        for path in (self._staging, self._blobs) if make else ():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._hashing: dict[str, _Hashing] = {}
        self._unsynced: set[str] = set()

    def begin(self, file: str) -> None:
        """Make an empty staged file."""
        self._hashing.pop(file, None)
        os.close(self._open(file, os.O_TRUNC))
        _sync(self._staging)

    def write(self, file: str, offset: int, data: bytes) -> str | None:
        """Write a piece; call `sync` before it is relied on.

        Returns:
            What is wrong: the piece before it never came.
        """
        descriptor = self._open(file)
        try:
            length = os.fstat(descriptor).st_size
            hashing = self._hash_up_to(file, descriptor, min(offset, length))
            os.ftruncate(descriptor, offset)
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, offset + len(data) - len(view))
                view = view[written:]
        finally:
            os.close(descriptor)
        self._unsynced.add(file)
        if hashing.length == offset:
            hashing.digest.update(data)
            hashing.length += len(data)
        return None if length >= offset else f"bytes {length} to {offset - 1} never arrived"

    def sync(self) -> None:
        """Return when all pieces are on the disk."""
        for file in self._unsynced:
            descriptor = self._open(file)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        self._unsynced.clear()

    def measure(self, file: str) -> tuple[int, str]:
        """Return the size and the SHA-256 of a staged file."""
        descriptor = self._open(file)
        try:
            size = os.fstat(descriptor).st_size
            return size, self._hash_up_to(file, descriptor, size).digest.hexdigest()
        finally:
            os.close(descriptor)

    def publish(self, file: str, sha256: str) -> None:
        """Move a staged file to its place; nothing happens if it is there already."""
        self._hashing.pop(file, None)
        place = self.path(sha256)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            (self._staging / file).replace(place)
        _sync(place.parent)
        _sync(self._blobs)

    def path(self, sha256: str) -> Path:
        """Return where a file with this content is or would be."""
        return self._blobs / sha256[:2] / sha256

    def staged_path(self, file: str) -> Path:
        """Return where a staged file is or would be."""
        return self._staging / file

    def discard(self, file: str) -> None:
        """Delete a staged file."""
        self._hashing.pop(file, None)
        self._unsynced.discard(file)
        (self._staging / file).unlink(missing_ok=True)

    def delete(self, sha256: str) -> None:
        """Delete a file."""
        self.path(sha256).unlink(missing_ok=True)

    def discard_all_but(self, files: Iterable[str]) -> None:
        """Delete staged files of transactions that never committed."""
        wanted = set(files)
        for path in self._staging.iterdir():
            if path.name not in wanted:
                path.unlink()

    def _hash_up_to(self, file: str, descriptor: int, end: int) -> _Hashing:
        hashing = self._hashing.pop(file, None)
        if hashing is None or hashing.length > end:
            hashing = _Hashing()
        while hashing.length < end:
            data = os.pread(descriptor, min(_READ, end - hashing.length), hashing.length)
            hashing.digest.update(data)
            hashing.length += len(data)
        while len(self._hashing) >= _MOST_OPEN:
            self._hashing.pop(next(iter(self._hashing)))
        self._hashing[file] = hashing
        return hashing

    def _open(self, file: str, flags: int = 0) -> int:
        return os.open(self._staging / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
