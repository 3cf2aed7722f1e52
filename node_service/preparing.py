"""What happens between the acceptance of an attempt and its container: image, files, reactor."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from broker.messages import Assignment
from node_service import endings
from node_service.runner.interface import RunnerError
from node_service.runs import Ending, RunKey
from node_service.safety import make_safe
from node_service.supervision import Orders
from node_service.workplace import Station, lay_out

T = TypeVar("T")

RETRY_SECONDS: Final = 3.0
LONGEST_PAUSE_SECONDS: Final = 60.0


async def prepare(
    station: Station,
    key: RunKey,
    assignment: Assignment,
    orders: Orders,
    progress: Callable[[str], Awaitable[None]],
) -> str | Ending:
    """Make everything ready; return the image's digest, or how the attempt ended before it began.

    `progress` is awaited with a line for people at each step; building an image takes minutes.
    """
    script = assignment.script or ""
    if assignment.script_sha256 not in {None, hashlib.sha256(script.encode()).hexdigest()}:
        return endings.damaged()
    called_off = await _lay_out(station, key, script, orders, progress)
    if called_off is not None:
        return called_off
    image = await _image(station, assignment.image, orders, progress)
    if isinstance(image, Ending):
        return image
    await make_safe(station.reactor, station.alarms)
    await station.reactor.begin_run()
    return orders.ending or image


async def _lay_out(
    station: Station,
    key: RunKey,
    script: str,
    orders: Orders,
    progress: Callable[[str], Awaitable[None]],
) -> Ending | None:
    """Make the files, on a full disk once there is room; return the ending if a stop came first."""
    told = ""
    while orders.ending is None:
        try:
            await lay_out(station.paths(key), script)
        except OSError as error:
            why = error.strerror or str(error)
        else:
            return None
        if why != told:
            told = why
            await progress(f"The files of the run cannot be written, trying on: {why}.")
        await _unless_stopped(asyncio.sleep(RETRY_SECONDS), orders)
    return orders.ending


async def _image(
    station: Station, name: str, orders: Orders, progress: Callable[[str], Awaitable[None]]
) -> str | Ending:
    """Return the image's digest; tries until it is there or the attempt is to end.

    Nothing has begun yet, so waiting for an engine or a registry costs time and loses nothing,
    while giving up would fail one waiting experiment after another.
    """
    pause = RETRY_SECONDS
    told: set[str] = set()

    async def tell(line: str) -> None:
        if line not in told:  # trying again says nothing new
            told.add(line)
            await progress(line)

    while True:
        try:
            image = await _unless_stopped(station.runner.prepare(name, tell), orders)
        except RunnerError as error:
            if error.code == "NOT_FOUND":
                return endings.no_image(error)
            remedy = f" To mend it: {error.hint}." if error.hint else ""
            await tell(f"The image {name} is not ready, trying on: {error.message}.{remedy}")
            await _unless_stopped(asyncio.sleep(pause), orders)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            return orders.ending or image or endings.LOST
        if orders.ending is not None:
            return orders.ending


async def _unless_stopped(work: Awaitable[T], orders: Orders) -> T | None:
    """Return what the work gives, None if the attempt is to end before."""
    working = asyncio.ensure_future(work)
    stopped = asyncio.create_task(orders.stopped.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopped.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)
