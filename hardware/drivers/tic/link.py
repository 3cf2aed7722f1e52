"""Questions to a Tic and their answers, kept in step.

The protocol numbers nothing, and a late answer would be taken for that of the next question. The
Tic answers in order, though: after anything that failed, its uptime is asked for and everything
before that answer is forgotten.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from hardware.drivers.interface import DriverError
from hardware.drivers.tic.protocol import UPTIME, Command, TicReplyError, answer, read_block
from hardware.drivers.transport import Exchange, PortError, SerialPort

log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES: Final = 3
_SENDING: Final = 1.0
"""Seconds for what is not answered: it waits for a busy computer, never for the Tic."""
_QUIET: Final = 0.05
"""Seconds without a byte after which an answer at 9600 baud is over."""


class TicLink:
    """The conversation with one Tic.

    Args:
        port: Entered and left by whoever made it.
        crc: Whether answers carry a CRC.
        patience: Seconds until an answer counts as missing.
    """

    def __init__(self, port: SerialPort, *, crc: bool, patience: float) -> None:
        self._port = port
        self._crc = crc
        self._patience = patience
        self._in_step: int | None = None
        self._turn = asyncio.Lock()

    async def tell(self, *packets: bytes) -> None:
        """Send commands that are not answered; whether they were obeyed is to be asked.

        Raises:
            PortError: They were not sent.
        """
        async with self._port.exchange(_SENDING) as line:
            await line.write(b"".join(packets))

    async def ask(
        self, command: Command, block: tuple[int, int], understand: Callable[[bytes], T]
    ) -> T:
        """Read variables or settings.

        Args:
            command: Which of them.
            block: Offset and length.
            understand: Makes something of the bytes; may raise `TicReplyError`.

        Raises:
            DriverError: There is no sound answer.
        """
        async with self._turn:
            for left in reversed(range(_TRIES)):
                try:
                    return understand(await self._try(command, block))
                except (TicReplyError, PortError) as error:
                    self._in_step = None
                    if not left or not self._port.connected:
                        raise DriverError(f"the Tic on {self._port}: {error}") from error
                    log.debug("%s: %s; asking again", self._port, error)
            raise AssertionError

    async def _try(self, command: Command, block: tuple[int, int]) -> bytes:
        async with self._port.exchange(self._patience) as line:
            if self._in_step != self._port.epoch:
                await self._synchronise(line)
            line.discard()
            await line.write(read_block(command, block))
            data = await line.read_exactly(block[1] + self._crc)
            # Longer than what was asked for: noise came before it.
            return answer(data + line.pending(), block[1], crc=self._crc)

    async def _synchronise(self, line: Exchange) -> None:
        line.discard()
        await line.write(read_block(Command.GET_VARIABLE, UPTIME))
        length = UPTIME[1] + self._crc
        came = await line.read_exactly(length) + await line.quiet(_QUIET)
        answer(came[-length:], UPTIME[1], crc=self._crc)
        self._in_step = self._port.epoch
