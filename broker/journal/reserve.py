"""Disk space held back, so that the outcome of a run can be written when the disk is full."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

SIZE: Final = 4 * 1024**2
"""Enough for the write-ahead log of some hundred phase records."""


class Reserve:
    """A file that is deleted when its room is needed.

    Args:
        path: Of the file.
        free: Bytes that the disk has left.
    """

    def __init__(self, path: Path, free: Callable[[], int]) -> None:
        self._path = path
        self._free = free

    def release(self) -> bool:
        """Give the room to others; False if it was given already."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def refill(self) -> None:
        """Hold the room back again if the disk has plenty."""
        if self._path.exists() or self._free() < 4 * SIZE:
            return
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, SIZE)
        except OSError:  # the file system cannot, or was filled just now: nothing to hold back
            self._path.unlink(missing_ok=True)
        finally:
            os.close(file)
