"""Whether the runner can run anything now, and what its images offer."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from broker.messages import Error, ErrorCode
from node_service.alarms import ENGINE, Alarms
from node_service.runner.interface import (
    Runner,
    RunnerError,
    RunnerInfo,
    RunnerUnavailableError,
)

LOOK_SECONDS: Final = 15.0
IMPATIENT_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 90.0
"""More than a runner takes to say that its engine does not answer."""

logger = logging.getLogger(__name__)


class Engine:
    """Asks the runner again and again.

    Args:
        patience: Seconds that it is given to answer; one that hangs never does.

    Attributes:
        info: As it said last; None if it never did.
        refusal: Why nothing can run now.
        known: Set once the runner was asked.
    """

    def __init__(
        self,
        runner: Runner,
        alarms: Alarms,
        changed: Callable[[], None],
        *,
        patience: float = ANSWER_SECONDS,
    ) -> None:
        self._runner = runner
        self._patience = patience
        self._alarms = alarms
        self._changed = changed
        self.info: RunnerInfo | None = None
        self.refusal: Error | None = Error(
            code=ErrorCode.ENGINE, message="the runner is starting", hint="wait a moment"
        )
        self.known = asyncio.Event()

    async def watch(self) -> None:
        """Ask until cancelled."""
        while True:
            await self._look()
            self.known.set()
            await asyncio.sleep(LOOK_SECONDS if self.refusal is None else IMPATIENT_SECONDS)

    async def _look(self) -> None:
        try:
            info = await self._info()
        except RunnerError as error:
            refusal = Error(
                code=ErrorCode.ENGINE,
                message=f"no experiment can run on this node: {error.message}",
                hint=error.hint or "an administrator must look at the node's container engine",
            )
            if refusal != self.refusal:
                logger.warning("%s (%s)", refusal.message, refusal.hint)
                self._alarms.on(ENGINE, "critical", refusal.message)
                self.refusal = refusal
                self._changed()
            return
        if self.refusal is not None or info != self.info:
            self._alarms.off(ENGINE)
            self.info, self.refusal = info, None
            self._changed()

    async def _info(self) -> RunnerInfo:
        try:
            async with asyncio.timeout(self._patience):
                return await self._runner.info()
        except TimeoutError as error:
            raise RunnerUnavailableError(
                f"the runner's process does not answer for {self._patience:g} s",
                "it hangs: end it, and it is started again; containers run on meanwhile",
            ) from error
