"""Real servers that take notifications: HTTP and SMTP on loopback, which may fail at first."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session


class Hook:
    """A web hook: refuses so many calls, then takes what comes."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.refused = 0
        self.taken: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.refused < hook.failures:
                    hook.refused += 1
                    self.send_response(503)
                else:
                    hook.taken.append(json.loads(body))
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]

    @contextmanager
    def open(self) -> Iterator[None]:
        """Listen."""
        thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@asynccontextmanager
async def endless(over: Callable[[], bool]) -> AsyncIterator[int]:
    """Take calls and answer with one header, letter by letter, until it is over; give the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nEndless: ")
        with suppress(ConnectionError):
            while not over():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.2)
            writer.write(b"\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Post:
    """A mail server: refuses so many letters for now, then takes what comes."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.refused = 0
        self.taken: list[str] = []

    async def handle_DATA(  # noqa: N802  what the server calls, and with what
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
    ) -> str:
        """Take a letter, or not yet."""
        if self.refused < self.failures:
            self.refused += 1
            return "451 try again later"
        assert isinstance(envelope.content, bytes)
        self.taken.append(envelope.content.decode())
        return "250 OK"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """Listen; give the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(self, loop=loop), "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]
