"""The WebSocket `/ws`: reads what a viewer wants and sends what `Live` has for it."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Final

import orjson
from pydantic import Field, JsonValue
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from broker.messages import ContractError, Error, ErrorCode, Payload, decode
from broker.pace import Bucket
from portal.live import Live, Viewer
from portal.sessions import Session

_PATH: Final = "/ws"
LOOKED_EVERY: Final = 5.0
"""Seconds until it is seen that somebody's rights ended."""
MAX_MESSAGE_BYTES: Final = 64 * 1024
MESSAGES_PER_SECOND: Final = 20.0
_BURST: Final = 100.0

_GOING_AWAY, _POLICY, _TRY_LATER = 1001, 1008, 1013

_Filter = Annotated[str, Field(max_length=MAX_MESSAGE_BYTES)]


class Wish(Payload):
    """What a viewer sends: any of the three."""

    subscribe: tuple[_Filter, ...] = ()
    unsubscribe: tuple[_Filter, ...] = ()
    ping: int | None = None


class _LeftError(Exception):
    """The viewer is gone, or is to go with this close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Watching:
    """Serves viewers, before all that only HTTP needs: they would hold it for as long as they look.

    Args:
        live: What they watch.
    """

    def __init__(self, app: ASGIApp, live: Live) -> None:
        self._app = app
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "websocket" and scope["path"] == _PATH:
            await _serve(WebSocket(scope, receive, send), self._live)
        else:
            await self._app(scope, receive, send)


async def _serve(websocket: WebSocket, live: Live) -> None:
    """Serve one viewer until it leaves or is dropped.

    Who it is, whether its page is ours and how often it may come is decided before, for all
    requests alike, in `portal.admission`.
    """
    await websocket.accept()
    session: Session = websocket.state.session
    user = session.user if websocket.state.known else ""
    try:
        address = websocket.client.host if websocket.client else ""
        viewer = live.join(user, address, admin=session.admin)
    except ContractError as refused:
        await websocket.close(_TRY_LATER, refused.error.message)
        return
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_listen(websocket, live, viewer))
            group.create_task(_pump(websocket, live, viewer))
            group.create_task(_drop(viewer))
            if websocket.state.again is not None:
                group.create_task(_end_with_rights(session, websocket.state.again))
    except* _LeftError as left:
        reason = left.exceptions[0]
        if isinstance(reason, _LeftError) and reason.code == _POLICY:
            await websocket.close(_POLICY, str(reason))
    finally:
        live.leave(viewer)


async def _listen(websocket: WebSocket, live: Live, viewer: Viewer) -> None:
    bucket = Bucket(MESSAGES_PER_SECOND, _BURST)
    now = asyncio.get_running_loop().time
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise _LeftError(_GOING_AWAY, "disconnected")
        if bucket.take(now()) > 0:
            raise _LeftError(_POLICY, "too many messages")
        try:
            _obey(message.get("text"), live, viewer)
        except ContractError as refused:
            _complain(viewer, refused.error)


def _obey(text: str | None, live: Live, viewer: Viewer) -> None:
    if not text:
        raise ContractError(
            ErrorCode.MALFORMED, "an empty or binary message has no meaning", "send JSON as text"
        )
    wish = decode(Wish, text.encode(), MAX_MESSAGE_BYTES)
    if wish.unsubscribe:
        live.unsubscribe(viewer, wish.unsubscribe)
    if wish.subscribe:
        live.subscribe(viewer, wish.subscribe)
    if wish.ping is not None:
        viewer.tell(type="pong", n=wish.ping)


def _complain(viewer: Viewer, error: Error) -> None:
    body: JsonValue = orjson.loads(error.encode())
    viewer.tell(type="error", error=body)


async def _pump(websocket: WebSocket, live: Live, viewer: Viewer) -> None:
    try:
        await viewer.pump(websocket.send, live.count)
    except (OSError, WebSocketDisconnect) as error:
        raise _LeftError(_GOING_AWAY, "disconnected") from error


async def _end_with_rights(session: Session, again: Callable[[], Session]) -> None:
    """End when a login ran out or was ended, or a token expired or was revoked."""
    while True:
        until = session.admin_until
        left = LOOKED_EVERY if until is None else min(LOOKED_EVERY, until - time.time())
        await asyncio.sleep(max(0.0, left))
        try:
            same = again() == session
        except ContractError:
            same = False
        if not same:
            raise _LeftError(_GOING_AWAY, "the login or the token ended")


async def _drop(viewer: Viewer) -> None:
    await viewer.dropped.wait()
    raise _LeftError(_GOING_AWAY, "did not keep up")
