"""A TCP relay between a client and a broker, whose connections a test may cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable


class Relay:
    """Use `Relay.to`.

    Attributes:
        port: Where it listens, on loopback.
        cuts: How often it cut a connection.
        answered: Called with what comes from the server before it is passed on; False: the
            connection is cut instead.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.cuts = 0
        self.answered: Callable[[bytes], bool] = lambda _data: True
        self._target = target

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator["Relay"]:
        """Relay to a port of loopback until the block ends."""
        relay = cls(port)
        server = await asyncio.start_server(relay._serve, "127.0.0.1", 0)
        relay.port = server.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await asyncio.wait(
                [
                    asyncio.create_task(self._pass(reader, back, lambda _: True)),
                    asyncio.create_task(self._pass(there, writer, self._answered)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for end in (writer, back):
                end.transport.abort()

    def _answered(self, data: bytes) -> bool:
        return self.answered(data)

    async def _pass(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        may: Callable[[bytes], bool],
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if not may(data):
                    self.cuts += 1
                    return
                target.write(data)
                await target.drain()
