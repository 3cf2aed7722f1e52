"""The node: keeps sampling, follows what the hub desires, tells what is.

A running experiment needs nothing but this process, the runner's and the reactor; broker and hub
may be away for as long as they like.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

from broker.connection import Connection, Message, Presence
from broker.journal import Journal, JournalSender
from broker.messages import (
    ContractError,
    EventRecord,
    HubStatus,
    NodeReport,
    decode,
)
from broker.topics import Topic
from hardware.announcements import ReactorEvent
from hardware.reactor import Reactor
from node_service import endings, storage
from node_service.alarms import NOT_SAFE, STORAGE, Alarms
from node_service.attempt import Attempt
from node_service.commands import ManualControl
from node_service.company import Company
from node_service.container import persist
from node_service.duties import Duties
from node_service.ears import Ears
from node_service.engine import Engine
from node_service.estop import EmergencyStop
from node_service.identity import LOCAL, Identity
from node_service.ledger import Ledger
from node_service.live import Live
from node_service.manual import Hands
from node_service.recorder import Recorder
from node_service.reports import Reporter
from node_service.runner.interface import Runner, RunnerError
from node_service.runs import Recorded, RunKey, Stage
from node_service.sampler import Sampler
from node_service.statement import Statement
from node_service.steps import Outbox
from node_service.tail import recorded_calls
from node_service.taken import Taken
from node_service.voice import Voice
from node_service.watchdog.process import Watchdog
from node_service.workplace import Station

HOUSE_SECONDS: Final = 5.0
STOP_SECONDS: Final = 35.0
"""How long a shutdown waits for a stopped experiment's results; the rest follows at a start."""
_ESTOP_EVENTS: Final = frozenset({"estop", "estop-released"})

logger = logging.getLogger(__name__)


