"""Keep child processes running until told to stop.

A child that dies is started again, at once the first time and with growing pauses while it keeps
dying; a child dies with this process even if that is killed (see `broker.children`).
"""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.children import start_child

logger = logging.getLogger(__name__)

STEADY_S = 30.0
"""A child that lived so long is trusted again: its next death is followed by a start at once."""
LONGEST_PAUSE_S = 15.0
MAX_LOG_BYTES = 20 * 1024**2


@dataclass
class Child:
    """A program to keep running.

    Attributes:
        name: For people.
        argv: The program and its arguments; never a secret.
        log: Where its output goes; the previous file is kept when it grows too large.
        patience: Seconds it may take to stop by itself.
    """

    name: str
    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    patience: float = 20.0
    deaths: int = 0
    process: asyncio.subprocess.Process | None = None


class Supervisor:
    """Runs children; each in a task of the caller's `TaskGroup`."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    async def keep(self, child: Child) -> None:
        """Run a child until `stop`; then end it and return."""
        pause = 0.0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            started = loop.time()
            child.process = await self._start(child)
            ended = asyncio.create_task(child.process.wait())
            stop = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
                if stop.done():
                    await self._end(child)
                    return
            finally:
                stop.cancel()
                if child.process.returncode is None:
                    # Cancelled: no time to be polite, and nothing may be left behind.
                    child.process.kill()
                await asyncio.shield(ended)
            child.deaths += 1
            pause = (
                0.0 if loop.time() - started > STEADY_S else min(pause * 2 + 0.5, LONGEST_PAUSE_S)
            )
            logger.warning(
                "%s ended (%s); starting it again%s. Its log: %s",
                child.name,
                _reason(child.process.returncode or 0),
                f" in {pause:.1f} s" if pause else "",
                child.log,
            )
            try:
                await asyncio.wait_for(self._stopping.wait(), pause or 0.01)
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Have every child ended."""
        self._stopping.set()

    @staticmethod
    async def _start(child: Child) -> asyncio.subprocess.Process:
        child.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if child.log.exists() and child.log.stat().st_size > MAX_LOG_BYTES:
            child.log.replace(child.log.with_suffix(".log.1"))
        with child.log.open("ab") as log:
            return await start_child(
                child.argv, stdout=log, stderr=log, env={**os.environ, **child.environment}
            )

    @staticmethod
    async def _end(child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), child.patience)
        except TimeoutError:
            logger.warning("%s did not stop within %.0f s; killed", child.name, child.patience)
            process.kill()
            await process.wait()


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
