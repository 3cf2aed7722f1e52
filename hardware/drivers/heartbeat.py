"""A driver's heartbeat to a device that switches off in silence.

It beats only while the reactor has asked something of the driver not long ago. So it stops when
the process dies, when the event loop hangs, and when the control loop no longer comes by.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hardware.drivers.interface import DriverError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)


class Heartbeat:
    """Beats in the background, for as long as somebody pays attention.

    Args:
        beat: Sends one beat; may raise `DriverError`.
        every: Seconds between two beats.
        attention: Seconds for which it goes on after `attend`.
    """

    def __init__(
        self, beat: Callable[[], Awaitable[object]], *, every: float, attention: float
    ) -> None:
        self._beat = beat
        self._every = every
        self._attention = attention
        self._attended = -float("inf")

    def attend(self) -> None:
        """The reactor has asked something of the driver: go on."""
        self._attended = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def beating(self, name: str) -> "AsyncIterator[None]":
        """Beat meanwhile."""
        self.attend()
        task = asyncio.create_task(self._run(name), name=f"heartbeat {name}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._every)
            if loop.time() - self._attended < self._attention:
                try:
                    await self._beat()
                except DriverError as error:
                    # Whoever reads or writes next finds out, and does something about it.
                    log.debug("%s: no beat: %s", name, error)
