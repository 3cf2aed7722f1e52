"""How a service is, told on a unix socket in its data directory: `serve` it, `ask` for it.

``python -m broker.health DIRECTORY`` asks, too; its exit status is 1 unless the service is alive.

Whoever may read the directory may ask, with no network and no password; the answer proves that the
service's event loop runs.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
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

    listening, inode = _listen(directory)
    server = await asyncio.start_unix_server(answer, sock=listening)
    try:
        async with server:
            yield
    finally:
        _remove(directory, inode)


@asynccontextmanager
async def serve_if_free(directory: Path, judge: Callable[[], Health]) -> AsyncIterator[None]:
    """Answer as `serve` does, but only where no other process does, and where the disk lets us.

    For a start: the directory may be another's, or have no room yet.
    """
    async with AsyncExitStack() as stack:
        with suppress(OSError):
            if not await asyncio.to_thread(_is_served, directory):
                await stack.enter_async_context(serve(directory, judge))
        yield


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


def _listen(directory: Path) -> tuple[socket.socket, int]:
    """Return a socket in a directory, and its file's number."""
    (directory / SOCKET).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _within(directory) as path:
            listening.bind(path)
        return listening, (directory / SOCKET).stat().st_ino
    except OSError:
        listening.close()
        raise


def _remove(directory: Path, inode: int) -> None:
    """Remove the socket, unless it is another process's by now."""
    with suppress(FileNotFoundError):
        if (directory / SOCKET).stat().st_ino == inode:
            (directory / SOCKET).unlink()


def _is_served(directory: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, _within(directory) as path:
        try:
            asking.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


@contextmanager
def _within(directory: Path) -> Iterator[str]:
    """Give the socket a short name: the kernel takes 107 characters, directories may have more."""
    number = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{number}/{SOCKET}"
    finally:
        os.close(number)


def main(directory: Path) -> int:
    """Say how the service of a data directory is; return the exit status."""
    health = ask(directory)
    sys.stdout.write(f"{health.sentence}\n")
    return 0 if health.alive else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
