"""Serves one attempt's gateway on its unix socket, and keeps a flood of calls from the sampler.

A script may call as fast as it likes; what exceeds the rate waits, so that the node's event loop
stays free for the reactor. Bodies are bounded before they are read.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.messages import Error, ErrorCode
from node_service.gateway import answer
from node_service.gateway_protocol import MAX_CONNECTIONS, MAX_HEADERS, ScriptConnection
from node_service.runner.paths import socket_address

MAX_BODY: Final = 64 * 1024
"""Bytes of a JSON body; files are metered where they are written."""
CALLS_PER_SECOND: Final = 400.0
WRITES_PER_SECOND: Final = 60.0
"""Calls that write to the disk: all that do something."""
BURST_SECONDS: Final = 3.0
_AT_ONCE: Final = MAX_CONNECTIONS // 4
"""Connections that one turn of the event loop takes at most: more would hold up a sample."""
_CLOSE_SECONDS: Final = 2

logger = logging.getLogger(__name__)


class Throttle:
    """Lets so many calls a second pass, and a burst of a few seconds' worth; others wait.

    Args:
        rate: Calls a second.
        now: Monotonic seconds.
    """

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        self._gap = 1.0 / rate
        self._now = now
        self._next = now() - BURST_SECONDS

    def delay(self) -> float:
        """Count a call; return the seconds that it must wait."""
        now = self._now()
        self._next = max(self._next + self._gap, now - BURST_SECONDS)
        return max(0.0, self._next - now)


class Guard:
    """Wraps the gateway's application: rates, sizes, and an answer whatever goes wrong.

    Args:
        touch: Called with each call, to know when the script was last heard of.
    """

    def __init__(self, app: ASGIApp, touch: Callable[[], None], now: Callable[[], float]) -> None:
        self._app = app
        self._touch = touch
        self._calls = Throttle(CALLS_PER_SECOND, now)
        self._writes = Throttle(WRITES_PER_SECOND, now)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._touch()
        delay = self._calls.delay()
        if scope["method"] != "GET":
            delay = max(delay, self._writes.delay())
        if delay > 0:
            await asyncio.sleep(delay)
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if scope["method"] != "PUT":
                receive = await _whole(receive)
                # Whatever curl says that it sends, it is JSON or nothing.
                scope = {**scope, "headers": [*_other_headers(scope), _JSON]}
            await self._app(scope, receive, sending)
        except _TooLargeError:
            await answer(_TOO_LARGE)(scope, receive, send)
        except _HungUpError:
            logger.debug("the script hung up within a call: %s", scope["path"])
        except Exception:
            logger.exception("a call of the script failed: %s %s", scope["method"], scope["path"])
            if not started:
                await answer(_INTERNAL)(scope, receive, send)


class GatewayServer:
    """An async context manager: the socket is there from entering to leaving.

    Args:
        path: Of the socket. Its directory must exist; what lies there under that name is replaced.
        app: Of the gateway.
        touch: Called with each call.
    """

    def __init__(self, path: Path, app: ASGIApp, touch: Callable[[], None]) -> None:
        self._path = path
        self._app = app
        self._touch = touch

    async def __aenter__(self) -> Self:
        """Listen; the script may connect when it returns."""
        config = uvicorn.Config(
            Guard(self._app, self._touch, asyncio.get_running_loop().time),
            lifespan="off",
            http=ScriptConnection,
            h11_max_incomplete_event_size=MAX_HEADERS,
            backlog=_AT_ONCE,
            ws="none",
            log_config=None,
            log_level="error",  # what a script sends wrongly fills no log of the node
            access_log=False,
            server_header=False,
            timeout_keep_alive=3600,
            timeout_graceful_shutdown=_CLOSE_SECONDS,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(
            self._server.serve(sockets=[_listen(self._path)]), name="gateway"
        )
        await self._server.listening
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening; calls under way get a moment to end, then are cut off."""
        self._server.should_exit = True
        try:
            await self._serving
        finally:
            self._path.unlink(missing_ok=True)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `should_exit`; `listening` is set, or gets the error."""
        try:
            await super().serve(sockets)
        except BaseException as error:
            if not self.listening.done():
                self.listening.set_exception(error)
                return
            raise

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for line in sockets or ():
            line.listen(MAX_CONNECTIONS)  # so many may wait; the loop listens for few
        self.listening.set_result(None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service: the gateway is one of its parts."""
        yield


class _TooLargeError(Exception):
    pass


class _HungUpError(Exception):
    """Half of what was asked for is not done: nothing is."""


_TOO_LARGE: Final = Error(
    code=ErrorCode.TOO_LARGE,
    message=f"a call may carry at most {MAX_BODY} bytes",
    hint="send less at once; save large data as a file",
    details={"limit": MAX_BODY},
)
_INTERNAL: Final = Error(
    code=ErrorCode.INTERNAL,
    message="the node could not do this because of a fault of its own",
    hint="the node's log says why",
)


_JSON: Final = (b"content-type", b"application/json")


def _other_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in scope["headers"] if name != _JSON[0]]


async def _whole(receive: Receive) -> Receive:
    """Read a body to its end and return what gives it again."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise _HungUpError
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise _TooLargeError
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(path) as address:
            listener.bind(address)
        path.chmod(0o666)  # the experiment's user is none of this machine's
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
