"""What came over a serial port and nobody has taken yet."""

import asyncio
from dataclasses import dataclass
from typing import Final

from hardware.drivers.hearing import Hearing
from hardware.drivers.port_thread import PortError, PortLostError

_KEPT: Final = 65536
"""Bytes kept while nobody reads; the oldest go first."""


@dataclass(slots=True)
class PortCounters:
    """What happened on a port since it was made; for diagnosis.

    Attributes:
        openings: How often it was opened.
        losses: How often it was lost or could not be opened.
        received: Bytes that came.
        sent: Bytes that the kernel took.
        timeouts: Exchanges that ended at their deadline.
        discarded: Bytes that were thrown away: noise, late answers, too much.
    """

    openings: int = 0
    losses: int = 0
    received: int = 0
    sent: int = 0
    timeouts: int = 0
    discarded: int = 0


class Inbox:
    """The bytes, in order, and whether there is a port; the port's thread tells it.

    Args:
        error: Why there is no port yet.
        hearing: Whether the device answers.
    """

    def __init__(self, error: PortError, hearing: Hearing) -> None:
        self.hearing = hearing
        self.counters = PortCounters()
        self.error: PortError | None = error
        self.ended = asyncio.Event()
        self._bytes = bytearray()
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._bytes)

    def opened(self) -> None:
        """Begin anew: what came before was of another opening."""
        self.counters.openings += 1
        self._bytes.clear()
        self.hearing.withdrawn()  # nobody has asked it anything yet
        self.error = None
        self._news.set()

    def unavailable(self, error: PortError) -> None:
        """Remember why there is no port."""
        self.counters.losses += 1
        self.error = error
        self.hearing.withdrawn()  # it is away, which is told otherwise
        self.discard(len(self._bytes))
        self._news.set()

    def received(self, data: bytes) -> None:
        """Keep bytes for whoever holds the line."""
        self.counters.received += len(data)
        self._bytes += data
        self.discard(len(self._bytes) - _KEPT)
        self._news.set()

    def closed(self) -> None:
        """Let closing go on."""
        self.ended.set()

    def check(self, opening: int | None = None) -> None:
        """Raise the error if there is no port, or if it is another opening than this one.

        Raises:
            PortError: So it is.
        """
        if self.error is not None:
            raise type(self.error)(str(self.error))  # a fresh one: each raising adds to a traceback
        if opening is not None and opening != self.counters.openings:
            raise PortLostError("the device was unplugged meanwhile")

    async def news(self) -> None:
        """Wait until something happens."""
        self._news.clear()
        await self._news.wait()

    async def until(self, count: int, opening: int) -> None:
        """Wait until so many bytes are there.

        Raises:
            PortError: The port was lost before.
        """
        self.check(opening)
        while len(self._bytes) < count:
            await self.news()
            self.check(opening)

    def find(self, end: bytes, start: int) -> int:
        """Return where a sequence begins, searched for from a place; -1 if nowhere."""
        return self._bytes.find(end, start)

    def take(self, count: int) -> bytes:
        """Return the first bytes and forget them."""
        data = bytes(self._bytes[:count])
        del self._bytes[:count]
        return data

    def discard(self, count: int) -> None:
        """Throw the first bytes away."""
        if count > 0:
            del self._bytes[:count]
            self.counters.discarded += count
