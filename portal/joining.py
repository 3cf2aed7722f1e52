"""Several ZIPs as one, streamed: what each holds is copied as it is, into a folder of its own.

Nothing is unpacked: sizes and checksums stand in the directory at each ZIP's end, which is read
first. Formats by PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3.
"""

import io
import struct
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from zipfile import BadZipFile, ZipFile, ZipInfo

from broker.messages import ContractError, ErrorCode

MAX_DIRECTORY: Final = 4 * 1024 * 1024
"""Bytes at the end of one ZIP that may name what it holds: many thousand files."""

_LOCAL: Final = struct.Struct("<4s22x2H")
_CENTRAL: Final = struct.Struct("<4s4B4H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_MOST32: Final = 0xFFFFFFFF
_MOST16: Final = 0xFFFF
_ZIP64_VERSION: Final = 45
_SIZES_FOLLOW: Final = 0x08
"""Of a member's flags: sizes and checksum stand behind its data. Here they are known before."""

Read = Callable[[int, int], AsyncGenerator[bytes, None]]
"""Yields a file's bytes from a start up to but without a stop."""


@dataclass(frozen=True, slots=True)
class Part:
    """A ZIP that becomes a folder.

    Attributes:
        folder: Its name, without a slash.
        size: Bytes of the ZIP.
    """

    folder: str
    size: int
    read: Read


async def joined(parts: AsyncIterable[Part]) -> AsyncGenerator[bytes, None]:
    """Yield one ZIP of all these; what is kept meanwhile is its directory.

    Raises:
        ContractError: INTERNAL, one of them is no ZIP as expected; what reading it raises.
    """
    directory = Directory()
    async for part in parts:
        inner = await _directory_of(part)
        source = _Source(part.read(0, inner.start_dir))
        async with aclosing(source.pieces):
            for info in sorted(inner.infolist(), key=lambda info: info.header_offset):
                await source.go_to(info.header_offset)
                signature, name, extra = _LOCAL.unpack(await source.take(_LOCAL.size))
                if signature != b"PK\x03\x04":
                    raise _unexpected(part.folder)
                await source.go_to(source.at + name + extra)
                yield directory.add(f"{part.folder}/{info.filename}", info)
                async for piece in source.copy(info.compress_size):
                    yield piece
    yield directory.end()


class Directory:
    """Of the ZIP that is being made; knows where in it the next member begins."""

    def __init__(self) -> None:
        self._at = 0
        self._count = 0
        self._records = bytearray()

    def add(self, name: str, like: ZipInfo) -> bytes:
        """Note a member that begins here; return what stands before its data."""
        info = ZipInfo(name, like.date_time)
        info.compress_type, info.external_attr = like.compress_type, like.external_attr
        info.CRC, info.file_size, info.compress_size = like.CRC, like.file_size, like.compress_size
        info.flag_bits = like.flag_bits & ~_SIZES_FOLLOW
        header = info.FileHeader()
        self._note(info, header)
        self._count += 1
        self._at += len(header) + info.compress_size
        return header

    def end(self) -> bytes:
        """Return what stands behind all members."""
        size, count, start = len(self._records), self._count, self._at
        end = bytes(self._records)
        if count > _MOST16 or start > _MOST32:
            end += _END64.pack(
                b"PK\x06\x06", _END64.size - 12, _ZIP64_VERSION, _ZIP64_VERSION, 0, 0,
                count, count, size, start,
            )  # fmt: skip
            end += _LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1)
            count, start = min(count, _MOST16), min(start, _MOST32)
        return end + _END.pack(b"PK\x05\x06", 0, 0, count, count, size, start, 0)

    def _note(self, info: ZipInfo, header: bytes) -> None:
        """Write a member's record; the local header has its name and flags as they are encoded."""
        flags, _, time, date = struct.unpack_from("<4H", header, 6)
        (length,) = struct.unpack_from("<H", header, 26)
        name = header[_LOCAL.size : _LOCAL.size + length]
        large = [n for n in (info.file_size, info.compress_size, self._at) if n >= _MOST32]
        extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        version = _ZIP64_VERSION if large else info.extract_version
        self._records += _CENTRAL.pack(
            b"PK\x01\x02", version, info.create_system, version, 0,
            flags, info.compress_type, time, date,
            info.CRC, min(info.compress_size, _MOST32), min(info.file_size, _MOST32),
            length, len(extra), 0, 0, 0, info.external_attr, min(self._at, _MOST32),
        )  # fmt: skip
        self._records += name + extra


class _Source:
    """Reads the members of a ZIP one after another."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self.pieces = pieces
        self.at = 0
        self._rest = memoryview(b"")

    async def copy(self, count: int) -> AsyncGenerator[bytes, None]:
        """Yield the next so many bytes.

        Raises:
            ContractError: INTERNAL, there are not so many.
        """
        while count:
            if not self._rest:
                self._rest = memoryview(await anext(self.pieces, b""))
                if not self._rest:
                    raise _unexpected("a ZIP")
            piece, self._rest = self._rest[:count], self._rest[count:]
            count -= len(piece)
            self.at += len(piece)
            yield bytes(piece)

    async def take(self, count: int) -> bytes:
        """Return the next so many bytes."""
        return b"".join([piece async for piece in self.copy(count)])

    async def go_to(self, place: int) -> None:
        """Leave out what stands before this place."""
        if place < self.at:
            raise _unexpected("a ZIP")
        async for _ in self.copy(place - self.at):
            pass


async def _directory_of(part: Part) -> ZipFile:
    """Return a ZIP of which only the end was read: what it holds, not its contents."""
    tail, wanted = b"", min(part.size, 64 * 1024)
    while True:
        start = part.size - wanted
        async with aclosing(part.read(start, part.size - len(tail))) as pieces:
            tail = b"".join([piece async for piece in pieces]) + tail
        try:
            return ZipFile(_Tail(tail, part.size))
        except _BeforeError:
            if wanted in {part.size, MAX_DIRECTORY}:
                raise _unexpected(part.folder) from None
            wanted = min(part.size, 8 * wanted, MAX_DIRECTORY)
        except BadZipFile as error:
            raise _unexpected(part.folder) from error


class _BeforeError(Exception):
    """What is asked for lies before the part of a file that is there."""


class _Tail(io.RawIOBase):
    """A file of which only the end is there."""

    def __init__(self, tail: bytes, size: int) -> None:
        super().__init__()
        self._tail = tail
        self._size = size
        self._at = 0

    def seekable(self) -> bool:
        """Say that it is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place of the whole file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("there is nothing before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the place in the whole file."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read from the place in the whole file.

        Raises:
            _BeforeError: It lies before what is there.
        """
        start = self._at - (self._size - len(self._tail))
        if start < 0:
            raise _BeforeError
        data = self._tail[start:] if size < 0 else self._tail[start : start + size]
        self._at += len(data)
        return data


def _unexpected(what: str) -> ContractError:
    return ContractError(
        ErrorCode.INTERNAL, f"{what} is not as the hub makes it", "download it alone"
    )
