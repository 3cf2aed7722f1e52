"""Makes the reactor safe, until it is; holds it for a pause."""

import asyncio
import logging
from typing import Final

from hardware.reactor import Reactor
from node_service.alarms import NOT_SAFE, Alarms
from node_service.console import Console

RETRY_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


async def make_safe(reactor: Reactor, alarms: Alarms) -> None:
    """Return when every channel is known to be safe; what is not raises an alarm and is retried.

    A device that is lost is not waited for: the reactor tries on, and nothing is started before.
    """
    while True:
        try:
            await reactor.make_safe()
        except ExceptionGroup as group:
            first = group.exceptions[0]
            if alarms.on(
                NOT_SAFE,
                "critical",
                f"{len(group.exceptions)} of the reactor's channels are not known to be safe: "
                f"{first}; look at the reactor",
            ):
                logger.critical("the reactor is not known to be safe", exc_info=group)
            if reactor.safe_within_reach:
                return
        else:
            alarms.off(NOT_SAFE)
            return
        await asyncio.sleep(RETRY_SECONDS)


async def hold(reactor: Reactor, console: Console) -> None:
    """Have pumps stand still for a pause; the experiment is told what did not stop at once."""
    try:
        await reactor.hold()
    except ExceptionGroup as group:
        await console.tell(f"Not everything stopped for the pause: {group.exceptions[0]}")
