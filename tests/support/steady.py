"""A reactor's clock that waits for the script, so that what a script sees hangs on no machine.

Between two waits of a script no time passes for its reactor, however long the script computes or
the machine is busy. Its waits are told to the bench: `time.sleep` in its process, and doses.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from hardware.clock import ManualClock
from node_service.lease import Lease
from node_service.runclock import RunClock

T = TypeVar("T")

_STEP = 0.1

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


class SteadyClock(ManualClock):
    """Moves on while the script waits, from one sleeper to the next, as fast as these can work.

    Args:
        speed: Reactor seconds in what a script takes for one second.
    """

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    @property
    def speed(self) -> float:
        """Reactor seconds in one second of a script's sleep."""
        return self._speed


class SteadyLease(Lease):
    """While a script acts, time passes: a dose takes as long as its pump."""

    def __init__(self, clock: RunClock, moving: SteadyClock) -> None:
        super().__init__(clock)
        self._moving = moving

    async def act(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something to the reactor."""
        acting = asyncio.ensure_future(super().act(work))
        await asyncio.sleep(0)
        while not acting.done():
            await self._moving.advance(_STEP)
        return await acting


@asynccontextmanager
async def sleeping(path: Path, clock: SteadyClock) -> AsyncIterator[None]:
    """Serve the sleeps of scripts on a socket while the block runs."""

    async def sleep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await clock.advance(float(await reader.readline()) * clock.speed)
        writer.write(b"!")
        writer.close()

    server = await asyncio.start_unix_server(sleep, path)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
