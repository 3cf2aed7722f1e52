"""Makes a board safe from another process, when the node's is dead: the watchdog's part."""

import time
from typing import Final

from hardware.drivers.board.lines import BAUDRATE, parse, request
from hardware.drivers.interface import DriverError
from hardware.drivers.port_thread import LineSettings
from hardware.drivers.rescue import rescue_line

_PATIENCE: Final = 0.2
_DEADLINE: Final = 1.0


def make_safe(path: str) -> None:
    """Switch every output off; the board needs no greeting for that.

    Args:
        path: The port.

    Raises:
        DriverError: The port is not there, or the board does not answer.
    """
    number = time.time_ns() % 60_000
    with rescue_line(path, LineSettings(BAUDRATE), timeout=_PATIENCE) as port:
        until = time.monotonic() + _DEADLINE
        while time.monotonic() < until:
            number += 1
            port.write(request(number, "off"))
            line = port.read_until(b"\n", 256)
            while line:
                reply = parse(line.rstrip(b"\n"))
                if reply is not None and reply.number == number and reply.ok:
                    return
                line = port.read_until(b"\n", 256)
    raise DriverError(f"the board on {path} is not known to be off")
