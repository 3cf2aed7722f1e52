"""Files of any size from the hub to a browser: pulled in pieces, in order, in constant memory."""

import asyncio
import base64
import binascii
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from broker.messages import (
    MAX_FETCH_BYTES,
    ContractError,
    ErrorCode,
    Exported,
    Fetched,
)
from portal.conditional import REVALIDATE, is_head, matches
from portal.joining import Part, joined
from portal.security import FILE_SECURITY_POLICY

_log = logging.getLogger(__name__)

OUTSTANDING: Final = 4
"""Pieces of one download that are asked for at the same time."""
OUTSTANDING_IN_ALL: Final = 8
"""Pieces of all downloads together; bounds the memory, about 1 MiB each while it is decoded."""
MAX_DOWNLOADS: Final = 16
"""Each holds up to four pieces, 1 MiB, while its browser is slow."""
_STALL_SECONDS: Final = 120.0
"""A browser that takes nothing for so long has its download ended; it can resume."""

FetchPiece = Callable[[int, int], Awaitable[Fetched]]
"""Fetches `length` bytes from `offset` of one file."""

Ready = tuple[str, Exported, FetchPiece]
"""The folder that it becomes, a ZIP, and what fetches it."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` up to but without `stop` of a file."""

    start: int
    stop: int


class Downloads:
    """Streams exported files."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(OUTSTANDING_IN_ALL)
        self._running = 0

    def respond(self, request: Request, file: Exported, fetch: FetchPiece) -> Response:
        """Return the file, or the part of it that the request's `Range` names.

        Raises:
            ContractError: UNAVAILABLE, too many downloads run already.
        """
        self._demand_room()
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": f'"{file.sha256}"',
            "Cache-Control": REVALIDATE,
            "Content-Disposition": disposition(file.filename),
            "Content-Security-Policy": FILE_SECURITY_POLICY,
        }
        if matches(request.headers.get("if-none-match", ""), headers["ETag"]):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        status, span = HTTPStatus.OK, Span(0, file.size)
        wanted = request.headers.get("range")
        if wanted and request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
            part = parse_range(wanted, file.size)
            if part is None:
                headers["Content-Range"] = f"bytes */{file.size}"
                return Response(
                    status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers
                )
            if part != span:
                status, span = HTTPStatus.PARTIAL_CONTENT, part
                headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.size}"
        headers["Content-Length"] = str(span.stop - span.start)
        if is_head(request):
            return Response(status_code=status, headers=headers, media_type=file.media_type)
        body = self._counted(self.pieces(span, file.size, fetch))
        return PiecesResponse(body, status, headers, file.media_type)

    def respond_joined(
        self, request: Request, filename: str, ready: AsyncGenerator[Ready, None]
    ) -> Response:
        """Return one ZIP of several, each of which is made ready when its turn comes.

        How large it becomes is not known before: it has no length, and no part of it resumes.

        Raises:
            ContractError: As `respond`.
        """
        self._demand_room()
        headers = {
            "Accept-Ranges": "none",
            "Cache-Control": "no-store",
            "Content-Disposition": disposition(filename),
            "Content-Security-Policy": FILE_SECURITY_POLICY,
        }
        if is_head(request):
            return Response(headers=headers, media_type="application/zip")

        async def parts() -> AsyncGenerator[Part, None]:
            async with aclosing(ready):
                async for folder, file, fetch in ready:

                    def read(
                        start: int, stop: int, file: Exported = file, fetch: FetchPiece = fetch
                    ) -> AsyncGenerator[bytes, None]:
                        return self.pieces(Span(start, stop), file.size, fetch)

                    yield Part(folder, file.size, read)

        body = self._counted(joined(parts()))
        return PiecesResponse(body, HTTPStatus.OK, headers, "application/zip")

    def _demand_room(self) -> None:
        if self._running >= MAX_DOWNLOADS:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"{MAX_DOWNLOADS} downloads run already",
                "try again when one of them has ended",
            )

    async def _counted(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        self._running += 1
        try:
            async with aclosing(body):
                async for piece in body:
                    yield piece
        finally:
            self._running -= 1

    async def pieces(self, span: Span, size: int, fetch: FetchPiece) -> AsyncGenerator[bytes, None]:
        """Yield the span's bytes in order, a few pieces being asked for ahead.

        Raises:
            ContractError: What the hub said, or INTERNAL if it sent something else than asked.
        """
        offsets = iter(range(span.start, span.stop, MAX_FETCH_BYTES))
        ahead: deque[asyncio.Task[bytes]] = deque()

        def ask() -> None:
            offset = next(offsets, None)
            if offset is not None:
                length = min(MAX_FETCH_BYTES, span.stop - offset)
                ahead.append(asyncio.create_task(self._piece(fetch, offset, length, size)))

        try:
            for _ in range(OUTSTANDING):
                ask()
            while ahead:
                piece = await ahead.popleft()
                ask()
                yield piece
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def _piece(self, fetch: FetchPiece, offset: int, length: int, size: int) -> bytes:
        async with self._slots:
            fetched = await fetch(offset, length)
            try:
                data = base64.b64decode(fetched.data, validate=True)
            except binascii.Error:
                data = b""
        if fetched.offset != offset or fetched.size != size or len(data) != length:
            raise ContractError(
                ErrorCode.INTERNAL,
                f"the hub sent {len(data)} bytes from {fetched.offset} in place of {length} "
                f"from {offset}",
                "download again",
            )
        return data


class PiecesResponse(StreamingResponse):
    """Streams a body of known length; what goes wrong midway ends the connection.

    The status is long sent by then: a connection that ends early is the one way to say so, and
    browsers resume with `Range`.
    """

    def __init__(
        self,
        body: AsyncGenerator[bytes, None],
        status: int,
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        super().__init__(body, status, headers, media_type)
        self._body = body

    async def stream_response(self, send: Send) -> None:
        """Send the whole body, closing it whatever happens."""
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        async with aclosing(self._body) as body:
            await send(start)
            try:
                async for piece in body:
                    async with asyncio.timeout(_STALL_SECONDS):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            except (ContractError, TimeoutError) as error:
                _log.warning("a download was cut short: %s", error)
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def parse_range(text: str, size: int) -> Span | None:
    """Return which bytes a `Range` header wants, None if the file has none of them.

    What is not understood, several ranges included, means the whole file, as RFC 9110 allows.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None or match[0] == "bytes=-":
        return Span(0, size)
    first, last = match[1], match[2]
    if len(first) > 20 or len(last) > 20:  # noqa: PLR2004 - more digits than any file has bytes
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start = int(first)
        stop = min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return Span(0, size)
    return Span(start, stop) if start < stop else None


def disposition(filename: str) -> str:
    """Return the header that has a browser save the file under this name, never show it.

    What would make the name a path, end the line, or show it other than it is (marks that turn
    the direction of writing, or that nobody sees) becomes "_".
    """
    last = filename.rsplit("/", 1)[-1]
    name = "".join(ch if ch.isprintable() and ch != "\\" else "_" for ch in last).strip(". ") or "_"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
