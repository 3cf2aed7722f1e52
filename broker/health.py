"""How a service is, told on a unix socket in its data directory: `serve` it, `ask` for it.

Whoever may read the directory may ask, with no network and no password; the answer proves that the
service's event loop runs.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

SOCKET: Final = "health.sock"
TIMEOUT_S: Final = 5.0
_LONGEST: Final = 64 * 1024


class Health(BaseModel):
    """How a service is.

    Attributes:
        alive: All of it makes progress; if not, a restart may help.
        ready: What is asked of it can be done now.
        sentence: For people.
    """

    model_config = ConfigDict(frozen=True)

    alive: bool
    ready: bool
    sentence: str


@asynccontextmanager
async def serve(directory: Path, judge: Callable[[], Health]) -> AsyncIterator[None]:
    """Answer whoever asks, until the block ends.

    Args:
        directory: Of the service alone: one process serves there.
        judge: Says how it is.
    """

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(judge().model_dump_json().encode())
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    (directory / SOCKET).unlink(missing_ok=True)
    with _within(directory) as path:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(path)
    server = await asyncio.start_unix_server(answer, sock=listening)
    try:
        async with server:
            yield
    finally:
        (directory / SOCKET).unlink(missing_ok=True)


def ask(directory: Path, timeout: float = TIMEOUT_S) -> Health:
    """Return how the service of a data directory is. Blocks."""
    try:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking,
            _within(directory) as path,
        ):
            asking.settimeout(timeout)
            asking.connect(path)
            said = b""
            while len(said) < _LONGEST and (piece := asking.recv(_LONGEST)):
                said += piece
        return Health.model_validate(orjson.loads(said))
    except TimeoutError:
        why = f"it does not answer within {timeout:g} s"
    except (FileNotFoundError, ConnectionError):
        why = f"it does not run, or does not serve yet ({directory})"
    except (OSError, orjson.JSONDecodeError, ValidationError) as error:
        why = f"{directory / SOCKET} cannot be asked: {error}"
    return Health(alive=False, ready=False, sentence=why)


@contextmanager
def _within(directory: Path) -> Iterator[str]:
    """Give the socket a short name: the kernel takes 107 characters, directories may have more."""
    number = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{number}/{SOCKET}"
    finally:
        os.close(number)
