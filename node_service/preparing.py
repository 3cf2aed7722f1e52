"""What happens between the acceptance of an attempt and its container: image, files, reactor."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

from broker.messages import Assignment
from node_service import endings
from node_service.runner.interface import RunnerError
from node_service.runs import Ending, RunKey
from node_service.safety import make_safe
from node_service.supervision import Orders
from node_service.workplace import Station, lay_out

TRIES: Final = 3
RETRY_SECONDS: Final = 3.0


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
    await lay_out(station.paths(key), script)
    image = await _image(station, assignment.image, orders, progress)
    if isinstance(image, Ending):
        return image
    await make_safe(station.reactor, station.alarms)
    await station.reactor.begin_run()
    return orders.ending or image


async def _image(
    station: Station, name: str, orders: Orders, progress: Callable[[str], Awaitable[None]]
) -> str | Ending:
    tries = 0
    while True:
        tries += 1
        try:
            image = await _unless_stopped(station.runner.prepare(name, progress), orders)
        except RunnerError as error:
            await progress(f"The image {name} could not be prepared: {error.message}")
            if tries == TRIES:
                return endings.not_started(error)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return orders.ending or image or endings.LOST


async def _unless_stopped(work: Awaitable[str], orders: Orders) -> str | None:
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
