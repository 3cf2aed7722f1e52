"""A reactor's clock that waits for the script, so that what a script sees hangs on no machine.

Between two waits of a script no time passes for its reactor, however long the script computes or
the machine is busy. Its waits are told to the bench: `time.sleep` in its process, and doses.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from hardware.clock import Clock

SOCKET_VARIABLE = "BENCH_SLEEP"
SITE = f'''
"""Sleeps on the bench's clock."""
import os, socket, time
def sleep(seconds):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.environ["{SOCKET_VARIABLE}"])
        line.sendall(f"{{seconds}}\\n".encode())
        line.recv(1)
time.sleep = sleep
'''


class Stopwatch:
    """Real seconds, which pass only while somebody waits for them."""

    def __init__(self) -> None:
        self._gone = 0.0
        self._since = 0.0
        self._waiting = 0

    def __call__(self) -> float:
        """Return the seconds so far."""
        return self._gone + (time.monotonic() - self._since if self._waiting else 0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let time pass in the block."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._gone += time.monotonic() - self._since


class DosesTakeTime:
    """Wraps the gateway's application: while a dose is delivered, time passes."""

    def __init__(self, app: ASGIApp, stopwatch: Stopwatch) -> None:
        self._app = app
        self._stopwatch = stopwatch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if not str(scope.get("path", "")).endswith("/dose"):
            await self._app(scope, receive, send)
            return
        with self._stopwatch.running():
            await self._app(scope, receive, send)


@asynccontextmanager
async def sleeping(path: Path, clock: Clock, stopwatch: Stopwatch) -> AsyncIterator[None]:
    """Serve the sleeps of scripts on a socket while the block runs."""

    async def sleep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seconds = float(await reader.readline())
        with stopwatch.running():
            await clock.sleep(seconds * clock.speed)
        writer.write(b"!")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(sleep, path)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
