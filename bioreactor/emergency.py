"""A reactor's emergency stop, said to the reactor itself: it needs the broker and no hub."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from broker.connection import Connection, Message, NotConnectedError
from broker.messages import (
    ContractError,
    ErrorCode,
    Estop,
    EstopRelease,
    EstopRequest,
    NodeReport,
    decode,
)
from broker.topics import ANY, SPECS, Topic

_CONNECT_S: Final = 15.0
_ANSWER_S: Final = 3.0
"""How long a reactor's report is waited for; an order to stop stays at the broker all the same."""


class EmergencyStop:
    """Engages and releases the latches of reactors, as an administrator.

    Args:
        connection: Entered by the caller.
        principal: The name that this connection has at the broker.
    """

    def __init__(self, connection: Connection, principal: str) -> None:
        self._connection = connection
        self._principal = principal
        self._reports: dict[str, NodeReport] = {}
        self._changed = asyncio.Condition()

    async def engage(self, node: str, reason: str = "") -> Estop | None:
        """Stop a reactor; every output goes to its safe state.

        Returns:
            The latch, by which it is released; None if the reactor has not answered yet: it obeys
            as soon as it hears.

        Raises:
            ContractError: NOT_FOUND, no reactor of this name has reported: it may not exist, or the
                broker may have forgotten it. The order stays, and is obeyed when it appears.
                UNAVAILABLE, the broker did not take the order.
        """
        stop = self._listen()
        try:
            await self._order(Topic.NODE_ESTOP, node, EstopRequest(reason=reason).encode())
            if (
                not await self._until(lambda: self._held(node) is not None)
                and node not in self._reports
            ):
                raise ContractError(
                    ErrorCode.NOT_FOUND,
                    f"no reactor {node} has reported yet; the order stays, and is obeyed when it "
                    "appears",
                    f"known are: {self._known()}; if the name is wrong, take the order back: "
                    f"`bioreactor estop {node} --take-back`",
                )
            return self._held(node)
        finally:
            stop()

    async def take_back(self, node: str) -> None:
        """Take back one's own order to a reactor that has not obeyed it; others' orders stay.

        Raises:
            ContractError: WRONG_STATE, the reactor has obeyed, and holds its stop until that is
                released; UNAVAILABLE, the broker did not take it.
        """
        stop = self._listen()
        try:
            if await self._until(lambda: node in self._reports) and self._held(node) is not None:
                raise ContractError(
                    ErrorCode.WRONG_STATE,
                    f"{node} has obeyed: it holds its emergency stop",
                    f"`bioreactor reactor release {node}` releases it",
                )
            await self._order(Topic.NODE_ESTOP, node, b"")
        finally:
            stop()

    async def release(self, node: str) -> None:
        """Release the stop that a reactor holds.

        Raises:
            ContractError: NOT_FOUND; WRONG_STATE, it holds none; UNAVAILABLE, broker or reactor
                did not answer.
        """
        stop = self._listen()
        try:
            await self._until(lambda: node in self._reports)
            held = self._held(node)
            if node not in self._reports:
                raise ContractError(
                    ErrorCode.NOT_FOUND,
                    f"no reactor {node} has reported yet",
                    f"known are: {self._known()}",
                )
            if held is None:
                raise ContractError(
                    ErrorCode.WRONG_STATE,
                    f"{node} holds no emergency stop",
                    "`bioreactor nodes` shows all reactors",
                )
            order = EstopRelease(latch=held.latch).encode()
            await self._order(Topic.NODE_ESTOP_RELEASE, node, order)
            if not await self._until(
                lambda: (now := self._held(node)) is None or now.latch != held.latch
            ):
                raise ContractError(
                    ErrorCode.UNAVAILABLE,
                    f"{node} did not answer; it may still hold its emergency stop",
                    "releases are not kept for later: try again when it is online",
                )
        finally:
            stop()

    def _listen(self) -> Callable[[], None]:
        topic = self._connection.topics.build(Topic.NODE_REPORT, node=ANY)
        return self._connection.subscribe(topic, self._report)

    async def _report(self, message: Message) -> None:
        if message.payload:
            report = decode(NodeReport, message.payload)
            async with self._changed:
                self._reports[report.node] = report
                self._changed.notify_all()

    def _held(self, node: str) -> Estop | None:
        report = self._reports.get(node)
        return None if report is None else report.estop

    async def _until(self, condition: Callable[[], bool]) -> bool:
        """Wait for what reactors report; False if it does not come soon."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_S), self._changed:
                await self._changed.wait_for(condition)
        return condition()

    def _known(self) -> str:
        return ", ".join(sorted(self._reports)) or "none"

    async def _order(self, topic: Topic, node: str, payload: bytes) -> None:
        name = self._connection.topics.build(topic, node=node, principal=self._principal)
        try:
            await self._connection.wait_connected(_CONNECT_S)
            await self._connection.publish(name, payload, retain=SPECS[topic].retained)
        except (NotConnectedError, TimeoutError) as error:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"the order did not reach the broker: {error}",
                "use the switch at the reactor, or `bioreactor node --estop` on its machine",
            ) from error