class NodeService:
    """One node.

    Args:
        reactor: Entered already: safe, its controllers running.
        connection: Entered already; need not be connected.
        ears: One connection to each server where the broker is several; not entered yet.
        presence: Says on it that the node is there; not entered yet.
        watchdog: Entered already; makes the reactor safe if this process cannot.
        runs: Directory of the attempts' files, shared with the runner.
        simulated: Whether no real reactor stands behind it.
        sample_interval: Real seconds.
        on_exit: What becomes of a running experiment when the node stops.
        portals: Principals that are believed when they say who acts.
        manual_hold: Real seconds that manual control lasts after the last command.
        taken: File of the commands by hand that were taken lately.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        ledger: Ledger,
        journal: Journal,
        reactor: Reactor,
        connection: Connection,
        ears: Sequence[Connection],
        presence: Presence,
        runner: Runner,
        watchdog: Watchdog,
        runs: Path,
        simulated: bool,
        sample_interval: float,
        on_exit: Literal["leave", "stop"],
        portals: frozenset[str],
        manual_hold: float,
        taken: Path,
    ) -> None:
        self._identity = identity
        self._ledger = ledger
        self._journal = journal
        self._reactor = reactor
        self._connection = connection
        self._presence = presence
        self._runner = runner
        self._watchdog = watchdog
        self._runs = runs
        self._simulated = simulated
        self._interval = sample_interval
        self._on_exit = on_exit
        self._portals = portals
        self._clock = reactor.clock
        self._recorder = Recorder(journal, self._clock)
        self._alarms = Alarms(self._clock, self._recorder.post)
        self._hands = Hands(
            reactor=reactor,
            clock=self._clock,
            alarms=self._alarms,
            record=self._recorder.post,
            seconds=manual_hold,
            changed=self._news,
        )
        self._taken = Taken(taken, self._clock.now)
        self._voice = Voice(connection, identity.node, ears)
        stops = self._voice.topic(Topic.NODE_ESTOP, principal="+")
        self._ears = Ears(ears, stops)
        self._live = Live(connection, connection.topics, identity.node)
        self._engine = Engine(runner, self._alarms, self._news)
        self._company = Company(
            identity.node,
            identity.boot_id,
            watchdog,
            self._alarms,
            presence,
            topic=self._voice.topic(Topic.NODE_STATUS),
            leave=self._leave,
            news=self._news,
        )
        self._statement = Statement(
            identity,
            ledger,
            journal,
            reactor,
            self._alarms,
            self._hands,
            self._engine,
            self._company,
            simulated=simulated,
        )
        self._reporter = Reporter(
            connection,
            identity.node,
            self._engine,
            report=self._report,
            channels=self._statement.channels,
            may_speak=lambda: self._company.settled,
        )
        self._recorded: Recorded = {}
        self._refused: ContractError | None = None
        self._stopping = asyncio.Event()
        self._duties: Duties | None = None

    async def run(self, stopping: asyncio.Event, local_stop: asyncio.Event) -> None:
        """Serve until told to stop.

        Args:
            stopping: Ends the service; everything is written down when this returns.
            local_stop: Engages the emergency stop from the node itself.

        Raises:
            ContractError: WRONG_STATE, another node of this name was at the broker before.
        """
        self._stopping = stopping
        await self._taken.load()
        async with asyncio.TaskGroup() as outer:
            outer.create_task(self._recorder.run(), name="recorder")
            unlisten = self._reactor.on_event(self._hear_reactor)
            try:
                async with asyncio.TaskGroup() as tasks:
                    await self._serve(tasks, stopping, local_stop)
            finally:
                unlisten()
                self._recorder.close()
        if self._refused is not None:
            raise self._refused

    async def _serve(
        self, tasks: asyncio.TaskGroup, stopping: asyncio.Event, local_stop: asyncio.Event
    ) -> None:
        self._recorded = await self._recall()
        duties = self._duties = Duties(self._station(), self._statement.refusal, tasks)
        estop = EmergencyStop(
            ledger=self._ledger,
            reactor=self._reactor,
            clock=self._clock,
            voice=self._voice,
            alarms=self._alarms,
            record=self._recorder.post,
            cut=duties.cut,
            released=self._news,
        )
        control = ManualControl(
            reactor=self._reactor,
            clock=self._clock,
            voice=self._voice,
            hands=self._hands,
            portals=self._portals,
            record=self._recorder.post,
            settled=self._recorder.settled,
            taken=self._taken,
            busy=lambda: duties.taken_by.experiment_id if duties.taken_by else None,
            tasks=tasks,
        )
        sampler = Sampler(
            self._reactor,
            self._clock,
            interval=self._interval * self._clock.speed,
            record=self._recorder.post,
            live=self._live,
            current=lambda: duties.executing,
        )
        await duties.restore()
        await estop.restore()
        self._tell_rescue()
        duties.begin()
        self._subscribe(duties, estop, control)
        sender = JournalSender(self._journal, self._connection, self._identity.node)
        background = [
            tasks.create_task(sampler.run(), name="sampler"),
            tasks.create_task(duties.run(), name="duties"),
            tasks.create_task(self._engine.watch(), name="engine"),
            tasks.create_task(self._hands.run(), name="manual control"),
            tasks.create_task(self._reporter.run(), name="reporter"),
            tasks.create_task(self._keep_house(), name="housekeeping"),
            tasks.create_task(self._clear_leftovers(), name="leftovers"),
            tasks.create_task(_on(local_stop, estop), name="local stop"),
            tasks.create_task(sender.run(), name="journal"),
            tasks.create_task(self._ears.run(estop.hear), name="ears"),
        ]
        async with self._presence:  # not said before everybody listens to the answer
            await stopping.wait()
            if self._on_exit == "stop":
                try:
                    async with asyncio.timeout(STOP_SECONDS):
                        await duties.stop_all()
                except TimeoutError:
                    logger.warning("results are on their way; the next start goes on with them")
        duties.leave_all()
        control.close()
        for task in background:
            task.cancel()

    async def _recall(self) -> Recorded:
        """Return which calls earlier processes recorded and scripts that still run may repeat.

        Those of all earlier processes: one that was killed before a script reached it has
        answered nothing.
        """
        keys = [run.key for run in await self._ledger.unfinished()]
        earlier = {key: self._ledger.recorded.get(key, {}) for key in keys}
        return await recorded_calls(self._journal, earlier, *self._ledger.checkpoint)

    def _station(self) -> Station:
        return Station(
            runner=self._runner,
            reactor=self._reactor,
            clock=self._clock,
            ledger=self._ledger,
            journal=self._journal,
            recorder=self._recorder,
            outbox=Outbox(self._ledger, self._recorder),
            live=self._live,
            alarms=self._alarms,
            runs=self._runs,
            recorded=self._recorded,
            simulated=self._simulated,
            isolation=lambda: self._engine.info.isolation if self._engine.info else "unknown",
            changed=self._reporter.changed,
            freed=self._news,
        )

    def _subscribe(self, duties: Duties, estop: EmergencyStop, control: ManualControl) -> None:
        self._company.listen(self._connection)  # first: nobody acts before it is known who is there
        subscribe, topic = self._connection.subscribe, self._voice.topic
        subscribe(topic(Topic.NODE_ESTOP, principal="+"), estop.hear)
        subscribe(topic(Topic.NODE_ESTOP_RELEASE, principal="+"), estop.hear_release)
        subscribe(topic(Topic.NODE_ASSIGNMENT), duties.hear)
        subscribe(topic(Topic.NODE_COMMAND, principal="+", channel="+"), control.hear)
        subscribe(topic(Topic.NODE_MANUAL_END, principal="+"), control.hear_end)
        subscribe(self._connection.topics.build(Topic.HUB_STATUS), self._hear_hub)
        self._connection.on_connect(self._reporter.connected)

    async def _hear_hub(self, message: Message) -> None:
        try:
            status = decode(HubStatus, message.payload)
        except ContractError as error:
            logger.warning("the hub's status cannot be understood: %s", error)
            return
        await self._ledger.see_generation(status.store_id, status.generation)

    def _leave(self, error: ContractError) -> None:
        self._refused = error
        self._stopping.set()

    def _tell_rescue(self) -> None:
        """Record what the watchdog had to do before this start."""
        account = self._watchdog.account
        if account is not None:
            logger.warning("the watchdog had to act at %s: %s", account.at, account.why)
            self._hear_reactor(
                ReactorEvent(
                    "rescued",
                    t=self._clock.now(),
                    mono=self._clock.monotonic(),
                    data={**asdict(account)},
                )
            )

    def _hear_reactor(self, event: ReactorEvent) -> None:
        """Record what the reactor says of itself; the emergency stop tells more of its own."""
        self._hands.hear(event)
        if event.event in _ESTOP_EVENTS:
            return
        current = None if self._duties is None else self._duties.holder
        self._recorder.post(
            EventRecord(
                t=event.t,
                mono=event.mono,
                experiment_id=current.key.experiment_id if current else None,
                attempt=current.key.attempt if current else None,
                elapsed=current.clock.elapsed if current else None,
                event=event.event,
                channel=event.channel,
                value=event.value,
                data=event.data,
            )
        )
        if event.event.startswith("alarm"):
            self._reporter.changed()
        if event.event in {"alarm", "fault"} and event.data.get("policy") == "stop":
            self._stop_run(current, event)

    def _stop_run(self, current: Attempt | None, event: ReactorEvent) -> None:
        """End the run, if there is one, whose reactor is not as it must be."""
        if current is None:
            return
        message = str(event.data["message"])
        if event.event == "fault":
            current.stop(endings.faulty(str(event.data["device"]), message))
        else:
            current.stop(endings.doubted(event.channel, message))

    def _news(self) -> None:
        """Tell, and look for the next step: what may start has changed."""
        self._reporter.changed()
        if self._duties is not None:
            self._duties.poke()

    async def _keep_house(self) -> None:
        """Look after what nobody else is told of: the disk, and where the journal stands."""
        before: int | None = None
        while True:
            fill = self._journal.fill()
            if fill < storage.ALARM:
                self._alarms.off(STORAGE)
            else:
                self._alarms.on(STORAGE, *storage.alarm(fill))
            if self._duties is not None and self._duties.taken_by is None:
                await self._reactor.refresh()
            if self._reactor.unfit is None:
                self._alarms.off(NOT_SAFE)
            self._news()
            if before is None:
                await self._ledger.save_recorded(self._recorded, self._recorder.order)
            else:  # what this process wrote a while ago it has answered by now
                await self._ledger.save_checkpoint(self._recorder.order, before)
            before = self._recorder.last
            await asyncio.sleep(HOUSE_SECONDS)

    async def _clear_leftovers(self) -> None:
        """Remove what attempts left that are over, or that this node knows nothing of."""
        left = await persist("look for leftovers", lambda: self._runner.leftovers(()))
        for attempt in {one.run for one in left}:
            run = await self._ledger.find(RunKey(attempt.experiment_id, attempt.attempt))
            if run is not None and run.stage is not Stage.FINISHED:
                continue
            names = [f"{one.kind} {one.name}" for one in left if one.run == attempt]
            logger.warning("removing what %s left: %s", attempt, ", ".join(names))
            try:
                await self._runner.discard(attempt)
            except RunnerError as error:
                logger.warning("%s stays: %s", attempt, error)

    async def _report(self) -> NodeReport:
        if self._duties is None:
            raise AssertionError("reports are sent while the service serves")
        return await self._statement.report(self._duties)


async def _on(local_stop: asyncio.Event, estop: EmergencyStop) -> None:
    """Engage the emergency stop whenever somebody on the node asks for it."""
    while True:
        await local_stop.wait()
        local_stop.clear()
        await estop.engage(LOCAL, "engaged on the node")
