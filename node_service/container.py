"""The container of one attempt, with patience: the engine may be away for a while.

What must come true in the end (pause, resume, stop, remove, the exit) is tried until it does; the
reactor is made safe meanwhile, so waiting costs time and nothing else.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

from broker.messages import ContainerStatus
from node_service.console import Console
from node_service.runner.interface import (
    Attempt,
    Exit,
    Found,
    LogChunk,
    LogCursor,
    NoSuchContainerError,
    Runner,
    RunnerError,
)
from node_service.runs import RunKey

T = TypeVar("T")

RETRY_SECONDS: Final = 2.0
STATUS_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


async def persist(what: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do something with the runner until it works; what fails is logged once for each reason.

    Raises:
        NoSuchContainerError: The container does not exist; trying again would not help.
    """
    told = ""
    while True:
        try:
            return await work()
        except NoSuchContainerError:
            raise
        except RunnerError as error:
            if str(error) != told:
                told = str(error)
                logger.warning("cannot %s yet: %s", what, error)
        await asyncio.sleep(RETRY_SECONDS)


async def find(runner: Runner, key: RunKey) -> Found | None:
    """Return the container of an attempt, None if there is none; waits for the engine."""
    found = await persist("look for containers", runner.find)
    wanted = Attempt(key.experiment_id, key.attempt)
    return next((one for one in found if one.run == wanted), None)


class Container:
    """A container that was started or found."""

    def __init__(self, runner: Runner, key: RunKey, container_id: str) -> None:
        self._runner = runner
        self._key = key
        self.id = container_id
        self.status: ContainerStatus | None = None

    async def exit(self) -> Exit | None:
        """Return how it ended, once it has; None if it is gone."""
        try:
            return await persist(f"wait for {self._key}", lambda: self._runner.wait(self.id))
        except NoSuchContainerError:
            return None

    async def freeze(self) -> None:
        """Freeze it; one that has ended stays as it is."""
        await self._unless_ended("freeze", lambda: self._runner.pause(self.id))

    async def thaw(self) -> None:
        """Let it run on; one that has ended stays as it is."""
        await self._unless_ended("thaw", lambda: self._runner.resume(self.id))

    async def stop(self, grace: float) -> None:
        """Ask it to end, then make it; returns when it has ended or is gone."""
        await self._unless_gone("stop", lambda: self._runner.stop(self.id, grace))

    async def remove(self) -> None:
        """Remove it; returns when it is gone."""
        await self._unless_gone("remove", lambda: self._runner.remove(self.id))

    async def watch(self, measured: Callable[[ContainerStatus], Awaitable[None]]) -> None:
        """Measure it each second until cancelled."""
        while True:
            try:
                status = await self._runner.status(self.id)
            except RunnerError as error:
                logger.debug("no status of %s: %s", self._key, error)
            else:
                await measured(ContainerStatus.model_validate(status, from_attributes=True))
            await asyncio.sleep(STATUS_SECONDS)

    async def follow(self, console: Console) -> None:
        """Take its output to the console until it has ended and all of it is there."""
        try:
            await persist(f"read the output of {self._key}", lambda: self._follow(console))
        except NoSuchContainerError:
            await console.tell("The container is gone: what it printed last may be missing.")

    async def _follow(self, console: Console) -> None:
        cursor = console.position.cursor
        after = None if cursor is None else LogCursor(cursor)
        chunks: AsyncIterator[LogChunk] = self._runner.logs(self.id, after)
        if isinstance(chunks, AsyncGenerator):
            async with aclosing(chunks):
                await console.follow(chunks)
        else:
            await console.follow(chunks)

    async def _unless_ended(self, verb: str, work: Callable[[], Awaitable[None]]) -> None:
        async def trying() -> None:
            try:
                await work()
            except NoSuchContainerError:
                return
            except RunnerError as error:
                if error.code != "WRONG_STATE":
                    raise

        await persist(f"{verb} {self._key}", trying)

    async def _unless_gone(self, verb: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await persist(f"{verb} {self._key}", work)
        except NoSuchContainerError:
            return
