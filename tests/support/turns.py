"""How long the turns of an event loop are, whatever else the machine does."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def turns() -> AsyncIterator[list[float]]:
    """Give the processor time, in seconds, of each turn of the loop while the block runs.

    What is due waits for the turn that is going on: a sample, a heartbeat, an answer. On a busy
    machine a turn takes longer, but no more processor time. What a long test session has kept in
    memory is kept out of garbage collections meanwhile: they are not the turn's own.
    """
    taken: list[float] = []

    async def watch() -> None:
        begun = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            taken.append(now - begun)
            begun = now

    gc.collect()
    gc.freeze()
    watching = asyncio.create_task(watch())
    try:
        yield taken
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        gc.unfreeze()
