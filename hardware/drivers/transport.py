r"""A serial port for asyncio: one exchange at a time, each under one deadline.

The port's own thread (`port_thread`) opens it, and opens it again after it was unplugged. Here are
the bytes that came, in order, for whoever holds the line:

    async with SerialPort(Path("/dev/serial/by-id/…")) as port:
        async with port.exchange(1.0) as line:
            line.discard()
            await line.write(b"R\r")
            reading = await line.read_line()

What arrives while nobody holds the line is kept for the next who does. Nothing here blocks the
event loop. A second process (a watchdog) can open the same path as soon as the first has ended,
however it ended: the kernel gives its lock back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hardware.drivers.hearing import Hearing
from hardware.drivers.inbox import Inbox, PortCounters
from hardware.drivers.port_thread import (
    Backoff,
    LineSettings,
    PortError,
    PortLostError,
    PortThread,
    PortUnavailableError,
)

__all__ = [
    "Backoff",
    "Exchange",
    "LineSettings",
    "PortCounters",
    "PortError",
    "PortLostError",
    "PortTimeoutError",
    "PortUnavailableError",
    "SerialPort",
]

_LONGEST_LINE: Final = 256
_CLOSING: Final = 5.0
"""Seconds that closing waits for a thread which the kernel may hold; more than a write takes."""

log = logging.getLogger(__name__)


class PortTimeoutError(PortError):
    """The device did not answer in time."""


class SerialPort:
    """One serial port, used as an async context manager.

    Args:
        path: The device file, best one of ``/dev/serial/by-id/``: it names the same device after
            it was plugged in again.
        settings: How the line is spoken; 9600 8N1 if left out.
        backoff: Between tries to open the port again.
        open_within: Seconds that entering waits for the port to be there.
        hearing: How long answers take, if anybody is to know when one is overdue.
    """

    def __init__(
        self,
        path: Path,
        settings: LineSettings | None = None,
        *,
        backoff: Backoff | None = None,
        open_within: float = 3.0,
        hearing: Hearing | None = None,
    ) -> None:
        self.path = path
        self._settings = LineSettings() if settings is None else settings
        self._backoff = Backoff() if backoff is None else backoff
        self._open_within = open_within
        self._line = asyncio.Lock()
        self.hearing = Hearing() if hearing is None else hearing
        self._inbox = Inbox(PortUnavailableError(f"{path} was not opened"), self.hearing)
        self._thread: PortThread | None = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    def counters(self) -> PortCounters:
        """What happened on the port, for diagnosis."""
        return self._inbox.counters

    @property
    def connected(self) -> bool:
        """Whether the port is open now."""
        return self._inbox.error is None

    @property
    def waiting(self) -> int:
        """How many bytes have come that nobody took yet."""
        return len(self._inbox)

    @property
    def epoch(self) -> int:
        """How often the port was opened: another number means that it may be another device."""
        return self._inbox.counters.openings

    async def __aenter__(self) -> Self:
        """Open the port.

        Raises:
            PortUnavailableError: It is not there, not ours to use, or in use.
        """
        inbox = self._inbox
        inbox.ended.clear()
        self._thread = PortThread(
            self.path, self._settings, self._backoff, inbox, asyncio.get_running_loop()
        )
        self._thread.start()
        try:
            async with asyncio.timeout(self._open_within):
                while inbox.error is not None:
                    await inbox.news()
        except TimeoutError:
            error = inbox.error or PortUnavailableError(f"{self.path} cannot be opened")
            await self._close()
            raise error from None
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the port; whoever waits for bytes gets a `PortLostError`."""
        await self._close()

    @asynccontextmanager
    async def exchange(self, seconds: float) -> AsyncIterator["Exchange"]:
        """Hold the line for one command and its answer.

        Who reads on the line waits for an answer; who leaves it without an error has had a sound
        one. `hearing` goes by that.

        Args:
            seconds: For all of it, from when the line is ours.

        Raises:
            PortTimeoutError: It took longer.
            PortError: The port is not there, or was lost on the way.
        """
        async with self._line:
            self._inbox.check()
            deadline = asyncio.timeout(seconds)
            exchange = Exchange(self._inbox, self._write)
            try:
                async with deadline:
                    yield exchange
                exchange.understood()
            except asyncio.CancelledError:
                exchange.given_up()
                raise
            except TimeoutError:
                if not deadline.expired():
                    raise
                self.counters.timeouts += 1
                raise PortTimeoutError(
                    f"the device on {self.path} did not answer within {seconds:.2g} s"
                ) from None

    async def arrival(self) -> None:
        """Return when there are bytes that nobody took; the line need not be held.

        Raises:
            PortError: The port is not there, or was lost meanwhile.
        """
        await self._inbox.until(1, self.epoch)

    async def lost(self) -> None:
        """Return when the port is not there."""
        while self.connected:
            await self._inbox.news()

    async def _write(self, data: bytes) -> None:
        if self._thread is None:
            raise PortUnavailableError(f"{self.path} was not opened")
        await self._thread.write(data)
        self.counters.sent += len(data)

    async def _close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.close()
        ended = asyncio.ensure_future(self._inbox.ended.wait())
        try:
            await asyncio.wait([ended], timeout=_CLOSING)
        except asyncio.CancelledError:
            # Who is cancelled while closing still closes: the thread holds the port until it ends.
            await asyncio.wait([ended], timeout=_CLOSING)
            raise
        finally:
            if ended.done():
                thread.join()
            else:
                ended.cancel()
                log.error("%s hangs in the kernel; its thread was left behind", self.path)


