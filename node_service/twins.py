"""Another node of the same name at the same broker: the one that came later leaves.

On one machine the data directory's lock keeps a second one out. On two machines the broker is the
one place where they meet: whoever hears another process say `online` under its own name says so
itself, once for each other process. A node that has just come and is answered like that is the
second one: it leaves before it has reported or started anything. One that was there first stays,
raises an alarm, and starts nothing new while the other is there.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from broker.connection import Message
from broker.messages import ContractError, Error, ErrorCode, ServiceStatus, decode

ANSWER_SECONDS: Final = 2.0
"""How long a node that finds another's `online` waits for a word of it: it may be long dead."""

logger = logging.getLogger(__name__)


class Twins:
    """Watches the node's own status topic.

    Args:
        boot_id: Of this process.
        later: Calls something after some seconds.
        answer: Says `online` again.
        leave: Ends this process, with the reason.
        changed: Called when `settled` or `refusal` may have changed.

    Attributes:
        settled: This process may speak for the node: nobody else did when it came.
        other: Boot id of another process that is there; None if none is.
    """

    def __init__(
        self,
        node: str,
        boot_id: str,
        later: Callable[[float, Callable[[], None]], object],
        *,
        answer: Callable[[], Awaitable[None]],
        leave: Callable[[ContractError], None],
        changed: Callable[[], None],
    ) -> None:
        self._node = node
        self._boot_id = boot_id
        self._later = later
        self._answer = answer
        self._leave = leave
        self._changed = changed
        self._asked = False
        self._waiting = False
        self._answered: set[str] = set()
        self.settled = False
        self.other: str | None = None

    @property
    def refusal(self) -> Error | None:
        """Why nothing new may start now; without a broker there is nobody to ask."""
        if self.other is not None:
            why = f"another node is called {self._node}, too"
        elif self._asked and not self.settled:
            why = f"it is being found out whether another node is called {self._node}"
        else:
            return None
        return Error(
            code=ErrorCode.UNAVAILABLE,
            message=why,
            hint="stop one of them, or give it an id of its own",
        )

    async def connected(self) -> None:
        """Note that this process says `online` now."""
        self._asked = True

    async def hear(self, message: Message) -> None:
        """Take what somebody says of the node's presence."""
        try:
            status = decode(ServiceStatus, message.payload)
        except ContractError:
            return  # no word of a node
        if status.boot_id == self._boot_id:
            if status.state == "online" and not self._waiting:
                self._settle()
        elif status.state == "offline":
            self._gone(status.boot_id)
        elif self.settled:
            await self._meet(status.boot_id)
        elif message.retain:
            # From before this process came. If its sender lives it will answer.
            self._waiting = True
            self._later(ANSWER_SECONDS, self._settle)
        else:
            self._leave(
                ContractError(
                    ErrorCode.WRONG_STATE,
                    f"another node is called {self._node} and was there first",
                    "stop that one, or give this one an id of its own",
                )
            )

    def _settle(self) -> None:
        if not self.settled:
            self.settled = True
            self._changed()

    async def _meet(self, boot_id: str) -> None:
        if self.other != boot_id:
            logger.critical("another node is called %s, too", self._node)
            self.other = boot_id
            self._changed()
        if boot_id not in self._answered:
            self._answered.add(boot_id)
            await self._answer()

    def _gone(self, boot_id: str) -> None:
        self._answered.discard(boot_id)
        if self.other == boot_id:
            self.other = None
            self._changed()
