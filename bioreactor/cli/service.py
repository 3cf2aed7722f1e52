"""One service as a child of `bioreactor up`, kept running, its output in a file of bounded size."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from broker.children import Child, keep_running
from broker.extras import REFUSED

MAX_LOG_BYTES = 10 * 1024**2
KEPT_LOGS = 2


@dataclass(frozen=True)
class Service:
    """A program to keep running.

    Attributes:
        name: For people.
        module: Run with ``python -m``.
        config: Its configuration file; secrets stand there, never in the arguments.
        log: Where its output goes.
        grace: Seconds it may take to stop by itself.
    """

    name: str
    module: str
    config: Path
    log: Path
    grace: float = 20.0


@asynccontextmanager
async def running(*services: Service) -> AsyncIterator[None]:
    """Keep services running; stop them side by side at the end, however that comes.

    If this process is killed, each gets SIGTERM from the kernel and stops by itself.

    Raises:
        RefusedError: One says that starting it again would not help; what is done meanwhile is
            cancelled.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_keep(service), name=service.name) for service in services]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


async def _keep(service: Service) -> None:
    service.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = RotatingFileHandler(service.log, maxBytes=MAX_LOG_BYTES, backupCount=KEPT_LOGS)

    def write(line: str) -> None:
        record = logging.LogRecord(service.name, logging.INFO, "", 0, line, None, None)
        output.emit(record)

    def start() -> Child:
        return Child.start(
            [sys.executable, "-u", "-m", service.module, "--config", str(service.config)],
            death_signal=signal.SIGTERM,
            on_line=write,
        )

    try:
        await keep_running(service.name, start, grace=service.grace, refused=REFUSED)
    finally:
        output.close()
