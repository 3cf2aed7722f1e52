"""The emergency stop: latched on the node's disk, engaged by anything, released by name only.

Engaging makes the reactor safe first and asks questions later; it needs neither hub nor broker. A
latch survives restarts and the loss of the broker, and an empty payload never releases it. A
release names the latch, so that nobody releases a stop that he has not seen.
"""

import asyncio
import logging
from collections.abc import Callable

from ulid import ULID

from broker.connection import Message, NotConnectedError
from broker.messages import (
    ContractError,
    ErrorCode,
    Estop,
    EstopRelease,
    EstopRequest,
    EventRecord,
    Record,
    decode,
)
from broker.topics import Topic
from hardware.clock import Clock
from hardware.reactor import Reactor
from node_service.alarms import Alarms
from node_service.identity import LOCAL
from node_service.ledger import Ledger
from node_service.safety import make_safe
from node_service.voice import Voice

logger = logging.getLogger(__name__)


class EmergencyStop:
    """Of one node.

    Args:
        cut: Called with the latch before anything is waited for; ends what runs.
        released: Called when commands are allowed again.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        reactor: Reactor,
        clock: Clock,
        voice: Voice,
        alarms: Alarms,
        record: Callable[[Record], None],
        cut: Callable[[Estop], None],
        released: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._reactor = reactor
        self._clock = clock
        self._voice = voice
        self._alarms = alarms
        self._record = record
        self._cut = cut
        self._released = released
        self._engaged_by: set[str] = set()
        self._engaging = False
        self._releasing = False
        self._meanwhile: tuple[str, str] | None = None

    async def restore(self) -> None:
        """Engage again what was latched when the node stopped."""
        estop = self._ledger.estop
        if estop is not None:
            self._cut(estop)
            await self._make_safe(estop)

    async def engage(self, by: str, reason: str) -> None:
        """Stop everything; latched on the disk when it returns. The first latch stands."""
        if self._engaging or self._ledger.estop is not None:
            if self._releasing:
                self._meanwhile = (by, reason)
            return
        self._engaging = True
        estop = Estop(latch=str(ULID()), by=by, since=self._clock.now(), reason=reason)
        self._cut(estop)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._make_safe(estop))
                both.create_task(self._latch(estop))
        finally:
            self._engaging = False
        logger.warning("emergency stop engaged by %s: %s", by, reason or "no reason given")

    async def hear(self, message: Message) -> None:
        """Take what was published to engage; any non-empty payload does."""
        address = self._voice.parse(message, Topic.NODE_ESTOP)
        if address is None or not message.payload:
            return
        principal = address["principal"]
        self._engaged_by.add(principal)
        await self.engage(principal, _reason(message.payload))

    async def hear_release(self, message: Message) -> None:
        """Take what was published to release."""
        address = self._voice.parse(message, Topic.NODE_ESTOP_RELEASE)
        if address is None or not message.payload:
            return
        principal = address["principal"]
        try:
            await self._voice.refuse_retained(message)
            order = decode(EstopRelease, message.payload)
            await self.release(principal, order.latch, order.reason)
        except ContractError as error:
            await self._voice.complain(principal, message.topic, error.error)

    async def release(self, by: str, latch: str, reason: str = "") -> None:
        """Allow commands again; everything stays safe until commanded.

        Raises:
            ContractError: WRONG_STATE, that latch is not engaged; UNAVAILABLE, the broker left
                before the retained request could be cleared, and the stop stays engaged.
        """
        estop = self._ledger.estop
        if estop is None or estop.latch != latch:
            now = "none is engaged" if estop is None else f"the latch is {estop.latch}"
            raise ContractError(
                ErrorCode.WRONG_STATE,
                f"there is no emergency stop with the latch {latch}: {now}",
                "read the latch from the node's report and name that one",
            )
        self._releasing = True
        try:
            # Cleared first: what stayed retained would engage again at the next connect.
            principals = self._engaged_by | ({estop.by} - {LOCAL})
            cleared = [self._clear(principal) for principal in principals]
            for error in await asyncio.gather(*cleared, return_exceptions=True):
                if error is not None:
                    raise error
            self._engaged_by.clear()
            await self._ledger.unlatch()
        finally:
            self._releasing = False
            meanwhile, self._meanwhile = self._meanwhile, None
        self._reactor.release_emergency_stop()
        self._event("estop-released", {"latch": latch, "by": by, "reason": reason})
        logger.warning("emergency stop released by %s: %s", by, reason or "no reason given")
        if meanwhile is not None:  # somebody stopped it again before it was free
            await self.engage(*meanwhile)
        self._released()

    async def _clear(self, principal: str) -> None:
        try:
            await self._voice.clear(self._voice.topic(Topic.NODE_ESTOP, principal=principal))
        except (NotConnectedError, TimeoutError) as error:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                "the broker left before the request to stop could be cleared",
                "release it again when the broker is back",
            ) from error

    async def _make_safe(self, estop: Estop) -> None:
        try:
            await self._reactor.emergency_stop(estop.reason or f"engaged by {estop.by}")
        except ExceptionGroup:
            await make_safe(self._reactor, self._alarms)

    async def _latch(self, estop: Estop) -> None:
        await self._ledger.latch(estop)
        self._event("estop", {"latch": estop.latch, "by": estop.by, "reason": estop.reason})

    def _event(self, event: str, data: dict[str, str]) -> None:
        self._record(
            EventRecord(
                t=self._clock.now(), mono=self._clock.monotonic(), event=event, data={**data}
            )
        )


def _reason(payload: bytes) -> str:
    try:
        return decode(EstopRequest, payload).reason
    except ContractError:
        return ""  # somebody in a hurry; that it stops is what counts
