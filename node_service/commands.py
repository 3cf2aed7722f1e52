"""Manual control of single channels while no experiment holds the reactor.

Commands are live: a retained one would come back at every reconnect, an old one would surprise
whoever stands beside the reactor. Each is carried out once by its id, and answered alike when it
comes again; a node that has restarted meanwhile refuses it then. Commands begin in the order in
which they came, but what switches off waits for no disk: what came before it, and still does, is
refused. The answer says what is on record, unless it says that something was switched off.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from broker.connection import Message
from broker.incoming import Back
from broker.messages import (
    ByHand,
    Command,
    ContractError,
    Done,
    Error,
    ErrorCode,
    EventRecord,
    ManualEnd,
    Record,
    Reply,
    decode,
)
from broker.topics import Address, Topic
from hardware.clock import Clock
from hardware.reactor import Reactor
from node_service.manual import Hands
from node_service.taken import Taken
from node_service.voice import Voice

MAX_AGE: Final = timedelta(seconds=10)
TOLERANCE: Final = timedelta(seconds=2)
"""By how much the sender's clock may be ahead of the node's."""
REMEMBERED: Final = 1000
MAX_AT_ONCE: Final = 16
"""Commands that are carried out or wait for the disk; to switch off, there is room for more."""
ANSWER_SECONDS: Final = 0.5
"""What takes longer is answered before it is done."""

logger = logging.getLogger(__name__)

_B = TypeVar("_B", bound=ByHand)


@dataclass(eq=False, slots=True)
class _Kept:
    """A command that waits until the disk has its id.

    Attributes:
        overtaken: What it is for was switched off meanwhile.
    """

    channel: str
    overtaken: bool = False


class ManualControl:
    """Of one node's reactor.

    Args:
        portals: Principals that are believed when they say who acts.
        settled: Returns when what was recorded is on the disk.
        taken: What was taken, kept over a restart.
        busy: Returns the id of the experiment that holds the reactor, None while idle.
        tasks: Where commands are carried out; a dose takes its time.
    """

    def __init__(
        self,
        *,
        reactor: Reactor,
        clock: Clock,
        voice: Voice,
        hands: Hands,
        portals: frozenset[str],
        record: Callable[[Record], None],
        settled: Callable[[], Awaitable[object]],
        taken: Taken,
        busy: Callable[[], str | None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._voice = voice
        self._hands = hands
        self._portals = portals
        self._record = record
        self._settled = settled
        self._taken = taken
        self._busy = busy
        self._tasks = tasks
        self._under_way: set[asyncio.Task[None]] = set()
        self._waiting: set[_Kept] = set()
        self._known: OrderedDict[tuple[str, str], Reply | None] = OrderedDict()

    async def hear(self, message: Message) -> None:
        """Take a command; the outcome, or what is wrong with it, is told to its sender."""
        address = self._voice.parse(message, Topic.NODE_COMMAND)
        if address is None or not message.payload:
            return
        channel = address["channel"]

        def off(command: Command) -> bool:
            """Whether it may be carried out twice without harm, and must not wait."""
            return command.value is not None and self._reactor.is_off(channel, command.value)

        def check(command: Command) -> None:
            _check_content(command)
            self._check_holder()
            self._check_free(2 * MAX_AT_ONCE if off(command) else MAX_AT_ONCE)

        def work(command: Command, back: Back) -> Coroutine[None, None, None]:
            if off(command):
                self._overtake(channel)
                return self._carry_out(channel, command, back)
            kept = _Kept(channel)
            self._waiting.add(kept)
            return self._keep_then_carry_out(kept, command, back)

        await self._take(address, message, Command, check, work)

    async def hear_end(self, message: Message) -> None:
        """Take the end of manual control."""
        address = self._voice.parse(message, Topic.NODE_MANUAL_END)
        if address is None or not message.payload:
            return

        def work(order: ManualEnd, back: Back) -> Coroutine[None, None, None]:
            self._overtake(None)
            return self._end(order, back)

        await self._take(address, message, ManualEnd, lambda _: self._check_holder(), work)

    def close(self) -> None:
        """Cut off what is under way; the reactor is made safe by whoever closes it."""
        for task in self._under_way:
            task.cancel()

    async def _take(
        self,
        address: Address,
        message: Message,
        model: type[_B],
        check: Callable[[_B], None],
        work: Callable[[_B, Back], Coroutine[None, None, None]],
    ) -> None:
        back = Back.of(address, message)
        try:
            await self._voice.refuse_retained(message)
            order = self._believe(decode(model, message.payload), back.principal)
            key = back.principal, order.id
            if key in self._known:
                answered = self._known[key]
                if answered is not None:
                    await self._voice.answer(back, answered)
                return
            self._check_new(*key)
            self._check_time(order)
            check(order)
        except ContractError as error:
            await self._voice.refuse(back, error.error)
            return
        self._known[key] = None
        self._start(work(order, back))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._tasks.create_task(work, name="command")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _overtake(self, channel: str | None) -> None:
        """Have what waits to switch a channel on, or any, refused."""
        for kept in self._waiting:
            kept.overtaken |= channel in {None, kept.channel}

    def _believe(self, order: _B, principal: str) -> _B:
        """Return the order, with the actor that may be believed."""
        if principal not in self._portals:
            return order.model_copy(update={"actor": None})
        if order.actor is not None and not order.actor.admin:
            raise ContractError(
                ErrorCode.FORBIDDEN,
                "only administrators may control a reactor by hand",
                "log in as administrator",
            )
        return order

    def _check_new(self, principal: str, id_: str) -> None:
        if self._taken.earlier(principal, id_):
            raise ContractError(
                ErrorCode.OUTPUTS_RESET,
                "the node has restarted since it took this command, and made everything safe",
                "look at what was dosed by then; to have it again, send a new command",
            )

    def _check_time(self, order: ByHand) -> None:
        now = self._clock.now()
        if order.expires_at <= now:
            raise ContractError(
                ErrorCode.EXPIRED,
                f"the command expired {(now - order.expires_at).total_seconds():.1f} s ago",
                "send it again; if it is always late, compare the clocks of sender and node",
            )
        if order.expires_at > now + MAX_AGE + TOLERANCE:
            ahead = (order.expires_at - now).total_seconds()
            raise ContractError(
                ErrorCode.EXPIRED,
                f"the command expires in {ahead:.0f} s, at most {MAX_AGE.seconds} s are allowed",
                "let it expire sooner; if it does, the clocks of sender and node disagree",
            )

    def _check_free(self, most: int) -> None:
        if len(self._under_way) >= most:
            raise ContractError(
                ErrorCode.RATE_LIMIT,
                f"{most} commands are being carried out",
                "wait until some are done",
            )

    def _check_holder(self) -> None:
        holder = self._busy()
        if holder is not None:
            raise ContractError(
                ErrorCode.REACTOR_BUSY,
                f"experiment {holder} holds the reactor",
                "wait for its end, or cancel it",
                experiment_id=holder,
            )

    async def _keep_then_carry_out(self, kept: _Kept, command: Command, back: Back) -> None:
        try:
            await self._taken.add(back.principal, command.id, command.expires_at)
        finally:
            self._waiting.discard(kept)
        try:
            self._check_time(command)  # a disk may take seconds
            _check_not_overtaken(kept)
        except ContractError as error:
            await self._reply(back, error.error)
            return
        await self._carry_out(kept.channel, command, back)

    async def _carry_out(self, channel: str, command: Command, back: Back) -> None:
        try:
            self._check_holder()  # an experiment may have come since it was taken
        except ContractError as error:
            await self._reply(back, error.error)
            return
        held = self._hands.current is not None
        self._hands.take(_handle(command, back))
        self._tell("command", channel, command, back)
        info = self._reactor.channels.get(channel)
        label = channel if info is None else info.label
        beginning = f"{label} is being set" if command.dose_ml is None else f"{label} is dosing"
        work = self._act(channel, command, label)
        refused = await self._perform(work, command, back, beginning)
        if refused is not None:
            self._tell("command-refused", channel, command, back, refused)
            if not held and len(self._under_way) == 1 and self._reactor.safe:
                self._hands.drop()

    async def _act(self, channel: str, command: Command, label: str) -> str:
        """Return what was done."""
        if command.dose_ml is not None:
            dose = await self._reactor.dose(channel, command.dose_ml, call=command.id)
            await self._settled()
            return f"{label}: {dose.delivered_ml:.3g} of {dose.requested_ml:g} mL were dosed"
        value = 0.0 if command.value is None else command.value
        reached = await self._reactor.set(channel, value, duration=command.duration)
        if not self._reactor.is_off(channel, value):
            await self._settled()
        span = "" if command.duration is None else f" for {command.duration:g} s"
        unit = self._reactor.channels[channel].unit
        return f"{label} is set to {reached:g} {unit}".rstrip() + span

    async def _end(self, order: ManualEnd, back: Back) -> None:
        async def end() -> str:
            self._check_holder()
            await self._hands.end(f"ended by {_handle(order, back)}")
            return "manual control has ended; everything is safe"

        await self._perform(end(), order, back, "everything is being made safe")

    async def _perform(
        self, work: Coroutine[None, None, str], order: ByHand, back: Back, beginning: str
    ) -> Error | None:
        """Do it and answer soon; return why it was refused or failed."""
        doing = asyncio.create_task(work, name="command's work")
        try:
            await asyncio.wait([doing], timeout=ANSWER_SECONDS)
            soon = doing.done()
            if not soon:
                await self._reply(back, Done(outcome="accepted", message=beginning))
            await asyncio.wait([doing])
        finally:
            doing.cancel()
            await asyncio.wait([doing])
        try:
            done = doing.result()
        except ContractError as error:
            if soon:
                await self._reply(back, error.error)
            else:
                user = None if order.actor is None else order.actor.user
                await self._voice.complain(
                    back.principal, back.topic, error.error, back.id, user=user
                )
            return error.error
        if soon:
            await self._reply(back, Done(outcome="done", message=done))
        return None

    async def _reply(self, back: Back, outcome: Done | Error) -> None:
        error = outcome if isinstance(outcome, Error) else None
        result = outcome if isinstance(outcome, Done) else None
        reply = Reply(id=back.id, result=result, error=error)
        if back.id is not None and (back.principal, back.id) in self._known:
            self._known[back.principal, back.id] = reply
        if error is None:
            await self._voice.answer(back, reply)
        else:
            await self._voice.refuse(back, error)

    def _tell(
        self, event: str, channel: str, command: Command, back: Back, error: Error | None = None
    ) -> None:
        data = {"by": back.principal, "id": command.id}
        if command.actor is not None:
            data |= {"actor": command.actor.name, "user": command.actor.user}
        if error is not None:
            data |= {"code": str(error.code), "message": error.message}
        self._record(
            EventRecord(
                t=self._clock.now(),
                mono=self._clock.monotonic(),
                event=event,
                channel=channel,
                value=command.value if command.dose_ml is None else command.dose_ml,
                data={**data},
            )
        )


def _check_content(command: Command) -> None:
    if (command.value is None) == (command.dose_ml is None):
        raise ContractError(
            ErrorCode.MALFORMED,
            "a command sets a value or doses a volume",
            "give either value or dose_ml",
        )


def _check_not_overtaken(kept: _Kept) -> None:
    if kept.overtaken:
        raise ContractError(
            ErrorCode.CHANGED_MEANWHILE,
            f"{kept.channel} was switched off while the node's disk kept this command waiting",
            "if it is to be on all the same, send a new command",
        )


def _handle(order: ByHand, back: Back) -> str:
    return back.principal if order.actor is None else order.actor.name
