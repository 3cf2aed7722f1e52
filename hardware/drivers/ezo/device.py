"""What the drivers of all EZO devices have in common: one device, one port, got ready for use."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from hardware.drivers.ezo.lines import Code
from hardware.drivers.ezo.link import EzoLink, Identity, Pace
from hardware.drivers.hearing import Hearing
from hardware.drivers.transport import Backoff, PortCounters, SerialPort


class EzoDevice(ABC):
    """One device on one port; a subclass gets it ready in `_prepare`.

    Args:
        name: The driver's name, as in `ChannelInfo.driver`.
        path: The port, best one of ``/dev/serial/by-id/``.
        names: What the device calls itself.
        pace: How long things take.
        seconds: The longest answer takes, of those that are usual.
        every: Real seconds between two questions at most, where its silence must be noticed.
        backoff: Between tries to open the port again.
        open_within: Seconds that entering waits for the port to be there.
        heard: Told each starred code.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        names: frozenset[str],
        pace: Pace | None,
        seconds: float,
        every: float,
        backoff: Backoff | None,
        open_within: float,
        heard: Callable[[Code], None] | None = None,
    ) -> None:
        self.name = name
        self._pace = Pace() if pace is None else pace
        self._port = SerialPort(
            path,
            backoff=backoff,
            open_within=open_within,
            hearing=self._pace.hearing(seconds, every),
        )
        self._link = EzoLink(self._port, names, self._pace, heard)
        self._stack = AsyncExitStack()
        self._preparing = asyncio.Lock()
        self._prepared: int | None = None

    @property
    def identity(self) -> Identity | None:
        """The device and its firmware, once it has answered."""
        return self._link.identity

    @property
    def counters(self) -> PortCounters:
        """What happened on the port, for diagnosis."""
        return self._port.counters

    @property
    def hearing(self) -> Hearing:
        """Whether the device answers."""
        return self._port.hearing

    @property
    def plugged_in(self) -> bool:
        """Whether the device's port is there."""
        return self._port.connected

    async def unplugged(self) -> None:
        """Return when the device's port is not there."""
        await self._port.lost()

    async def __aenter__(self) -> Self:
        """Open the port, look who is there and get it ready.

        Raises:
            DriverError: The port is not there, nothing answers, or another device does.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._port)
            self._prepared = None
            await self._ready()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the port."""
        await self._stack.aclose()

    async def begin_run(self) -> None:  # noqa: B027 - what most devices do
        """Do nothing: a device needs nothing for a new run."""

    async def _ready(self) -> None:
        """Get the device ready if it is another one than before, or was away."""
        async with self._preparing:
            opening = self._port.epoch
            if self._prepared != opening:
                await self._prepare()
                self._prepared = opening

    @abstractmethod
    async def _prepare(self) -> None:
        """Look who is there and have it as it is wanted."""
