"""Manual control of single channels while no experiment holds the reactor.

Commands are live: a retained one would come back at every reconnect, an old one would surprise
whoever stands beside the reactor. Each is carried out once by its id.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from broker.connection import Message
from broker.messages import Command, ContractError, ErrorCode, EventRecord, Record, decode
from broker.topics import Topic
from hardware.clock import Clock
from hardware.reactor import Reactor
from node_service.voice import Voice

MAX_AGE: Final = timedelta(seconds=10)
TOLERANCE: Final = timedelta(seconds=2)
"""By how much the sender's clock may be ahead of the node's."""
REMEMBERED: Final = 1000
MAX_AT_ONCE: Final = 16

logger = logging.getLogger(__name__)


class ManualControl:
    """Of one node's reactor.

    Args:
        busy: Returns the id of the experiment that holds the reactor, None while idle.
        tasks: Where commands are carried out; a dose takes its time.
    """

    def __init__(
        self,
        *,
        reactor: Reactor,
        clock: Clock,
        voice: Voice,
        record: Callable[[Record], None],
        busy: Callable[[], str | None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._voice = voice
        self._record = record
        self._busy = busy
        self._tasks = tasks
        self._under_way = 0
        self._done: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def hear(self, message: Message) -> None:
        """Take a command; what is wrong with it is told to its sender."""
        address = self._voice.parse(message, Topic.NODE_COMMAND)
        if address is None or not message.payload:
            return
        principal, channel = address["principal"], address["channel"]
        id_: str | None = None
        try:
            await self._voice.refuse_retained(message)
            command = decode(Command, message.payload)
            id_ = command.id
            if (principal, id_) in self._done:
                return
            self._check(command)
        except ContractError as error:
            await self._voice.complain(principal, message.topic, error.error, id_)
            return
        self._done[principal, id_] = None
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        self._under_way += 1
        self._tasks.create_task(
            self._carry_out(principal, channel, command, message.topic), name="command"
        )

    def _check(self, command: Command) -> None:
        now = self._clock.now()
        if command.expires_at <= now:
            raise ContractError(
                ErrorCode.EXPIRED,
                f"the command expired {(now - command.expires_at).total_seconds():.1f} s ago",
                "send it again; if it is always late, compare the clocks of sender and node",
            )
        if command.expires_at > now + MAX_AGE + TOLERANCE:
            ahead = (command.expires_at - now).total_seconds()
            raise ContractError(
                ErrorCode.EXPIRED,
                f"the command expires in {ahead:.0f} s, at most {MAX_AGE.seconds} s are allowed",
                "let it expire sooner; if it does, the clocks of sender and node disagree",
            )
        if (command.value is None) == (command.dose_ml is None):
            raise ContractError(
                ErrorCode.MALFORMED,
                "a command sets a value or doses a volume",
                "give either value or dose_ml",
            )
        self._check_idle()
        if self._under_way >= MAX_AT_ONCE:
            raise ContractError(
                ErrorCode.RATE_LIMIT,
                f"{MAX_AT_ONCE} commands are being carried out",
                "wait until some are done",
            )

    def _check_idle(self) -> None:
        holder = self._busy()
        if holder is not None:
            raise ContractError(
                ErrorCode.REACTOR_BUSY,
                f"experiment {holder} holds the reactor",
                "wait for its end, or cancel it",
                experiment_id=holder,
            )

    async def _carry_out(self, principal: str, channel: str, command: Command, topic: str) -> None:
        try:
            self._check_idle()  # an experiment may have come since it was taken
            self._record(
                EventRecord(
                    t=self._clock.now(),
                    mono=self._clock.monotonic(),
                    event="command",
                    channel=channel,
                    value=command.value if command.dose_ml is None else command.dose_ml,
                    data={"by": principal, "id": command.id},
                )
            )
            if command.dose_ml is not None:
                await self._reactor.dose(channel, command.dose_ml)
            elif command.value is not None:
                await self._reactor.set(channel, command.value, duration=command.duration)
        except ContractError as error:
            await self._voice.complain(principal, topic, error.error, command.id)
        finally:
            self._under_way -= 1
