"""Makes a Tic safe from another process, when the node's is dead: the watchdog's part."""

import time
from typing import Final

from hardware.drivers.interface import DriverError
from hardware.drivers.port_thread import LineSettings
from hardware.drivers.rescue import RescueLine, rescue_line
from hardware.drivers.tic.protocol import (
    MOTION,
    STATUS,
    Command,
    TicReplyError,
    answer,
    parse_motion,
    parse_status,
    quick,
    read_block,
)

_PATIENCE: Final = 0.2
_DEADLINE: Final = 1.5


def make_safe(path: str, baudrate: int, crc: int) -> None:
    """Halt the motor, switch its coils off, and see that it is so.

    Args:
        path: The port.
        baudrate: As it is set in the Tic.
        crc: Whether answers carry a CRC.

    Raises:
        DriverError: The port is not there, or the motor is not known to stand still.
    """
    with rescue_line(path, LineSettings(baudrate), timeout=_PATIENCE) as port:
        until = time.monotonic() + _DEADLINE
        while time.monotonic() < until:
            port.write(quick(Command.HALT_AND_HOLD) + quick(Command.DEENERGIZE))
            try:
                status = parse_status(_ask(port, STATUS, crc=bool(crc)))
                motion = parse_motion(_ask(port, MOTION, crc=bool(crc)))
            except TicReplyError:
                continue
            if not status.energized and motion.velocity == 0:
                return
    raise DriverError(f"the Tic on {path} is not known to stand still")


def _ask(port: RescueLine, block: tuple[int, int], *, crc: bool) -> bytes:
    port.reset_input_buffer()
    port.write(read_block(Command.GET_VARIABLE, block))
    return answer(port.read(block[1] + crc), block[1], crc=crc)
