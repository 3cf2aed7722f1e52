"""The emergency stop: said to the node itself, so that it works with the hub dead."""

import asyncio
from typing import Final

from broker.connection import Connection, NotConnectedError
from broker.messages import ContractError, ErrorCode, Estop, EstopRelease, EstopRequest
from broker.topics import Topic
from portal.asking import need_admin
from portal.errors import not_found
from portal.known import NodeView
from portal.sessions import Session
from portal.state import State

_ANSWER_SECONDS: Final = 3.0
"""How long to wait for the node's report before saying that it has not answered yet."""
_BY_HAND: Final = "use the switch at the reactor, or the command line of its node"


class EmergencyStop:
    """Engages and releases nodes' latches.

    Args:
        principal: The portal's own name at the broker.
    """

    def __init__(self, connection: Connection, state: State, principal: str) -> None:
        self._connection = connection
        self._state = state
        self._principal = principal

    async def engage(self, session: Session, node: str, reason: str = "") -> str:
        """Stop a reactor; everybody may. Return what to tell.

        The order is retained at the broker when this returns: a node that is away obeys it when
        it comes back.

        Raises:
            ContractError: NOT_FOUND, or UNAVAILABLE if the broker could not be told.
        """
        label = self._node(node).label
        request = EstopRequest(reason=_signed(session, reason))
        await self._publish(Topic.NODE_ESTOP, node, request.encode(), retain=True)
        if await self._state.until(lambda: self._latch(node) is not None, _ANSWER_SECONDS):
            return f"{label} is stopped and holds every output in its safe state"
        return f"{label} was told to stop and has not answered yet; it obeys as soon as it hears"

    async def engage_all(self, session: Session, reason: str = "") -> str:
        """Stop every reactor that is known; everybody may. Return what to tell.

        Raises:
            ContractError: NOT_FOUND, no reactor is known; UNAVAILABLE, the broker could not be
                told of one at least: the message names those.
        """
        nodes = self._state.nodes()
        if not nodes:
            raise not_found("a reactor", "none has been heard from")
        told = await asyncio.gather(
            *(self.engage(session, node.id, reason) for node in nodes), return_exceptions=True
        )
        failed = [n.label for n, got in zip(nodes, told, strict=True) if not isinstance(got, str)]
        for got in told:
            if isinstance(got, BaseException) and not isinstance(got, ContractError):
                raise got
        if failed:
            raise ContractError(
                ErrorCode.UNAVAILABLE, f"not told to stop: {', '.join(failed)}", _BY_HAND
            )
        silent = [node.label for node in nodes if self._latch(node.id) is None]
        if silent:
            return (
                f"all {len(nodes)} reactors were told to stop; not answered yet: "
                f"{', '.join(silent)}, which obey as soon as they hear"
            )
        return f"all {len(nodes)} reactors are stopped and hold every output in its safe state"

    async def release(
        self, session: Session, node: str, latch: str | None = None, reason: str = ""
    ) -> str:
        """Release a latched stop; an administrator's right. Return what to tell.

        Args:
            session: Who releases.
            node: The reactor.
            latch: The stop that is meant; absent: the one that the node reports.
            reason: Why it is safe again; kept in the record.

        Raises:
            ContractError: NOT_FOUND, FORBIDDEN, WRONG_STATE if nothing or another stop is
                latched, UNAVAILABLE if the broker or the node could not be told.
        """
        need_admin(session, "release an emergency stop")
        view = self._node(node)
        latched = self._latch(node)
        if latched is None or latch not in {None, latched.latch}:
            raise ContractError(
                ErrorCode.WRONG_STATE,
                f"{view.label} does not hold this emergency stop",
                "look at the reactor's page: another stop may have been engaged since",
            )
        release = EstopRelease(latch=latched.latch, reason=_signed(session, reason)).encode()
        await self._publish(Topic.NODE_ESTOP_RELEASE, node, release, retain=False)

        def released() -> bool:
            now = self._latch(node)
            return now is None or now.latch != latched.latch

        if await self._state.until(released, _ANSWER_SECONDS):
            return f"the emergency stop of {view.label} is released"
        raise ContractError(
            ErrorCode.UNAVAILABLE,
            f"{view.label} did not answer; it may still hold its emergency stop",
            "releases are not kept for later: try again when the reactor is online",
        )

    def _node(self, node: str) -> NodeView:
        view = self._state.node(node)
        if view is None:
            raise not_found("this reactor", "see /nodes for those that are known")
        return view

    def _latch(self, node: str) -> Estop | None:
        view = self._state.node(node)
        return view.report.estop if view is not None and view.report is not None else None

    async def _publish(self, topic: Topic, node: str, payload: bytes, *, retain: bool) -> None:
        full = self._connection.topics.build(topic, node=node, principal=self._principal)
        try:
            await self._connection.publish(full, payload, retain=retain, timeout=5.0)
        except (NotConnectedError, TimeoutError) as error:
            raise ContractError(
                ErrorCode.UNAVAILABLE, "the message broker does not answer", _BY_HAND
            ) from error


def _signed(session: Session, reason: str) -> str:
    """Return the reason with the handle of who gives it: the node knows only the portal."""
    return (f"{session.handle}: {reason}" if reason else session.handle)[:200]
