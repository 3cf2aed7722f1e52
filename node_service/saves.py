"""Files that a script saves through the gateway: streamed, metered, whole or not there at all.

They lie apart from the container's own results directory, where the script could plant links that
the node would follow with its own rights.
"""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from broker.messages import ContractError, ErrorCode, FileName, ResultFile

MAX_FILES: Final = 10_000
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME: Final[TypeAdapter[str]] = TypeAdapter(FileName)


class Saves:
    """The saved files of one attempt below `directory`.

    Args:
        directory: Of the attempt; `saved` and `saving` are made in it.
        limit: Bytes that all files together may have, those of `elsewhere` included.
        elsewhere: Returns the bytes that the results take up outside of here.
    """

    def __init__(self, directory: Path, limit: int, elsewhere: Callable[[], int]) -> None:
        self.saved = directory / "saved"
        self._saving = directory / "saving"
        self._limit = limit
        self._elsewhere = elsewhere
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._under_way = 0
        self._count = 0

    async def open(self) -> None:
        """Make the directories, drop what a crash left half written, count what is there."""
        await asyncio.to_thread(self._open)

    async def save(self, name: str, chunks: AsyncIterable[bytes]) -> ResultFile:
        """Write a file; it is on the disk under its name when it returns, or nothing changed.

        Raises:
            ContractError: MALFORMED, the name is no path inside the results; LIMIT, the results
                would become too large; STORAGE_FULL, the disk is full.
        """
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            raise _bad_name(name, error.errors(include_url=False)[0]["msg"]) from error
        if name not in self._sizes and len(self._sizes) >= MAX_FILES:
            raise ContractError(
                ErrorCode.LIMIT,
                f"an experiment may save at most {MAX_FILES} files",
                "collect values in fewer files",
                limit=MAX_FILES,
            )
        self._count += 1
        partial = self._saving / str(self._count)
        written = 0
        digest = hashlib.sha256()
        try:
            descriptor = await asyncio.to_thread(os.open, partial, _CREATE, 0o600)
            try:
                async for chunk in chunks:
                    self._meter(len(chunk))
                    written += len(chunk)
                    await asyncio.to_thread(_write, descriptor, chunk, digest.update)
                await asyncio.to_thread(os.fsync, descriptor)
            finally:
                await asyncio.to_thread(os.close, descriptor)
            await asyncio.to_thread(self._publish, partial, name)
            self._total += written - self._sizes.get(name, 0)
            self._sizes[name] = written
        except OSError as error:
            raise _told(name, error) from error
        finally:
            self._under_way -= written
            await asyncio.to_thread(partial.unlink, missing_ok=True)
        return ResultFile(name=name, size=written, sha256=digest.hexdigest())

    def _open(self) -> None:
        self.saved.mkdir(mode=0o700, exist_ok=True)
        self._saving.mkdir(mode=0o700, exist_ok=True)
        for partial in self._saving.iterdir():
            partial.unlink()
        for path in self.saved.rglob("*"):
            if path.is_file():
                self._sizes[path.relative_to(self.saved).as_posix()] = path.stat().st_size
        self._total = sum(self._sizes.values())

    def _meter(self, more: int) -> None:
        used = self._total + self._under_way + self._elsewhere()
        if used + more > self._limit:
            raise ContractError(
                ErrorCode.LIMIT,
                f"the results may have {self._limit} bytes, {max(0, self._limit - used)} are left",
                "save less, or ask an administrator for a higher limit",
                limit=self._limit,
                left=max(0, self._limit - used),
            )
        self._under_way += more

    def _publish(self, partial: Path, name: str) -> None:
        target = self.saved / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.replace(target)
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _told(name: str, error: OSError) -> ContractError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ContractError(
            ErrorCode.STORAGE_FULL,
            "the node's disk is full",
            "an administrator must make room on the node",
        )
    return _bad_name(name, error.strerror or str(error))


def _bad_name(name: str, why: str) -> ContractError:
    return ContractError(
        ErrorCode.MALFORMED,
        f"{name[:80]!r} cannot be saved: {why}",
        "use a relative path such as plots/growth.png, and no name twice as file and as folder",
    )


def _write(descriptor: int, chunk: bytes, digest: Callable[[bytes], None]) -> None:
    digest(chunk)
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
