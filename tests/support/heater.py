"""A heater at the end of a serial line, with nothing that switches it off by itself.

``H50`` sets its duty, ``H?`` asks for it; each answered by ``OK`` or the duty. The device is
emulated on a pty, the driver's side is what a real one would have.
"""

import asyncio
import os
import pty
import time
import tty
from types import TracebackType
from typing import Final, Self

import serial

from hardware.drivers.interface import DriverError

TIMEOUT: Final = 1.0


class Heater:
    """The device. Used in an event loop.

    Attributes:
        history: Monotonic time and duty of each command.
    """

    def __init__(self) -> None:
        self.history: list[tuple[float, float]] = []
        self.deaf = False
        self._partial = b""

    def __enter__(self) -> Self:
        self._device, self._line = pty.openpty()  # its own end of the line stays open, as a cable
        tty.setraw(self._line)
        asyncio.get_running_loop().add_reader(self._device, self._read)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._device)
        os.close(self._device)
        os.close(self._line)

    @property
    def port(self) -> str:
        return os.ttyname(self._line)

    @property
    def duty(self) -> float:
        return self.history[-1][1] if self.history else 0.0

    def _read(self) -> None:
        *lines, self._partial = (self._partial + os.read(self._device, 1000)).split(b"\n")
        for line in lines:
            if self.deaf:
                continue
            if line == b"H?":
                os.write(self._device, f"{self.duty:g}\n".encode())
            else:
                self.history.append((time.monotonic(), float(line[1:])))
                os.write(self._device, b"OK\n")


def heat(line: serial.Serial, duty: float) -> None:
    """Set the duty; raise where it is not known to be in force."""
    line.write(f"H{duty:g}\n".encode())
    if line.readline() != b"OK\n":
        raise DriverError("the heater does not answer")


def open_line(port: str) -> serial.Serial:
    return serial.Serial(port, timeout=TIMEOUT, exclusive=True)


def make_safe(port: str) -> None:
    """Switch it off from another process."""
    with open_line(port) as line:
        heat(line, 0.0)
