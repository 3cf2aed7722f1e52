"""Room on the disk that is held back, so that a hub can start where others have filled it.

A start needs some hundred kilobytes: the queue's new generation, SQLite's log. A hub that could not
start would answer nobody, and nobody could cancel or read anything. So it starts, and submissions
are refused until there is space again.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from broker.database import StorageFullError, is_full
from broker.migration import free_bytes

T = TypeVar("T")

SIZE: Final = 8 * 1024**2
LOW: Final = SIZE
"""With less left on the disk nothing new is queued, so that what runs has room to be recorded."""
_PLENTY: Final = 4 * SIZE
_LEAST: Final = 256 * 1024
RETRY_S: Final = 5.0
AGAIN_S: Final = 60.0

log = logging.getLogger(__name__)


def is_low(directory: Path) -> bool:
    """Whether a directory's disk has too little left for new experiments."""
    return free_bytes(directory) < LOW


class Room:
    """A file that is deleted when a start needs its room.

    Args:
        path: Of the file; its directory exists by the first `hold`.
        free: Returns the bytes that a directory's disk has left.
    """

    def __init__(self, path: Path, free: Callable[[Path], int] = free_bytes) -> None:
        self._path = path
        self._free = free

    async def opened(self, opening: Callable[[], T]) -> T:
        """Return what is opened; on a full disk with the room held back, else when there is some.

        Args:
            opening: Blocks; leaves nothing behind where it fails.
        """
        waiting = False
        while True:
            try:
                return await asyncio.to_thread(opening)
            except (OSError, StorageFullError) as error:
                if not (isinstance(error, StorageFullError) or is_full(error)):
                    raise
                if self._release():
                    log.warning("the disk is full: the hub starts with the room it held back")
                    continue
                if not waiting:
                    log.error("the hub waits for room on its disk: %s", error)  # noqa: TRY400  a full disk needs no trace
                waiting = True
            await asyncio.sleep(RETRY_S)

    def hold(self) -> None:
        """Hold room back, if there is plenty; after a start that needed it most of what is left."""
        if self._path.exists():
            return
        free = self._free(self._path.parent)
        size = SIZE if free >= _PLENTY else free * 3 // 4
        if size < _LEAST:
            return
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(number, 0, size)
        except OSError:  # the file system cannot, or was filled just now
            self._path.unlink(missing_ok=True)
        finally:
            os.close(number)

    async def keep(self) -> None:
        """Hold the room back again whenever there is plenty, until cancelled."""
        while True:
            with suppress(OSError):
                await asyncio.to_thread(self._grow)
            await asyncio.sleep(AGAIN_S)

    def _grow(self) -> None:
        held = self._path.stat().st_size if self._path.exists() else 0
        if held < SIZE and self._free(self._path.parent) >= _PLENTY:
            self._path.unlink(missing_ok=True)
        self.hold()

    def _release(self) -> bool:
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
