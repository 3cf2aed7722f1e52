"""A link to a broker that can be cut, frozen and mended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self
from urllib.parse import urlsplit

from broker.settings import BrokerSettings

_PIECE = 64 * 1024


class Link:
    """Use `Link.to`.

    Attributes:
        settings: Of a connection that goes through the link.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        address = urlsplit(settings.url)
        assert address.hostname is not None
        assert address.port is not None
        self._target = (address.hostname, address.port)
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.settings = settings

    @classmethod
    @asynccontextmanager
    async def to(cls, settings: BrokerSettings) -> AsyncIterator[Self]:
        link = cls(settings)
        async with asyncio.TaskGroup() as tasks:

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.create_task(link._carry(reader, writer))

            server = await asyncio.start_server(accept, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            link.settings = settings.model_copy(update={"url": f"mqtt://127.0.0.1:{port}"})
            try:
                yield link
            finally:
                server.close()
                link.mend()
                link.cut()

    def cut(self) -> None:
        """Reset every connection; what was under way is lost."""
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Let nothing through; nobody is told."""
        self._flows.clear()

    def mend(self) -> None:
        """Let everything through that waits."""
        self._flows.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(far_writer)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_PIECE):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
