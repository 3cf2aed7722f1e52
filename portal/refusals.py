"""Who was refused, in the log: wrong passwords and tokens, other sites' pages, names not ours."""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.pace import Bucket

_log = logging.getLogger(__name__)

REFUSALS: Final = {
    HTTPStatus.UNAUTHORIZED: "not known",
    HTTPStatus.FORBIDDEN: "not allowed",
    HTTPStatus.MISDIRECTED_REQUEST: "by a name that is not ours",
}
LINES_PER_SECOND: Final = 1.0
"""Sustained; whoever asks again and again must not fill the disk with it."""
BURST: Final = 50.0
_LONGEST: Final = 100


class Refusals:
    """Logs each request that is refused for who asks; of too many, how many.

    What proves who somebody is stands in headers and bodies, of which nothing is written but the
    page that the request comes from and the name that it is for.

    Args:
        now: Monotonic seconds.
    """

    def __init__(self, app: ASGIApp, now: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._now = now
        self._bucket = Bucket(LINES_PER_SECOND, BURST)
        self._untold = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_noted(message: Message) -> None:
            if message["type"].endswith("http.response.start"):  # a WebSocket's, too
                why = REFUSALS.get(message["status"])
                if why is not None:
                    self._tell(scope, why)
            await send(message)

        await self._app(scope, receive, send_noted)

    def _tell(self, scope: Scope, why: str) -> None:
        if self._bucket.take(self._now()) > 0:
            self._untold += 1
            return
        headers = Headers(scope=scope)
        client = scope.get("client")
        _log.warning(
            "refused %s %s, asked by %s for %s from the page of %s: %s%s",
            scope.get("method", "WebSocket"),
            _shown(scope["path"]),
            client[0] if client else "nobody",
            _shown(headers.get("host")),
            _shown(headers.get("origin")),
            why,
            f"; and {self._untold} more, of which nothing was written" if self._untold else "",
        )
        self._untold = 0


def _shown(text: str | None) -> str:
    """Return foreign text as it may stand in a line of the log."""
    return "nobody" if text is None else repr(text[:_LONGEST])
