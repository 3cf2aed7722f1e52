"""A serial port for a rescue: blocking, short, in the watchdog's process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from hardware.drivers.port_thread import LineSettings, open_exclusive


class RescueLine(Protocol):
    """A port that is open for us alone."""

    timeout: float | None
    """Seconds that a read waits."""

    def write(self, data: bytes, /) -> int | None:
        """Send bytes."""
        ...

    def read(self, size: int = 1, /) -> bytes:
        """Return so many bytes, fewer when the time is over."""
        ...

    def read_until(self, expected: bytes = b"\n", size: int | None = None) -> bytes:
        """Return what comes up to an end, less when the time is over."""
        ...

    def reset_input_buffer(self) -> None:
        """Forget what has come."""
        ...


@contextmanager
def rescue_line(path: str, settings: LineSettings, *, timeout: float) -> Iterator[RescueLine]:
    """Open a port and close it afterwards.

    Args:
        path: The port.
        settings: How the line is spoken.
        timeout: Seconds that a read waits.

    Raises:
        PortUnavailableError: It is not there, not ours to use, or in use.
    """
    with closing(open_exclusive(Path(path), settings)) as port:
        port.timeout = timeout
        yield port
