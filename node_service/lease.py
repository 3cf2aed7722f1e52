"""The lease of one attempt on the reactor: while it holds, its script may act.

Reading, logging, recording and saving need no lease: a script that is being stopped may still say
what it knows. Acting does: it waits while the experiment is frozen, is refused once the lease has
ended, and is refused once after the node came back to a running script, for its outputs went to
their safe values meanwhile and the script must learn it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from broker.messages import ContractError, Error, ErrorCode
from node_service.runclock import RunClock

T = TypeVar("T")

OVER = Error(
    code=ErrorCode.LEASE_ENDED,
    message="this experiment no longer holds the reactor",
    hint="it is being stopped; save what is needed and end",
)


class Lease:
    """Held from the start until `end`.

    Args:
        outputs_reset: The next act is refused with OUTPUTS_RESET, once.
    """

    def __init__(self, clock: RunClock, *, outputs_reset: bool = False) -> None:
        self._clock = clock
        self._outputs_reset = outputs_reset
        self._over: Error | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._heard = clock.elapsed

    @property
    def held(self) -> bool:
        """Whether the script may act."""
        return self._over is None and self._open.is_set()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over is not None

    @property
    def outputs_reset(self) -> bool:
        """Whether the script still has to learn that its outputs were reset."""
        return self._outputs_reset

    @property
    def silent_for(self) -> float:
        """Seconds of the experiment's clock since the script last said anything."""
        return self._clock.elapsed - self._heard

    def touch(self) -> None:
        """Note that the script said something."""
        self._heard = self._clock.elapsed

    def freeze(self) -> None:
        """Have acts wait, unless they are refused by now."""
        if self._over is None:
            self._open.clear()

    def thaw(self) -> None:
        """Let acts go on."""
        self._open.set()

    def tell_reset(self) -> None:
        """Note that the script learns of its outputs otherwise."""
        self._outputs_reset = False

    def end(self, why: Error = OVER) -> None:
        """Refuse all acts from now on; the first reason stands."""
        if self._over is None:
            self._over = why
        self._open.set()

    async def act(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something to the reactor.

        Raises:
            ContractError: LEASE_ENDED or ESTOP, nothing was done; OUTPUTS_RESET, nothing was
                done and the next act is allowed; or what the work raises.
        """
        while not self._open.is_set():
            await self._open.wait()
        if self._over is not None:
            over = self._over
            raise ContractError(over.code, over.message, over.hint, **over.details)
        if self._outputs_reset:
            self._outputs_reset = False
            raise ContractError(
                ErrorCode.OUTPUTS_RESET,
                "the reactor's node was restarted: pumps and direct outputs were switched off",
                "check the reactor, set again what the experiment needs, and go on",
            )
        return await work()
