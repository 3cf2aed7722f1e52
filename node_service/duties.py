"""Follows what the hub desires, one step after another, and keeps the attempts on this node."""

import asyncio
import logging
from collections.abc import Callable
from typing import assert_never

from broker.connection import Message
from broker.logs import about
from broker.messages import Assignment, ContractError, Error, Estop, decode
from node_service import endings
from node_service.alarms import ASSIGNMENT
from node_service.attempt import Attempt
from node_service.reconcile import (
    Accept,
    Answer,
    Close,
    Known,
    Nothing,
    Refuse,
    Steer,
    Stop,
    check,
    is_news,
    next_action,
)
from node_service.runs import Ending, Run, RunKey
from node_service.steps import step
from node_service.workplace import Station

logger = logging.getLogger(__name__)


class Duties:
    """The attempts of one node.

    Args:
        station: What attempts share.
        refusal: Says why nothing new may start now.
        tasks: Where attempts live.

    Attributes:
        settled: Held while an assignment is taken; what is seen without it may tell of a revision
            whose consequences are not there yet.
    """

    def __init__(
        self, station: Station, refusal: Callable[[], Error | None], tasks: asyncio.TaskGroup
    ) -> None:
        self._station = station
        self._refusal = refusal
        self._tasks = tasks
        self._incoming: Assignment | None = None
        self._attempts: list[Attempt] = []
        self._accepting: RunKey | None = None
        self._wake = asyncio.Event()
        self._living: set[asyncio.Task[None]] = set()
        self.settled = asyncio.Lock()

    @property
    def holder(self) -> Attempt | None:
        """The attempt that holds the reactor."""
        return next((one for one in self._attempts if one.holds_reactor), None)

    @property
    def taken_by(self) -> RunKey | None:
        """Which attempt holds the reactor, or is about to."""
        holder = self.holder
        return self._accepting if holder is None else holder.key

    @property
    def shown(self) -> Attempt | None:
        """The attempt to tell of: the holder, else one whose results are on their way."""
        return self.holder or next(iter(self._attempts), None)

    @property
    def executing(self) -> Attempt | None:
        """The attempt whose script runs, or is frozen."""
        return next((one for one in self._attempts if one.executing), None)

    def poke(self) -> None:
        """Have the next step looked for: something changed."""
        self._wake.set()

    def cut(self, estop: Estop) -> None:
        """End what holds the reactor at once."""
        for attempt in self._attempts:
            attempt.emergency(estop)

    async def hear(self, message: Message) -> None:
        """Take an assignment; absent and empty ones are no opinion."""
        if not message.payload:
            return
        try:
            assignment = decode(Assignment, message.payload)
            check(assignment)
        except ContractError as error:
            told = f"an assignment cannot be understood, what ran before goes on: {error}"
            if self._station.alarms.on(ASSIGNMENT, "warning", told):
                logger.error(told)  # noqa: TRY400 - the hub's fault, no trace of ours
                self._station.changed()
            return
        if self._station.alarms.off(ASSIGNMENT):
            self._station.changed()
        waiting = self._incoming
        if waiting is None or is_news(assignment, waiting.revision):
            self._incoming = assignment
            self._stop_at_once(assignment)
        self._wake.set()

    async def restore(self) -> None:
        """Take up what an earlier process of the node left unfinished; `begin` lets it live."""
        for run in await self._station.ledger.unfinished():
            self._attempts.append(Attempt(run, self._station))
        holder = self.holder
        if holder is not None:
            await self._step()

    def begin(self) -> None:
        """Let what was restored live."""
        for attempt in self._attempts:
            self._live(attempt)
        self.poke()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            assignment, self._incoming = self._incoming, None
            ledger = self._station.ledger
            async with self.settled:
                if assignment is not None and is_news(assignment, ledger.seen_revision):
                    await ledger.see(assignment)
                await self._step()
            if assignment is not None:
                self._station.changed()

    async def stop_all(self) -> None:
        """End what runs because the node is shut down; returns when it is in the journal."""
        for attempt in self._attempts:
            attempt.stop(endings.SHUT_DOWN)
        if self._living:
            await asyncio.wait(self._living)

    def leave_all(self) -> None:
        """Leave everything as it is, to be taken up at the next start."""
        for task in self._living:
            task.cancel()

    def _stop_at_once(self, assignment: Assignment) -> None:
        """End what runs if that is desired; that it was is written down when the disk has room.

        Whoever follows may be waiting for the disk, with what was desired before.
        """
        holder = self.holder
        if holder is None or holder.key != RunKey.of(assignment):
            return
        if not is_news(assignment, self._station.ledger.seen_revision):
            return
        match next_action(assignment, Known(holder=holder.key, entry=None, refusal=None)):
            case Stop(ending=ending):
                holder.stop(ending)
            case _:
                pass

    async def _step(self) -> None:
        """Take the next step towards what is desired."""
        desired = self._station.ledger.assignment
        key = None if desired is None else RunKey.of(desired)
        known = None if key is None else await self._station.ledger.find(key)
        holder = self.holder
        action = next_action(
            desired,
            Known(
                holder=None if holder is None else holder.key,
                entry=None if known is None else known.entry,
                refusal=self._refusal(),
            ),
        )
        match action:
            case Nothing() | Answer() | Refuse():
                return  # the report says it all
            case Accept(assignment=assignment):
                await self._accept(assignment, None)
            case Close(assignment=assignment, ending=ending):
                await self._accept(assignment, ending)
            case Steer(assignment=assignment, frozen=frozen):
                if holder is not None:
                    holder.steer(assignment, frozen=frozen)
            case Stop(ending=ending):
                if holder is not None:
                    holder.stop(ending)
            case _:
                assert_never(action)

    async def _accept(self, assignment: Assignment, ending: Ending | None) -> None:
        station = self._station
        key = RunKey.of(assignment)
        if key is None:
            return
        record = step(key, station.clock, "accepted")
        self._accepting = None if ending else key
        try:
            run: Run = await station.ledger.accept(assignment, station.clock.now(), record, ending)
            await station.outbox.flush()
            attempt = Attempt(run, station)
            self._attempts.append(attempt)
        finally:
            self._accepting = None
        self._live(attempt)
        self.poke()  # a pause that is desired from the beginning is said to the attempt, too

    def _live(self, attempt: Attempt) -> None:
        with about(experiment_id=attempt.key.experiment_id):  # and so do the tasks that it starts
            task = self._tasks.create_task(attempt.run(), name=f"attempt {attempt.key}")
        self._living.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._living.discard(task)
            self._attempts.remove(attempt)
            self._station.changed()
            self.poke()

        task.add_done_callback(over)
