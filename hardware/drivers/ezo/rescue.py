"""Stopping an EZO-PMP pump from another process, when the node's is dead.

The pump has no host timeout, but every dose that the driver commands ends by itself within two
seconds; this is for what somebody else started, and to be sure.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from hardware.drivers.ezo.lines import Answer, Code, Line
from hardware.drivers.ezo.link import SHORT, EzoError, EzoGarbledError, EzoLink, Pace
from hardware.drivers.transport import Backoff, PortTimeoutError, SerialPort

_GRACE: Final = 0.2
_OPEN: Final = 0.4


def stop_pump(*, path: str, speed: float = 1.0) -> None:
    """Stop the pump; see `hardware.drivers.interface.Rescue`.

    Args:
        path: The port.
        speed: Of the device's time; only an emulator's is not 1.

    Raises:
        DriverError: It is not known to stand still.
    """
    asyncio.run(_stop(Path(path), Pace(speed, _GRACE)))


async def _stop(path: Path, pace: Pace) -> None:
    async with SerialPort(path, backoff=Backoff(0.02, 0.1), open_within=_OPEN) as port:
        link = EzoLink(port, frozenset(), pace)
        # The first may be lost: the dead process may have left half a command, or it sleeps.
        for command, wanted in (("X", _done), ("X", _done), ("D,?", _stands)):
            with contextlib.suppress(PortTimeoutError, EzoGarbledError):
                await link.say(command, SHORT, wanted)
                return
        raise EzoError(f"the pump on {path} does not say that it stands still")


def _done(line: Line) -> bool:
    return isinstance(line, Code) and line.name == "DONE"


def _stands(line: Line) -> bool:
    return isinstance(line, Answer) and line.name == "D" and line.fields[-1:] == ("0",)
