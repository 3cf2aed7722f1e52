"""Tells targets in a process of its own, so that neither its memory nor its time are the hub's."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from hub_service.settings import NotifyTarget

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 120.0
"""For all targets of one round; each service has shorter timeouts of its own."""
TELLER: Final = (sys.executable, "-m", "hub_service.telling")


@dataclass(frozen=True, slots=True)
class Letter:
    """What one target is told."""

    target: NotifyTarget
    title: str
    body: str


async def tell(
    letters: Sequence[Letter], timeout_s: float = TIMEOUT_S, command: Sequence[str] = TELLER
) -> Mapping[str, str]:
    """Tell targets; return by name why one failed, nothing for those that were told.

    Args:
        letters: One for each target.
        timeout_s: For all of them.
        command: Tells them: `hub_service.telling`.
    """
    orders = orjson.dumps(
        [
            {
                "name": letter.target.name,
                "url": letter.target.url.get_secret_value(),
                "title": letter.title,
                "body": letter.body,
            }
            for letter in letters
        ]
    )
    output = bytearray()
    failed = {letter.target.name: "the process that tells it failed" for letter in letters}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a trace could name a URL
        )
    except OSError as error:  # no memory, no process, no descriptor is left
        return dict.fromkeys(failed, f"the process that tells it did not start: {error.strerror}")

    async def converse() -> None:
        assert process.stdin is not None  # noqa: S101  both are pipes
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(orders)
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        process.stdin.close()
        while piece := await process.stdout.read(64 * 1024):
            output.extend(piece)

    try:
        await asyncio.wait_for(converse(), timeout_s)
    except TimeoutError:
        failed = dict.fromkeys(failed, f"no answer within {timeout_s:g} s")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    for line in output.splitlines():
        match _answer(line):
            case {"name": str(name), "why": None}:
                failed.pop(name, None)
            case {"name": str(name), "why": str(why)} if name in failed:
                failed[name] = why
            case _:
                log.debug("a line of the process that tells targets is no answer")
    return failed


def _answer(line: bytearray) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
