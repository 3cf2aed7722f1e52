"""Manual control of a reactor that nobody holds: said to the node itself, answered by it."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from ulid import ULID

from broker.connection import Connection, Message, NotConnectedError
from broker.messages import (
    ByHand,
    ChannelInfo,
    Command,
    ContractError,
    Done,
    Error,
    ErrorCode,
    ManualEnd,
    Reply,
    decode,
    utc_now,
)
from broker.topics import Topic
from portal.asking import build, expect, need_admin
from portal.errors import not_found
from portal.known import NodeView
from portal.mishaps import Mishaps
from portal.sessions import Session
from portal.state import State

_O = TypeVar("_O", bound=ByHand)

_EXPIRES_SECONDS: Final = 5.0
"""An order that is older is not carried out; nodes refuse more than ten seconds."""
_ANSWER_SECONDS: Final = 3.0
_SEEN_SECONDS: Final = 0.5
"""How long an answer waits until everybody sees its effect, so that a page shown next has it."""


class ManualControl:
    """Sets and doses by hand on behalf of administrators.

    Args:
        principal: The portal's own name at the broker.
        mishaps: What failed before.
    """

    def __init__(
        self, connection: Connection, state: State, principal: str, mishaps: Mishaps
    ) -> None:
        self._connection = connection
        self._state = state
        self._mishaps = mishaps
        self._principal = principal
        self._client = f"m{secrets.token_hex(10)}"
        self._waiting: dict[str, set[asyncio.Future[Reply]]] = {}
        topic = connection.topics.build(Topic.REPLY, principal=principal, client=self._client)
        connection.subscribe(topic, self._hear)

    async def command(
        self,
        session: Session,
        node: str,
        channel: str,
        *,
        value: float | None = None,
        dose_ml: float | None = None,
        duration: float | None = None,
        request_id: str | None = None,
    ) -> Done:
        """Set a channel, or give a dose; the reactor is held by hand from then on.

        Args:
            session: Who controls; an administrator.
            node: The reactor.
            channel: Of it.
            value: In the channel's unit.
            dose_ml: Of a pump, in place of a value.
            duration: Seconds of the reactor's clock; direct outputs need one.
            request_id: The same one again is carried out once.

        Raises:
            ContractError: What the node said, REACTOR_BUSY for example; NOT_FOUND,
                UNKNOWN_CHANNEL, FORBIDDEN, MALFORMED; UNAVAILABLE or TIMEOUT without an answer.
        """
        need_admin(session, "control a reactor by hand")
        view = self._online(node)
        known = _channel(view, channel)
        order = self._order(
            Command,
            session,
            request_id,
            value=value,
            dose_ml=dose_ml,
            duration=duration,
        )
        self._mishaps.again(session.user, node, known.name)
        done = await self._send(Topic.NODE_COMMAND, view, order, channel=known.name)
        await self._seen(lambda: self._held(node))
        return done

    async def end(self, session: Session, node: str) -> Done:
        """End manual control and make everything safe.

        Raises:
            ContractError: As `command`.
        """
        need_admin(session, "end manual control")
        view = self._online(node)
        self._mishaps.again(session.user, node, "")
        done = await self._send(Topic.NODE_MANUAL_END, view, self._order(ManualEnd, session, None))
        await self._seen(lambda: not self._held(node))
        return done

    def _order(
        self, kind: type[_O], session: Session, request_id: str | None, **fields: object
    ) -> _O:
        return build(
            kind,
            id=request_id or str(ULID()),
            client=self._client,
            expires_at=utc_now() + timedelta(seconds=_EXPIRES_SECONDS),
            actor=session.actor,
            **fields,
        )

    async def _send(self, kind: Topic, view: NodeView, order: ByHand, **levels: str) -> Done:
        topic = self._connection.topics.build(
            kind, node=view.id, principal=self._principal, **levels
        )
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(order.id, set())
        waiting.add(answer)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._connection.publish(topic, order.encode(), timeout=_ANSWER_SECONDS)
                reply = await answer
        except NotConnectedError as error:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                "the message broker does not answer",
                "nothing was done; use the switch at the reactor, or the command line of its node",
            ) from error
        except TimeoutError as error:
            raise ContractError(
                ErrorCode.TIMEOUT,
                f"{view.label} did not answer",
                "it may have been done: look at the reactor before you try again",
                id=order.id,
            ) from error
        finally:
            waiting.discard(answer)
            if not waiting:
                self._waiting.pop(order.id, None)
        if reply.error is not None:
            told: Error = reply.error
            raise ContractError(told.code, told.message, told.hint, **told.details)
        return expect(Done, reply.result)

    async def _hear(self, message: Message) -> None:
        reply = decode(Reply, message.payload)
        for answer in self._waiting.get(reply.id or "", ()):
            if not answer.done():
                answer.set_result(reply)

    def _online(self, node: str) -> NodeView:
        view = self._state.node(node)
        if view is None:
            raise not_found("this reactor", "see /nodes for those that are known")
        if not view.online:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"{view.label} is offline",
                "commands by hand are not kept for later: try again when it is back",
            )
        return view

    def _held(self, node: str) -> bool:
        view = self._state.node(node)
        return view is not None and view.report is not None and view.report.manual is not None

    async def _seen(self, met: Callable[[], bool]) -> None:
        await self._state.until(met, _SEEN_SECONDS)


def _channel(view: NodeView, name: str) -> ChannelInfo:
    known = view.channels.channels if view.channels else ()
    for channel in known:
        if channel.name == name:
            return channel
    raise ContractError(
        ErrorCode.UNKNOWN_CHANNEL,
        f"{view.label} has no channel {name[:48]!r}",
        "it has: " + ", ".join(channel.name for channel in known if channel.kind != "sensor"),
    )
