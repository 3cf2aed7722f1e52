"""What need not be sent: bodies of HEAD, and JSON that the asker has already."""

import hashlib
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REVALIDATE: Final = "private, no-cache"
"""May be kept by who asked, and is to be asked for again each time."""

_JSON: Final = "application/json"
_PATHS: Final = ("/api/", "/openapi.json")


def matches(if_none_match: str, etag: str) -> bool:
    """Whether a header `If-None-Match` names this tag, as RFC 9110 section 13.1.2 compares."""
    if if_none_match.strip() == "*":
        return True
    wanted = etag.removeprefix("W/")
    return any(one.strip().removeprefix("W/") == wanted for one in if_none_match.split(","))


def is_head(request: Request) -> bool:
    """Whether only the headers of an answer are wanted; the method that handlers see is GET."""
    return bool(getattr(request.state, "head", False))


class Headless:
    """Lets every route that answers GET answer HEAD; the server sends no body then."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["head"] = True
        as_get = {**scope, "method": "GET"}

        async def send_routed(message: Message) -> None:
            if "route" in as_get:
                scope["route"] = as_get["route"]  # for who counts requests by route
            await send(message)

        await self._app(as_get, receive, send_routed)


class Conditional:
    """Tags JSON that was read with its hash, and answers 304 to who has the same already.

    The tag is weak: the same value may be sent compressed or not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        reads = scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}
        if not reads or not scope["path"].startswith(_PATHS):
            await self._app(scope, receive, send)
            return
        known = Headers(scope=scope).get("if-none-match", "")
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _taggable(message):
                start = message
                return
            held, start = start, None
            if held is not None:
                if message.get("more_body", False):
                    await send(held)
                else:
                    message = await self._tag(held, message, known, send)
            await send(message)

        await self._app(scope, receive, send_tagged)

    @staticmethod
    async def _tag(start: Message, body: Message, known: str, send: Send) -> Message:
        """Send the head of a tagged answer; return the body that follows it."""
        digest = hashlib.blake2b(body.get("body", b""), digest_size=16).hexdigest()
        etag = f'W/"{digest}"'
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["ETag"] = etag
        headers["Cache-Control"] = REVALIDATE
        if known and matches(known, etag):
            for name in ("content-length", "content-type"):
                del headers[name]
            start = {**start, "status": HTTPStatus.NOT_MODIFIED}
            body = {**body, "body": b""}
        await send({**start, "headers": headers.raw})
        return body


def _taggable(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    return (
        start["status"] == HTTPStatus.OK
        and headers.get("content-type", "").startswith(_JSON)
        and "etag" not in headers
        and "cache-control" not in headers
    )
