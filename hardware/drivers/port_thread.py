"""The thread that owns a serial port: opens it, reads, writes, and opens it again when it is lost.

Everything of pyserial, and everything that may block, happens here. What happened is told to the
event loop, in order; nothing is shared but the queue of what is to be written.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import queue
import select
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVarTuple

import serial

from hardware.drivers.interface import DriverError

log = logging.getLogger(__name__)

Ts = TypeVarTuple("Ts")

_WRITE_SECONDS: Final = 1.0
"""How long the kernel may refuse bytes (a full buffer) until the port counts as lost."""
_CHUNK: Final = 4096
_PTY_MAJORS: Final = range(136, 144)
"""Device numbers of pseudo terminals (Linux, Documentation/admin-guide/devices.txt)."""


class PortError(DriverError):
    """The serial line failed."""


class PortUnavailableError(PortError):
    """The port is not there, not ours to use, or in use by another."""


class PortLostError(PortError):
    """The port vanished under way: unplugged."""


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How the line is spoken; 8 data bits always."""

    baudrate: int = 9600
    stop_bits: Literal[1, 2] = 1
    parity: Literal["N", "E", "O"] = "N"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between tries to open a port: the first wait, doubled up to the longest."""

    first: float = 0.05
    longest: float = 2.0


class PortEvents(Protocol):
    """What the thread tells, on the event loop."""

    def opened(self) -> None:
        """The port is open; what is received from now on came after that."""
        ...

    def unavailable(self, error: PortError) -> None:
        """It could not be opened, or it was lost; it will be tried again."""
        ...

    def received(self, data: bytes) -> None:
        """Bytes came."""
        ...

    def closed(self) -> None:
        """The thread ends; nothing more is told."""
        ...


@dataclass(frozen=True, slots=True)
class _Write:
    data: bytes
    done: asyncio.Future[None]


class PortThread:
    """Owns one port from `start` to `close`.

    Args:
        path: The device file, best one of ``/dev/serial/by-id/``: it names the same device after
            it was plugged in again.
        settings: How the line is spoken.
        backoff: Between tries to open the port.
        events: Who is told, on the loop.
        loop: The event loop.
    """

    def __init__(
        self,
        path: Path,
        settings: LineSettings,
        backoff: Backoff,
        events: PortEvents,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._path = path
        self._settings = settings
        self._backoff = backoff
        self._events = events
        self._loop = loop
        self._writes: queue.SimpleQueue[_Write] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A daemon: should the kernel hold it in an open(2), the process can end all the same.
        self._thread = threading.Thread(target=self._run, name=f"serial {path.name}", daemon=True)

    def start(self) -> None:
        """Begin trying to open the port."""
        self._thread.start()

    def write(self, data: bytes) -> "asyncio.Future[None]":
        """Write bytes; the future is done when the kernel has taken all of them.

        It fails with a `PortError` when the port is lost before that.
        """
        done = self._loop.create_future()
        self._writes.put(_Write(data, done))
        self._wake()
        return done

    def close(self) -> None:
        """Let the thread end: it tells `closed`, then `join` it."""
        self._closing.set()
        self._wake()

    def join(self) -> None:
        """Wait until the thread has ended and free what it had; after `closed` was told."""
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: it will wake anyway
            os.write(self._wake_write, b"\0")

    def _tell(self, what: Callable[[*Ts], None], *args: *Ts) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(what, *args)

    def _run(self) -> None:
        try:
            self._keep_open()
        finally:  # whatever ends it, nobody waits for it in vain
            self._failed(PortLostError(f"{self._path} was closed"))
            self._tell(self._events.closed)

    def _keep_open(self) -> None:
        delay = self._backoff.first
        while not self._closing.is_set():
            since = time.monotonic()
            try:
                with contextlib.closing(open_exclusive(self._path, self._settings)) as port:
                    self._tell(self._events.opened)
                    self._serve(port)
            except PortError as error:
                self._failed(error)
            except (OSError, termios.error) as error:
                log.debug("%s: %s", self._path, error)
                self._failed(PortLostError(f"{self._path} is gone: is its cable plugged in?"))
            if time.monotonic() - since > self._backoff.longest:  # it had worked for a while
                delay = self._backoff.first
            self._rest(delay)
            delay = min(2 * delay, self._backoff.longest)

    def _serve(self, port: serial.Serial) -> None:
        descriptor = port.fileno()
        while not self._closing.is_set():
            ready, _, _ = select.select([descriptor, self._wake_read], [], [])
            if self._wake_read in ready:
                self._clear_wake()
                self._write_all(port)
            if descriptor in ready:
                data = port.read(_CHUNK)
                if data:
                    self._tell(self._events.received, data)

    def _write_all(self, port: serial.Serial) -> None:
        while not self._writes.empty():
            write = self._writes.get()
            try:
                port.write(write.data)
            except serial.SerialTimeoutException:
                error = PortLostError(f"{self._path} takes no bytes: unplug the device and replug")
                self._tell(_fail, write.done, error)
                raise error from None
            except OSError:
                self._tell(_fail, write.done, PortLostError(f"{self._path} is gone"))
                raise
            self._tell(_finish, write.done)

    def _failed(self, error: PortError) -> None:
        self._tell(self._events.unavailable, error)
        while not self._writes.empty():
            self._tell(_fail, self._writes.get().done, error)

    def _rest(self, seconds: float) -> None:
        """Wait, or until closed; whoever writes meanwhile is told that there is no port."""
        until = time.monotonic() + seconds
        while not self._closing.is_set() and (left := until - time.monotonic()) > 0:
            select.select([self._wake_read], [], [], left)
            self._clear_wake()
            while not self._writes.empty():
                error = PortUnavailableError(f"{self._path} is not there")
                self._tell(_fail, self._writes.get().done, error)

    def _clear_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, _CHUNK)


def open_exclusive(path: Path, settings: LineSettings) -> serial.Serial:
    """Open a port for this process alone; blocks.

    The lock (flock) keeps out programs that look for it and ends with its process, also when that
    is killed; TIOCEXCL keeps out everything else but root. A pseudo terminal gets the lock only:
    its TIOCEXCL would outlive us for as long as the other end is open.

    Raises:
        PortUnavailableError: It is not there, not ours to use, or in use.
    """
    try:
        port = serial.Serial(
            str(path),
            settings.baudrate,
            parity=settings.parity,
            stopbits=settings.stop_bits,
            timeout=0,
            write_timeout=_WRITE_SECONDS,
            exclusive=True,
        )
    except (OSError, ValueError, termios.error) as error:
        raise PortUnavailableError(_sentence(path, error)) from error
    try:
        if os.major(os.fstat(port.fileno()).st_rdev) not in _PTY_MAJORS:
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
    except OSError as error:
        port.close()
        raise PortUnavailableError(_sentence(path, error)) from error
    return port


def _sentence(path: Path, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    match number:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO | errno.EIO:
            return f"{path} is not there: is the device plugged in?"
        case errno.EACCES | errno.EPERM:
            return f"{path} may not be opened: add this user to the group that owns it (dialout)"
        case errno.EBUSY | errno.EAGAIN:
            return f"{path} is in use by another program: stop that first"
        case _:
            return f"{path} cannot be opened as a serial port: {error}"


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _fail(done: asyncio.Future[None], error: PortError) -> None:
    if not done.done():
        done.set_exception(error)
        done.exception()  # whoever asked may have been cancelled: that it failed was still told
