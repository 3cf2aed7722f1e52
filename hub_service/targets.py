"""Tells targets in a process of its own, so that neither its memory nor its time are the hub's."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from hub_service.settings import NotifyTarget

TIMEOUT_S: Final = 120.0
"""For all targets of one round; each service has shorter timeouts of its own."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What one target is told."""

    target: NotifyTarget
    title: str
    body: str


async def tell(letters: Sequence[Letter], timeout_s: float = TIMEOUT_S) -> Mapping[str, str]:
    """Tell targets; return by name why one failed, nothing for those that were told."""
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
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hub_service.telling",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # a trace could name a URL
    )
    output = bytearray()
    failed = {letter.target.name: "the process that tells it failed" for letter in letters}

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
        answer = orjson.loads(line)
        if answer["why"] is None:
            failed.pop(answer["name"], None)
        else:
            failed[answer["name"]] = answer["why"]
    return failed
