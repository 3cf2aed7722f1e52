"""Who else is there: the watchdog, which must be, and a second node of this name, which must not.

Both are told as alarms, and nothing new is started while either is not as it should be.
"""

import asyncio
from collections.abc import Callable

from broker.connection import Connection, Presence
from broker.messages import ContractError, Error, ErrorCode
from node_service.alarms import TWIN, WATCHDOG, Alarms
from node_service.twins import Twins
from node_service.watchdog.process import Watchdog


class Company:
    """Looks after both.

    Args:
        topic: Where the node's presence is said.
        boot_id: Of this process.
        leave: Ends this process: another node of its name was there before.
        news: Called when `refusal` or `settled` may have changed.
    """

    def __init__(
        self,
        node: str,
        boot_id: str,
        watchdog: Watchdog,
        alarms: Alarms,
        presence: Presence,
        *,
        topic: str,
        leave: Callable[[ContractError], None],
        news: Callable[[], None],
    ) -> None:
        self._node = node
        self._topic = topic
        self._watchdog = watchdog
        self._alarms = alarms
        self._news = news
        self._twins = Twins(
            node,
            boot_id,
            lambda seconds, act: asyncio.get_running_loop().call_later(seconds, act),
            answer=presence.say_online,
            leave=leave,
            changed=self._hear_twins,
        )

    @property
    def settled(self) -> bool:
        """Whether this process may speak for the node."""
        return self._twins.settled

    @property
    def refusal(self) -> Error | None:
        """Why nothing new may start now."""
        if self._watchdog.fault is None:
            return self._twins.refusal
        return Error(
            code=ErrorCode.UNAVAILABLE,
            message="nothing would switch the reactor off if this node died: "
            f"{self._watchdog.fault}",
            hint="it is started again by itself; if that does not help, look at the node's log",
        )

    def listen(self, connection: Connection) -> None:
        """Watch both from now on."""
        self._watchdog.on_change(self._hear_watchdog)
        self._hear_watchdog()
        connection.subscribe(self._topic, self._twins.hear)
        connection.on_connect(self._twins.connected)

    def _hear_watchdog(self) -> None:
        fault = self._watchdog.fault
        if fault is None:
            self._alarms.off(WATCHDOG)
        else:
            self._alarms.on(
                WATCHDOG, "critical", f"if this node dies its reactor stays on: {fault}"
            )
        self._news()

    def _hear_twins(self) -> None:
        if self._twins.other is None:
            self._alarms.off(TWIN)
        else:
            self._alarms.on(
                TWIN,
                "critical",
                f"another node is called {self._node}, too: nothing is started until one of them "
                "is stopped or has another id",
            )
        self._news()
