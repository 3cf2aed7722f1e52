"""Fetching the locked packages and unpacking them, on the host."""

import asyncio
import importlib.util
import re
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from node_service.image.recipe import AllowList, Target
from node_service.runner.interface import RunnerError

_FETCHING: Final = re.compile(r"(?:Collecting ([\w.-]+)==|Processing \S*/([\w.]+)-(?=\d))([\w.]+)")
_LAST_LINES: Final = 5


async def install(
    allowed: AllowList,
    target: Target,
    directory: Path,
    progress: Callable[[str], Awaitable[None]],
) -> None:
    """Put the packages into a directory that Python can import from.

    Only wheels are taken, and only those whose hash is in the lock; nothing of them is run.

    Args:
        allowed: What is wanted.
        target: What it must run on; it need not be this machine's Python.
        directory: Made here. A crash leaves it incomplete: use a temporary one and rename it.
        progress: Awaited with a line for people at each step.

    Raises:
        RunnerError: pip is missing, could not fetch something, or a hash is wrong.
    """
    await asyncio.to_thread(directory.mkdir, parents=True)
    locked = allowed.locked_for(target)
    if not locked:
        return
    requirements = directory.with_name(f"{directory.name}.txt")
    requirements.write_text(locked)
    platforms = [part for tag in target.platforms() for part in ("--platform", tag)]
    try:
        await _run(
            [
                *_pip(), "install", "--target", str(directory), "--requirement", str(requirements),
                "--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-compile",
                "--ignore-requires-python",  # the lock knows; pip asks about its own Python
                "--implementation", "cp", "--python-version", target.python, *platforms,
                "--progress-bar", "off", "--no-input", "--disable-pip-version-check",
                "--root-user-action", "ignore",
            ],
            progress,
        )  # fmt: skip
    finally:
        requirements.unlink()
    await asyncio.to_thread(shutil.rmtree, directory / "bin", ignore_errors=True)


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip3") or shutil.which("pip")
    if pip is None:
        raise RunnerError(
            "pip is missing, so the packages of the experiment image cannot be fetched",
            "install it beside this program: pip or uv pip install pip",
        )
    return [pip]


async def _run(command: list[str], progress: Callable[[str], Awaitable[None]]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said: list[str] = []
    try:
        if process.stdout is None:
            raise AssertionError("the output is piped")
        async for data in process.stdout:
            line = data.decode(errors="replace").strip()
            if not line.startswith("WARNING"):
                said.append(line)
            if match := _FETCHING.match(line):
                await progress(f"fetching {match[1] or match[2]} {match[3]}")
            elif line.startswith("Installing collected packages"):
                await progress("unpacking the packages")
        if await process.wait() != 0:
            raise RunnerError(
                "the packages of the experiment image cannot be fetched: "
                + " | ".join(said[-_LAST_LINES:]),
                "see that this machine reaches a Python package index, then start again",
            )
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
