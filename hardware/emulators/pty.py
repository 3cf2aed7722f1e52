"""A pseudo terminal as a serial port that can be unplugged and plugged in again."""

import contextlib
import os
import tty
from pathlib import Path


class PtyPort:
    """The device's end of a pseudo terminal.

    Args:
        link: A stable name for the other end, as in ``/dev/serial/by-id/``; it vanishes while
            unplugged. None: only the terminal's own name, another one at each plugging in.
    """

    def __init__(self, link: Path | None = None) -> None:
        self._link = link
        self._ends: tuple[int, int] | None = None
        self._name = ""

    @property
    def plugged(self) -> bool:
        """Whether the port is there."""
        return self._ends is not None

    @property
    def path(self) -> Path:
        """What a driver opens."""
        return Path(self._name) if self._link is None else self._link

    @property
    def device_end(self) -> int:
        """The descriptor of the device's end.

        Raises:
            OSError: It is unplugged.
        """
        if self._ends is None:
            raise OSError("the port is unplugged")
        return self._ends[0]

    def plug(self) -> None:
        """Make the port appear."""
        if self._ends is not None:
            return
        device, host = os.openpty()
        # The host's end stays open here too: a device does not notice who opens its port.
        self._ends = device, host
        self._name = os.ttyname(host)
        tty.setraw(host)
        os.set_blocking(device, False)
        if self._link is not None:
            self._link.parent.mkdir(parents=True, exist_ok=True)
            part = self._link.with_name(f".{self._link.name}.part")
            part.unlink(missing_ok=True)
            part.symlink_to(self._name)
            part.replace(self._link)

    def unplug(self) -> None:
        """Make the port vanish; who has it open gets an error."""
        if self._ends is None:
            return
        ends, self._ends = self._ends, None
        if self._link is not None and self._ours(self._link):
            self._link.unlink()
        for end in ends:
            os.close(end)

    def read(self) -> bytes:
        """Return what the host has sent, maybe nothing."""
        try:
            return os.read(self.device_end, 4096)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> None:
        """Send bytes to the host; what its buffer does not hold is lost, as on any serial line."""
        if self._ends is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(self._ends[0], data)

    def _ours(self, link: Path) -> bool:
        try:
            return str(link.readlink()) == self._name
        except OSError:
            return False
