"""Moves the results of an attempt into the journal's files stream, piece by piece.

Memory stays constant whatever the size. A file counts as moved once its last piece is in the
journal; a node that starts again goes on with the piece after the newest one in the journal, or, if
that is of something else, with the beginning of the file it was at. Where the manifest would
outgrow a message, the rest of the files goes into one tar archive.
"""

import asyncio
import base64
import hashlib
import os
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from broker.messages import ContractError, ErrorCode, FileChunk, Payload, ResultFile
from node_service import storage
from node_service.results import FoundFile, open_file
from node_service.runs import PackedFile, RunKey

PIECE: Final = 128 * 1024
MAX_MANIFEST: Final = 160 * 1024
"""Bytes of the manifest, encoded; the journal takes an entry of 256 KiB."""
ARCHIVE: Final = "more-files.tar"
RETRY_SECONDS: Final = 5.0
_BLOCK: Final = 512


class FilesJournal(Protocol):
    """The part of the journal that is needed here."""

    async def append(
        self, stream: Literal["records", "files"], entries: Sequence[Payload]
    ) -> tuple[str, int]:
        """Append; durable on return. STORAGE_FULL if the budget is spent."""
        ...

    async def newest(self, stream: Literal["records", "files"]) -> bytes | None:
        """Return the encoded entry that was appended last, None if there is none."""
        ...

    def fill(self) -> float:
        """Return how much of the budget is used, 0 to 1."""
        ...


class PackedFiles(Protocol):
    """Where it is kept which files are moved."""

    async def packed(self, key: RunKey) -> Sequence[PackedFile]:
        """Return the files that are moved."""
        ...

    async def save_packed(self, key: RunKey, file: PackedFile) -> None:
        """Keep that a file is moved."""
        ...


@dataclass(frozen=True, slots=True)
class Parcel:
    """One file of the results as it is sent: a found file, or an archive of several."""

    name: str
    contents: tuple[FoundFile, ...]
    archive: bool = False


def parcels(files: Sequence[FoundFile]) -> list[Parcel]:
    """Return how files are sent so that their manifest stays small."""
    size = 0
    single: list[Parcel] = []
    for at, file in enumerate(files):
        size += len(file.name.encode()) + 128
        if size > MAX_MANIFEST:
            name = ARCHIVE
            while any(name == other.name for other in files):
                name = "_" + name
            return [*single, Parcel(name, tuple(files[at:]), archive=True)]
        single.append(Parcel(file.name, (file,)))
    return single


class Packer:
    """Moves files of one attempt into the journal.

    Args:
        tell: Says a sentence in the experiment's log.
        sleep: Waits real seconds.
    """

    def __init__(
        self,
        key: RunKey,
        journal: FilesJournal,
        kept: PackedFiles,
        tell: Callable[[str], Awaitable[None]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._key = key
        self._journal = journal
        self._kept = kept
        self._tell = tell
        self._sleep = sleep
        self._waited = False

    async def pack(
        self, files: Sequence[FoundFile]
    ) -> tuple[tuple[ResultFile, ...], tuple[str, int] | None]:
        """Move the files; return the manifest and the place of the last piece in the stream."""
        done = {file.name: file for file in await self._kept.packed(self._key)}
        begun, upto = await self._begun()
        for parcel in parcels(files):
            if parcel.name in done:
                continue
            try:
                packed = await self._move(parcel, upto if parcel.name == begun else 0)
            except OSError as error:
                await self._tell(f"Result left out: {parcel.name}: {error.strerror or error}")
                continue
            await self._kept.save_packed(self._key, packed)
            done[packed.name] = packed
        manifest = tuple(
            ResultFile(name=file.name, size=file.size, sha256=file.sha256)
            for _, file in sorted(done.items())
        )
        # epochs are ULIDs, so that the later one is also the greater one
        return manifest, max(((file.epoch, file.n) for file in done.values()), default=None)

    async def _begun(self) -> tuple[str, int]:
        """Return which file an earlier process of the node was at, and how far it had come."""
        newest = await self._journal.newest("files")
        if newest is None:
            return "", 0
        chunk = FileChunk.model_validate_json(newest)
        if chunk.last or (chunk.experiment_id, chunk.attempt) != self._key:
            return "", 0
        return chunk.name, chunk.offset + len(base64.b64decode(chunk.data))

    async def _move(self, parcel: Parcel, upto: int) -> PackedFile:
        """Move a file; what is before `upto` is in the journal already."""
        digest = hashlib.sha256()
        offset = 0
        held = b""
        async for piece in _pieces(parcel):
            if held and offset > upto:
                await self._append(parcel.name, offset - len(held), held)
            digest.update(piece)
            offset += len(piece)
            held = piece
        sha256 = digest.hexdigest()
        epoch, n = await self._append(
            parcel.name, offset - len(held), held, size=offset, sha256=sha256
        )
        return PackedFile(name=parcel.name, size=offset, sha256=sha256, epoch=epoch, n=n)

    async def _append(
        self,
        name: str,
        offset: int,
        data: bytes,
        *,
        size: int | None = None,
        sha256: str | None = None,
    ) -> tuple[str, int]:
        chunk = FileChunk(
            experiment_id=self._key.experiment_id,
            attempt=self._key.attempt,
            name=name,
            offset=offset,
            data=base64.b64encode(data).decode("ascii"),
            last=size is not None,
            size=size,
            sha256=sha256,
        )
        while True:
            if storage.keeps_file(self._journal.fill()):
                try:
                    return await self._journal.append("files", [chunk])
                except ContractError as error:
                    if error.error.code is not ErrorCode.STORAGE_FULL:
                        raise
            if not self._waited:
                self._waited = True
                await self._tell("The results wait on the node until the hub has taken older data.")
            await self._sleep(RETRY_SECONDS)


async def _pieces(parcel: Parcel) -> AsyncIterator[bytes]:
    """Give the content in pieces of `PIECE` bytes, the last one shorter.

    Raises:
        OSError: A file cannot be read, or is not what was found.
    """
    waiting = bytearray()
    for file in parcel.contents:
        if parcel.archive:
            waiting += _header(file)
        async for data in _content(file):
            waiting += data
            while len(waiting) >= PIECE:
                yield bytes(waiting[:PIECE])
                del waiting[:PIECE]
        if parcel.archive:
            waiting += bytes(-file.size % _BLOCK)
    if parcel.archive:
        waiting += bytes(2 * _BLOCK)
    while waiting:
        yield bytes(waiting[:PIECE])
        del waiting[:PIECE]


async def _content(file: FoundFile) -> AsyncIterator[bytes]:
    descriptor = await asyncio.to_thread(open_file, file)
    try:
        left = file.size
        while left:
            data = await asyncio.to_thread(os.read, descriptor, min(PIECE, left))
            if not data:
                raise OSError(f"{file.name} is shorter than it was")
            left -= len(data)
            yield data
    finally:
        os.close(descriptor)


def _header(file: FoundFile) -> bytes:
    info = tarfile.TarInfo(file.name)
    info.size = file.size
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT)
