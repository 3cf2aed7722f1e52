"""Whether an image is what its recipe says, found out without building it again.

The recipe's hash stands on the image as a label; what is inside is looked at from inside, by a
script that runs as an experiment does, and compared: every package and its version with the lock,
every file of a package with the hash that its wheel was published with, the SDK with this node's.
Byte code is not compared: it is made during the build, which has no network.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

from packaging.utils import canonicalize_name
from ulid import ULID

from node_service.image.recipe import Target
from node_service.runner.client import RunnerClient
from node_service.runner.interface import Attempt, Limits, RunnerError, RunPaths, RunSpec
from node_service.runner.process import RunnerProcess, RunnerSettings

PROBE: Final = Path(__file__).with_name("probe.py")
_SECONDS: Final = 300.0
_LIMITS: Final = Limits(memory=256 * 1024**2)


def compare(
    found: Mapping[str, Any],
    locked: Mapping[str, str],
    sdk: Mapping[str, bytes],
    target: Target,
    kind: Literal["docker", "bubblewrap"],
) -> Sequence[str]:
    """Return what is wrong with an image, a sentence each; nothing if it is sound. Pure.

    Args:
        found: What the probe said.
        locked: Normal name of a distribution → version, as the lock has them.
        sdk: Our own files in it.
        target: What it was made for.
        kind: Sandboxes have the machine's own tools, so those are no fault of the image.
    """
    wrong: list[str] = []
    if found["python"] != target.python:
        wrong.append(f"it has Python {found['python']}, {target.python} is wanted")
    packages = {canonicalize_name(name): version for name, version in found["packages"].items()}
    for name in sorted({*locked} | {*packages}):
        wanted, there = locked.get(name), packages.get(canonicalize_name(name))
        if there is None:
            wrong.append(f"{name} {wanted} is missing")
        elif wanted is None:
            wrong.append(f"{name} {there} is not in the lock")
        elif wanted != there:
            wrong.append(f"{name} is {there}, the lock says {wanted}")
    ours = {name: hashlib.sha256(data).hexdigest() for name, data in sdk.items()}
    if found["sdk"] != ours:
        wrong.append("the SDK in it is not the one of this node")
    if kind == "docker" and found["tools"]:
        wrong.append(f"it has {', '.join(found['tools'])}")
    wrong += found["problems"]
    if found["more"]:
        wrong.append(f"and {found['more']} more files are not as they were installed")
    return wrong


async def look_inside(settings: RunnerSettings, image: str) -> Mapping[str, Any]:
    """Run the probe as an experiment and return what it said.

    Args:
        settings: Of the node; the run lies in a directory of its own.
        image: Digest.

    Raises:
        RunnerError: It could not be run.
    """
    with TemporaryDirectory(prefix="bioreactor-verify-") as name:
        own = settings.elsewhere(Path(name))
        async with _running(own) as client:
            run = Attempt(str(ULID()), 1)
            paths = RunPaths.of(own.runs, run)
            await asyncio.to_thread(_lay_out, paths)
            try:
                container = await client.start(RunSpec(run, image, _LIMITS))
                async with asyncio.timeout(_SECONDS):
                    ended = await client.wait(container)
                said = "".join([chunk.text async for chunk in client.logs(container)])
            finally:
                await client.discard(run)
    try:
        found: Mapping[str, Any] = json.loads(said)
    except ValueError as error:
        raise RunnerError(
            f"what is inside cannot be looked at: exit code {ended.exit_code}, {said[-300:]}"
        ) from error
    return found


def _lay_out(paths: RunPaths) -> None:
    paths.gateway.mkdir(parents=True)
    paths.script.write_text(PROBE.read_text())
    paths.script.chmod(0o644)


@asynccontextmanager
async def _running(settings: RunnerSettings) -> AsyncIterator[RunnerClient]:
    process = RunnerProcess(settings)
    running = asyncio.create_task(process.run(), name="runner")
    try:
        yield process.client
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
