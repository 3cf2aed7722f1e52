"""A device on a pseudo terminal: its bytes, its time, its faults.

A device (`EmulatedDevice`) is only what it says to what it hears; the emulator is the line and the
clock. It runs on the event loop, in a test's own process or in one of its own
(``python -m hardware.emulators``).
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

from hardware.emulators.faults import ANYWHERE, Fault, Faults
from hardware.emulators.pty import PtyPort

Source = Callable[[], float]
"""A physical quantity as it truly is now: a `Constant`, or a look into a simulated vial."""


class Constant:
    """A quantity that stays what it was set to."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self) -> float:
        """Return the value."""
        return self.value


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """Let it not happen."""
        ...


class Line(Protocol):
    """What a device has: a line to speak on, time, and what it measures."""

    def send(self, data: bytes) -> None:
        """Say something: one message or line at a time."""
        ...

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something in so many seconds of the device's time, unless it reboots before."""
        ...

    def now(self) -> float:
        """Return the device's time in seconds."""
        ...

    def sense(self, source: Source) -> float:
        """Return a quantity; while `Fault.STUCK` is there, what it was at first."""
        ...


class EmulatedDevice(ABC):
    """One device's insides; a subclass has `power_up` and `receive`.

    Class attributes:
        known_faults: Those that the device can have.
        chatter: What it may say unasked at any moment (`Fault.UNSOLICITED`).
    """

    known_faults: ClassVar[frozenset[Fault]] = ANYWHERE
    chatter: ClassVar[bytes] = b""

    line: Line

    @abstractmethod
    def power_up(self) -> None:
        """Start: what is volatile has its default, boot messages are said."""

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Hear bytes, as many as happen to come together."""


class Emulator:
    """A device, its line and its time; used as an async context manager.

    Args:
        device: What speaks.
        link: A stable name for the port.
        speed: Seconds of the device's time in a real one; the protocol stays the same.
        seed: Of the noise.
    """

    def __init__(
        self,
        device: EmulatedDevice,
        *,
        link: Path | None = None,
        speed: float = 1.0,
        seed: int = 1,
    ) -> None:
        self.device = device
        self.faults = Faults(seed)
        self.speed = speed
        self._port = PtyPort(link)
        self._timers: set[asyncio.TimerHandle] = set()
        self._outgoing: deque[bytes] = deque()
        self._free_at = 0.0
        self._held: dict[Source, float] = {}
        device.line = self

    @property
    def path(self) -> Path:
        """What a driver opens."""
        return self._port.path

    async def __aenter__(self) -> Self:
        """Plug the device in; it has power from now on."""
        self.plug()
        self.device.power_up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Switch it off and remove the port."""
        self._cancel_timers()
        self.unplug()

    def inject(self, fault: Fault, times: int | None = None) -> None:
        """Switch a fault on, for good or for so many times.

        Raises:
            ValueError: The device cannot have it.
        """
        if fault not in self.device.known_faults:
            raise ValueError(f"this device cannot have the fault {fault}")
        if fault is Fault.UNPLUG:
            self.unplug()
        else:
            self.faults.inject(fault, times)

    def clear(self) -> None:
        """Switch all faults off and plug the device in."""
        self.faults.clear()
        self.plug()

    def plug(self) -> None:
        """Make the port appear. The device kept its power: it has its own supply."""
        if not self._port.plugged:
            self._port.plug()
            asyncio.get_running_loop().add_reader(self._port.device_end, self._readable)

    def unplug(self) -> None:
        """Make the port vanish."""
        if self._port.plugged:
            asyncio.get_running_loop().remove_reader(self._port.device_end)
            self._port.unplug()

    def deafen(self) -> None:
        """Hear nothing any more: the line's buffer fills up until the device is plugged in anew."""
        asyncio.get_running_loop().remove_reader(self._port.device_end)

    def reboot(self) -> None:
        """Take the power away and give it back."""
        self._cancel_timers()
        self.device.power_up()

    # What the device has of it.

    def send(self, data: bytes) -> None:
        """Say something, as far as the faults let it through, in order."""
        data = self.faults.on_the_line(data, self.device.chatter)
        now = self.now()
        due = max(now, self._free_at)
        if self.faults.strikes(Fault.SLOW):
            due = now + self.faults.slow_seconds
        if due <= now and not self._outgoing:
            self._port.write(data)
            return
        self._free_at = due
        self._outgoing.append(data)
        # Timers for the same instant may fire in any order: each says what is next.
        self._timer(due - now, lambda: self._port.write(self._outgoing.popleft()))

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something in so many seconds of the device's time."""
        return self._timer(seconds, action)

    def now(self) -> float:
        """Return the device's time in seconds."""
        return asyncio.get_running_loop().time() * self.speed

    def sense(self, source: Source) -> float:
        """Return a quantity, or what it was when it got stuck."""
        if Fault.STUCK not in self.faults:
            self._held.clear()
            return source()
        return self._held.setdefault(source, source())

    def _timer(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        def act() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(seconds / self.speed, act)
        self._timers = {t for t in self._timers if not t.cancelled()} | {timer}
        return timer

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._outgoing.clear()
        self._free_at = 0.0

    def _readable(self) -> None:
        data = self._port.read()
        if self.faults.strikes(Fault.REBOOT):
            self.reboot()
        else:
            self.device.receive(data)
