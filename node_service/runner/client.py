"""The node's side of the runner's socket."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from broker.messages import ContractError, ErrorCode
from node_service.runner import wire
from node_service.runner.interface import (
    Attempt,
    ContainerStatus,
    Exit,
    Found,
    Leftover,
    LogChunk,
    LogCursor,
    Progress,
    RunnerError,
    RunnerInfo,
    RunnerUnavailableError,
    RunSpec,
)
from node_service.runner.paths import socket_address

_RETRY: Final = 0.05
"""Seconds between attempts to reach the runner's process while it starts again."""

_GIVE_UP_LOSSES: Final = 5
_GIVE_UP_WITHIN: Final = 60.0


class RunnerClient:
    """A `Runner` that lives in another process.

    Each call has a connection of its own. When the runner's process is killed in the middle of a
    call, the call is repeated as soon as the process is back, since every call may be; following
    a log goes on after the last chunk. Safe to use from many tasks.

    Args:
        socket: Where the runner's process listens.
        patience: Seconds that a call waits for the process to come back.
    """

    def __init__(self, socket: Path, *, patience: float = 15.0) -> None:
        self._socket = socket
        self._patience = patience

    async def info(self) -> RunnerInfo:
        """See `Runner.info`; so for the methods below."""
        info: RunnerInfo = await self._ask(wire.Call.INFO)
        return info

    async def prepare(self, image: str, progress: Progress) -> str:  # noqa: D102
        digest: str = await self._ask(wire.Call.PREPARE, progress, image=image)
        return digest

    async def start(self, spec: RunSpec) -> str:  # noqa: D102
        container_id: str = await self._ask(wire.Call.START, spec=spec)
        return container_id

    async def find(self) -> Sequence[Found]:  # noqa: D102
        found: Sequence[Found] = await self._ask(wire.Call.FIND)
        return found

    async def pause(self, container_id: str) -> None:  # noqa: D102
        await self._ask(wire.Call.PAUSE, container_id=container_id)

    async def resume(self, container_id: str) -> None:  # noqa: D102
        await self._ask(wire.Call.RESUME, container_id=container_id)

    async def stop(self, container_id: str, grace: float) -> None:  # noqa: D102
        await self._ask(wire.Call.STOP, container_id=container_id, grace=grace)

    async def kill(self, container_id: str) -> None:  # noqa: D102
        await self._ask(wire.Call.KILL, container_id=container_id)

    async def remove(self, container_id: str) -> None:  # noqa: D102
        await self._ask(wire.Call.REMOVE, container_id=container_id)

    async def wait(self, container_id: str) -> Exit:  # noqa: D102
        ended: Exit = await self._ask(wire.Call.WAIT, container_id=container_id)
        return ended

    async def status(self, container_id: str) -> ContainerStatus:  # noqa: D102
        status: ContainerStatus = await self._ask(wire.Call.STATUS, container_id=container_id)
        return status

    async def open_results(self, run: Attempt) -> None:  # noqa: D102
        await self._ask(wire.Call.OPEN_RESULTS, run=run)

    async def discard(self, run: Attempt) -> None:  # noqa: D102
        await self._ask(wire.Call.DISCARD, run=run)

    async def leftovers(self, known: Collection[Attempt]) -> Sequence[Leftover]:  # noqa: D102
        left: Sequence[Leftover] = await self._ask(wire.Call.LEFTOVERS, known=list(known))
        return left

    async def logs(  # noqa: D102
        self, container_id: str, after: LogCursor | None = None
    ) -> AsyncGenerator[LogChunk, None]:
        kind = wire.signature(wire.Call.LOGS).result
        losses = _Losses()
        while True:
            arguments = {"container_id": container_id, "after": after}
            try:
                async with aclosing(self._exchange(wire.Call.LOGS, arguments)) as messages:
                    async for message in messages:
                        if "result" in message:
                            return
                        chunk: LogChunk = wire.decode(kind, message["item"])
                        after = chunk.cursor
                        yield chunk
            except _LostError as error:
                losses.count(error)

    async def _ask(
        self, call: wire.Call, progress: Progress | None = None, **arguments: object
    ) -> Any:
        kind = wire.signature(call).result
        losses = _Losses()
        while True:
            try:
                async with aclosing(self._exchange(call, arguments)) as messages:
                    async for message in messages:
                        if "result" in message:
                            return wire.decode(kind, message["result"])
                        if progress is not None:
                            await progress(message["progress"])
            except _LostError as error:
                losses.count(error)

    async def _exchange(
        self, call: wire.Call, arguments: Mapping[str, object]
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Ask, and give the messages of the answer; the last one has the result.

        Raises:
            RunnerError: The answer is an error.
            _LostError: It ended early.
        """
        reader, writer = await self._connect()
        try:
            writer.write(wire.line({"call": call.value, "arguments": arguments}))
            await writer.drain()
            while True:
                message = wire.parse(await reader.readuntil(b"\n"))
                if "error" in message:
                    raise wire.decode_error(message["error"])
                yield message
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise _LostError from error
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience
        while True:
            try:
                with socket_address(self._socket) as address:
                    return await asyncio.open_unix_connection(address, limit=wire.MAX_LINE)
            except OSError as error:
                if clock() > deadline:
                    raise RunnerUnavailableError(
                        f"the runner's process does not answer: {error.strerror}",
                        "it is started again by itself; look into the node's log if it stays away",
                    ) from error
            await asyncio.sleep(_RETRY)


class _LostError(Exception):
    """The runner's process went away during a call."""


class _Losses:
    """Counts how often one call was lost, so that a call that kills the runner is given up."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_GIVE_UP_LOSSES)

    def count(self, error: _LostError) -> None:
        now = asyncio.get_running_loop().time()
        self._times.append(now)
        if len(self._times) == _GIVE_UP_LOSSES and now - self._times[0] < _GIVE_UP_WITHIN:
            raise RunnerUnavailableError(
                "the runner's process ended again and again during this call",
                "look into the node's log for the reason",
            ) from error


def told(error: RunnerError) -> ContractError:
    """Return the error as it is told to people and programs elsewhere."""
    return ContractError(ErrorCode(error.code), error.message, error.hint)
