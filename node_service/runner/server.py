"""The runner's process serves a `Runner` on a unix socket."""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from hardware.files import try_lock
from node_service.runner import wire
from node_service.runner.interface import Runner, RunnerError
from node_service.runner.paths import socket_address

_log = logging.getLogger(__name__)
_CREDENTIALS: Final = struct.Struct("3i")


class Server:
    """Answers the calls of one node.

    Whoever is neither the same user nor root is refused, even if he reaches the socket. Bad input
    gets a typed error and never ends the process.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def run(self, path: Path) -> None:
        """Serve until cancelled; calls in progress are cancelled then."""
        async with asyncio.TaskGroup() as calls:

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                calls.create_task(self._connection(reader, writer))

            with _listening_socket(path) as listener:
                server = await asyncio.start_unix_server(accept, sock=listener, limit=wire.MAX_LINE)
                _log.info("the runner listens on %s", path)
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            _check_peer(writer)
            await self._one_call(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            _log.debug("a client went away")
        finally:
            writer.close()

    async def _one_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readuntil(b"\n")
        answer = asyncio.create_task(self._answer(data, writer), name="runner-call")
        gone = asyncio.create_task(_until_gone(reader), name="runner-client-gone")
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.wait((answer, gone))
        if not answer.cancelled():
            writer.write(answer.result())
            await writer.drain()

    async def _answer(self, data: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Carry out one call; return its last line."""
        try:
            call, arguments = _request(data)
        except (ValueError, KeyError) as error:
            refusal = RunnerError(f"the call is malformed: {error}", code="MALFORMED")
            return wire.line({"error": wire.encode_error(refusal)})
        try:
            return wire.line({"result": await self._carry_out(call, arguments, writer)})
        except RunnerError as error:
            return wire.line({"error": wire.encode_error(error)})
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 (the process holds the experiments: a bug in one call must not end it)
            _log.exception("%s failed", call)
            failure = RunnerError(
                f"the runner failed at {call}", "look into the node's log", code="INTERNAL"
            )
            return wire.line({"error": wire.encode_error(failure)})

    async def _carry_out(
        self, call: wire.Call, arguments: Mapping[str, Any], writer: asyncio.StreamWriter
    ) -> object:
        async def send(message: Mapping[str, object]) -> None:
            writer.write(wire.line(message))
            await writer.drain()

        method = getattr(self._runner, call.value)
        kind = wire.signature(call)
        if kind.items:
            async with aclosing(method(**arguments)) as items:
                async for item in items:
                    await send({"item": item})
            return None
        if kind.progress:
            return await method(**arguments, progress=lambda text: send({"progress": text}))
        return await method(**arguments)


def _request(data: bytes) -> tuple[wire.Call, Mapping[str, Any]]:
    message = wire.parse(data)
    call = wire.Call(message["call"])
    kinds = wire.signature(call).arguments
    given = message.get("arguments", {})
    if not isinstance(given, dict) or set(given) - set(kinds):
        raise ValueError(f"{call} takes {', '.join(kinds) or 'nothing'}")
    if missing := [name for name in kinds if name not in given and name != "after"]:
        raise ValueError(f"{call} lacks {missing[0]}")
    return call, {name: wire.decode(kinds[name], value, name) for name, value in given.items()}


@contextmanager
def _listening_socket(path: Path) -> Iterator[socket.socket]:
    """Listen where a runner that was killed may have left its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path.unlink(missing_ok=True)
        with socket_address(path) as address:
            listener.bind(address)
        path.chmod(0o600)
        yield listener


async def _until_gone(reader: asyncio.StreamReader) -> None:
    """Return when the client has closed its end, or said more than a client may."""
    with suppress(ConnectionError):
        await reader.read(1)


def _check_peer(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(packed)
    if uid not in (0, os.geteuid()):
        raise ConnectionRefusedError(f"user {uid} may not use this runner")


@asynccontextmanager
async def only_one(runs: Path, patience: float) -> AsyncIterator[None]:
    """Hold the runs directory alone.

    Args:
        runs: Exists.
        patience: Seconds to wait for a runner that is just ending.

    Raises:
        RunnerError: Another runner holds it.
    """
    descriptor = os.open(runs / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = asyncio.get_running_loop().time() + patience
        while not try_lock(descriptor):
            if asyncio.get_running_loop().time() > deadline:
                raise RunnerError(
                    f"another runner works in {runs}", "stop it, or give this node its own data"
                )
            await asyncio.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