class Exchange:
    """The line, held; from `SerialPort.exchange`.

    Every method may raise `PortLostError`, and all together end at the exchange's deadline.
    """

    def __init__(self, inbox: Inbox, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._inbox = inbox
        self._write = write
        self._opening = inbox.counters.openings
        self._waits = False
        self._first = False

    def understood(self) -> None:
        """Note that the conversation came to a good end: what was read was an answer."""
        if self._waits:
            self._inbox.hearing.answered()

    def given_up(self) -> None:
        """Note that whoever asked does not want to know any more."""
        if self._first:
            self._inbox.hearing.withdrawn()

    async def write(self, data: bytes) -> None:
        """Send bytes; return when the kernel has taken all of them."""
        self._inbox.check(self._opening)
        await self._write(data)

    async def read_some(self) -> bytes:
        """Return what has come, at least one byte."""
        self._wait()
        return await self._some()

    async def read_exactly(self, count: int) -> bytes:
        """Return so many bytes."""
        self._wait()
        await self._inbox.until(count, self._opening)
        return self._inbox.take(count)

    async def read_line(self, end: bytes = b"\r", *, longest: int = _LONGEST_LINE) -> bytes:
        """Return the next line without its end; longer ones are noise and are skipped."""
        self._wait()
        while True:
            searched = 0
            while (at := self._inbox.find(end, searched)) < 0:
                searched = max(0, len(self._inbox) - len(end) + 1)
                await self._inbox.until(len(self._inbox) + 1, self._opening)
            if at <= longest:
                return self._inbox.take(at + len(end))[:at]
            self._inbox.discard(at + len(end))

    async def quiet(self, seconds: float) -> bytes:
        """Return what came until nothing more came for so long: the way back in step."""
        came = b""
        while True:
            try:
                async with asyncio.timeout(seconds):
                    came += await self._some()
            except TimeoutError:
                return came

    def pending(self) -> bytes:
        """Return what has come already, maybe nothing."""
        return self._inbox.take(len(self._inbox))

    def discard(self) -> None:
        """Throw away what has come already; it is counted."""
        self._inbox.discard(len(self._inbox))

    def _wait(self) -> None:
        if not self._waits:
            self._waits = True
            self._first = self._inbox.hearing.asked()

    async def _some(self) -> bytes:
        await self._inbox.until(1, self._opening)
        return self.pending()
