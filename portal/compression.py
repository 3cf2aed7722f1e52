"""Answers made smaller on their way, in the encoding that the asker likes best.

What must not be compressed says so with `Cache-Control: no-transform`; answers that change
something are not, pages aside. Secrets stand in neither (docs/decisions/0046).
"""

import asyncio
import zlib
from http import HTTPStatus
from typing import Final, Protocol

import brotli
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONFIDENTIAL: Final = "no-store, no-transform"
"""`Cache-Control` of what carries a secret."""
MIN_BYTES: Final = 1024
"""Below it, one network packet carries the answer anyway."""
_AWAY_BYTES: Final = 64 * 1024
"""From here on another thread compresses, so that live data is not held up."""
_PAGES: Final = "text/html"
_READ: Final = ("application/json", "text/csv", "text/plain")
_AS_THEY_ARE: Final = frozenset(
    (HTTPStatus.NO_CONTENT, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED)
)


class Packer(Protocol):
    """Compresses a stream."""

    def add(self, data: bytes) -> bytes:
        """Take more; return what is ready."""

    def finish(self) -> bytes:
        """Return the rest."""


class Gzip:
    """RFC 1952."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(5, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def add(self, data: bytes) -> bytes:
        """Take more; return what is ready."""
        return self._packer.compress(data)

    def finish(self) -> bytes:
        """Return the rest."""
        return self._packer.flush()


class Brotli:
    """RFC 7932, at a level that costs what gzip does and makes less of text; 1 MiB of memory."""

    def __init__(self) -> None:
        self._packer = brotli.Compressor(mode=brotli.MODE_TEXT, quality=4, lgwin=18)

    def add(self, data: bytes) -> bytes:
        """Take more; return what is ready."""
        return bytes(self._packer.process(data))

    def finish(self) -> bytes:
        """Return the rest."""
        return bytes(self._packer.finish())


_PACKERS: Final[dict[str, type[Packer]]] = {"br": Brotli, "gzip": Gzip}


def preferred(accept_encoding: str) -> str | None:
    """Return the encoding to use for a header `Accept-Encoding`; None: send it as it is.

    Of encodings liked alike, brotli comes first.
    """
    liked: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        name, *options = (piece.strip() for piece in part.split(";"))
        quality = next((o[2:] for o in options if o.startswith("q=")), "1")
        try:
            liked[name] = float(quality)
        except ValueError:
            liked[name] = 0.0
    best = max(_PACKERS, key=lambda name: liked.get(name, liked.get("*", 0.0)))
    return best if liked.get(best, liked.get("*", 0.0)) > 0 else None


class Compressed:
    """Compresses text: pages, and what was read as JSON, CSV or log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "http":
            send = _Sender(scope, send).send
        await self._app(scope, receive, send)


class _Sender:
    """Sends one answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        request = Headers(scope=scope)
        self._reading = scope["method"] in {"GET", "HEAD"}
        self._in_part = "range" in request
        self._encoding = preferred(request.get("accept-encoding", ""))
        self._send = send
        self._start: tuple[Message, str] | None = None
        self._packer: Packer | None = None

    async def send(self, message: Message) -> None:
        """Send a part of it, compressed if that is wanted."""
        if message["type"] == "http.response.start":
            await self._begin(message)
            return
        held, self._start = self._start, None
        if held is not None:
            body, more = message.get("body", b""), message.get("more_body", False)
            if more or len(body) >= MIN_BYTES:
                packed = await self._first(*held, body, more=more)
                await self._send({**message, "body": packed})
            else:
                await self._send(held[0])
                await self._send(message)
        elif self._packer is not None:
            body, more = message.get("body", b""), message.get("more_body", False)
            await self._send({**message, "body": await _pack(self._packer, body, last=not more)})
        else:
            await self._send(message)

    async def _begin(self, start: Message) -> None:
        headers = MutableHeaders(raw=list(start["headers"]))
        if not self._worth(start["status"], headers):
            await self._send(start)
            return
        headers.add_vary_header("Accept-Encoding")
        start = {**start, "headers": headers.raw}
        if self._encoding is None:
            await self._send(start)
        else:
            self._start = start, self._encoding

    async def _first(self, start: Message, encoding: str, body: bytes, *, more: bool) -> bytes:
        """Send the head; return the first part of the body, compressed."""
        packer = _PACKERS[encoding]()
        packed = await _pack(packer, body, last=not more)
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["Content-Encoding"] = encoding
        etag = headers.get("etag")
        if etag is not None and not etag.startswith("W/"):
            headers["ETag"] = f"W/{etag}"  # other bytes than those that the strong one names
        del headers["accept-ranges"]
        if more:
            del headers["content-length"]
            self._packer = packer
        else:
            headers["Content-Length"] = str(len(packed))
        await self._send({**start, "headers": headers.raw})
        return packed

    def _worth(self, status: int, headers: Headers) -> bool:
        media_type = headers.get("content-type", "")
        return (
            status not in _AS_THEY_ARE
            and not self._in_part
            and "content-encoding" not in headers
            and "no-transform" not in headers.get("cache-control", "")
            and (media_type.startswith(_PAGES) or (self._reading and media_type.startswith(_READ)))
        )


async def _pack(packer: Packer, body: bytes, *, last: bool) -> bytes:
    if len(body) >= _AWAY_BYTES:
        return await asyncio.to_thread(_packed, packer, body, last=last)
    return _packed(packer, body, last=last)


def _packed(packer: Packer, body: bytes, *, last: bool) -> bytes:
    packed = packer.add(body)
    return packed + packer.finish() if last else packed
