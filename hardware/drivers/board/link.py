"""Requests to the board and their replies, kept in step by their numbers."""

import asyncio
import itertools
import logging
from collections.abc import Mapping
from typing import Final

from hardware.drivers.board.lines import NUMBERS, Reply, parse, request
from hardware.drivers.interface import DriverError
from hardware.drivers.transport import Exchange, PortError, PortTimeoutError, SerialPort

log = logging.getLogger(__name__)

_TRIES: Final = 3
_SENTENCES: Final = {
    "verb": "the board does not know the request: its firmware is older than this driver",
    "arguments": "the board wants another number of arguments: its firmware is another version",
    "protocol": "the board speaks another version of the protocol: update its firmware",
    "range": "the board does not allow this value",
    "channel": "the board has no such output",
    "unarmed": "the board has restarted",
    "lost": "the board had lost this host",
    "hot": "the board itself has cut the heater: it is too hot",
    "temperature": "the board does not know the temperature: look at its thermistor",
    "busy": "the board is still measuring",
}


class BoardRefusedError(DriverError):
    """The board understood a request and refused it; nothing was changed."""

    def __init__(self, reason: str) -> None:
        super().__init__(_SENTENCES.get(reason, f"the board refuses: {reason}"))
        self.reason = reason


class BoardLink:
    """The conversation with one board.

    Args:
        port: Entered and left by whoever made it.
        patience: Seconds until a reply counts as missing.
    """

    def __init__(self, port: SerialPort, *, patience: float) -> None:
        self._port = port
        self._patience = patience
        self._numbers = itertools.cycle(range(NUMBERS))
        self._turn = asyncio.Lock()

    async def ask(self, text: str, *, seconds: float = 0.0) -> Mapping[str, str]:
        """Send a request and return the fields of its reply.

        Every request may be repeated, so one whose reply is missing is sent again.

        Args:
            text: The request without number and seal.
            seconds: How long the board takes for it.

        Raises:
            BoardRefusedError: The board refused.
            DriverError: It did not answer.
        """
        async with self._turn:
            for left in reversed(range(_TRIES)):
                try:
                    reply = await self._try(text, seconds)
                except PortError as error:
                    if not left or not isinstance(error, PortTimeoutError):
                        raise
                    log.debug("%s: %s; sending it again", self._port, error)
                    continue
                if reply.ok:
                    return reply.fields
                if reply.number is not None:
                    raise BoardRefusedError(reply.reason)
                log.debug("%s: a request came damaged; sending it again", self._port)
        raise DriverError(f"requests to the board on {self._port} come damaged: look at its cable")

    async def _try(self, text: str, seconds: float) -> Reply:
        number = next(self._numbers)
        async with self._port.exchange(self._patience + seconds) as line:
            await line.write(request(number, text))
            while True:
                reply = await _next(line)
                # Another number: the late reply to a request that was given up.
                if reply.number in {number, None}:
                    return reply


async def _next(line: Exchange) -> Reply:
    while (reply := parse(await line.read_line(b"\n"))) is None:
        pass
    return reply
