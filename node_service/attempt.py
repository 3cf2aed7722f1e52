"""The life of one attempt, from its acceptance to its results in the journal.

It holds the reactor until `released`; then the next may run while results are still packed. Each
step is in the ledger before what it announces happens, so that a node that starts again knows
where to go on: it prepares what was not started, adopts what runs, ends what has ended, and never
starts anything a second time.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Final

from broker.messages import (
    Activity,
    Assignment,
    ContainerStatus,
    ContractError,
    Estop,
    EventRecord,
    Phase,
)
from hardware.clock import machine_boot
from node_service import endings
from node_service.collecting import collect
from node_service.console import Console
from node_service.container import Container, find
from node_service.inbox import Inbox
from node_service.lease import Lease
from node_service.preparing import RETRY_SECONDS, prepare
from node_service.runclock import RunClock
from node_service.runner.interface import Exit, Found, Limits, RunnerError, RunSpec
from node_service.runs import Ending, Run, Stage, wanted
from node_service.safety import hold, make_safe
from node_service.steps import step
from node_service.supervision import Orders, Supervision
from node_service.tail import recover_log
from node_service.workplace import (
    Station,
    make_console,
    open_gateway,
    record_lost_doses,
    runner_attempt,
)

ESTOP_GRACE: Final = 2.0
TRIES: Final = 3
"""Of starting a container that the engine refuses."""

logger = logging.getLogger(__name__)


class Attempt:
    """One attempt on this node.

    Args:
        run: From the ledger, as accepted just now or as an earlier process of the node left it.
        station: What it shares with others.

    Attributes:
        released: Set when the reactor is free.
    """

    def __init__(self, run: Run, station: Station) -> None:
        self.key = run.key
        self.released = asyncio.Event()
        self.clock = RunClock(station.clock, run.clock)
        self._run = run
        self._stage = run.stage
        self._image = run.image
        self._station = station
        self._assignment = wanted(run)
        self._ending = run.ending if run.stage in {Stage.ENDED, Stage.RELEASED} else None
        self._orders = Orders(self._assignment, None if self._ending else run.ending)
        self._lease = Lease(self.clock)
        self._inbox = Inbox(
            self._assignment.parameters,
            self._assignment.revision,
            station.clock.now,
            seen=run.stage is not Stage.RUNNING,
        )
        self._container: Container | None = None
        self._started_at = run.started_at
        self._executing = False
        self._phase = Phase.PREPARING
        self._detail = ""
        self._since = run.accepted_at

    @property
    def holds_reactor(self) -> bool:
        """Whether nothing else may use the reactor; one that was closed unrun never does."""
        return not self.released.is_set() and not (self._ending and self._image is None)

    @property
    def executing(self) -> bool:
        """Whether the script runs, or is frozen: samples are its own."""
        return self._executing and self.clock.counting

    @property
    def container(self) -> ContainerStatus | None:
        """The container as last measured."""
        return None if self._container is None else self._container.status

    @property
    def activity(self) -> Activity:
        """What the attempt does now."""
        return Activity(
            experiment_id=self.key.experiment_id,
            attempt=self.key.attempt,
            phase=self._phase,
            detail=self._detail,
            since=self._since,
            started_at=self._started_at,
            elapsed=self.clock.elapsed,
            frozen_for=self.clock.frozen_for,
            lease=self._executing and self._lease.held,
            outputs_reset=self._lease.outputs_reset,
        )

    def steer(self, assignment: Assignment, *, frozen: bool) -> None:
        """Have it run or stand still, with the parameters of the assignment."""
        self._orders.steer(assignment, frozen=frozen)

    def stop(self, ending: Ending) -> None:
        """Have it end; its own outcome wins if it has one already."""
        self._orders.stop(ending)

    def emergency(self, estop: Estop) -> None:
        """Have it end at once."""
        self._orders.stop(endings.emergency(estop), ESTOP_GRACE)

    async def run(self) -> None:
        """Live; returns when everything of the attempt is in the journal."""
        station = self._station
        logger.info("%s: taken up as %s", self.key, self._stage)
        position = await recover_log(station.journal, self.key, self._run.log)
        limits = self._assignment.limits
        console = make_console(station, self.key, self.clock, position, limits.log)
        ending = self._ending
        if self._stage.holds_reactor:
            await record_lost_doses(station, self.key, self.clock)
            async with AsyncExitStack() as stack:
                if ending is None:
                    ending = await self._work(stack, console)
                await self._release(ending, console)
        self.released.set()
        self._show(Phase.COLLECTING)
        station.freed()
        await collect(
            station,
            self.key,
            limits,
            ending or endings.LOST,
            console,
            started=self._image is not None,
            elapsed=self.clock.elapsed,
        )
        station.changed()

    async def _work(self, stack: AsyncExitStack, console: Console) -> Ending:
        """Prepare, start or adopt, supervise; return how it ended."""
        station = self._station
        found: Found | None = None
        if self._stage is Stage.ACCEPTED:
            image = await self._prepare(console)
            if isinstance(image, Ending):
                return image
        else:
            found = await find(station.runner, self.key)
            if found is None:
                return endings.LOST
            image = found.image
        begun = found is not None and found.state != "created"
        self._lease = Lease(self.clock, outputs_reset=begun)
        self._lease.freeze()  # until somebody watches over the container
        await stack.enter_async_context(
            open_gateway(
                station,
                self._assignment,
                self.key,
                clock=self.clock,
                console=console,
                lease=self._lease,
                inbox=self._inbox,
                results_bytes=lambda: self.container.results_bytes if self.container else 0,
                known=station.recorded.get(self.key, {}),
            )
        )
        adopted = found if begun else None
        if adopted is not None:
            container_id = adopted.container_id
        else:
            started = await self._start(image, console)
            if isinstance(started, Ending):
                return started
            container_id = started
        self._container = Container(station.runner, self.key, container_id)
        frozen = adopted is not None and adopted.state == "paused"

        async def begin() -> None:
            if adopted is not None:
                await self._adopt(adopted, console)
            else:
                await self._began(container_id, station.clock.now())
            self._show(Phase.FROZEN if frozen else Phase.EXECUTING)

        supervision = Supervision(
            station,
            self.key,
            self._container,
            assignment=self._assignment,
            orders=self._orders,
            clock=self.clock,
            console=console,
            lease=self._lease,
            inbox=self._inbox,
            frozen=frozen,
            show=self._show,
        )
        return await supervision.run(begin, lambda ended: self._ending_of(ended, console.complaint))

    async def _prepare(self, console: Console) -> str | Ending:
        async def progress(line: str) -> None:
            self._show(Phase.PREPARING, line)
            await console.tell(line)

        self._show(Phase.PREPARING)
        return await prepare(self._station, self.key, self._assignment, self._orders, progress)

    async def _start(self, image: str, console: Console) -> str | Ending:
        """Start the container; return its id, or how the attempt ended because it could not be.

        Not cancelled half-way by an order to stop, for then nobody would know whether it runs.
        """
        station = self._station
        await station.ledger.starting(self.key, image)
        self._stage, self._image = Stage.STARTING, image
        spec = RunSpec(runner_attempt(self.key), image, Limits.of(self._assignment.limits))
        container_id: str | None = None
        tries = 0
        told = ""
        while container_id is None:
            try:
                container_id = await station.runner.start(spec)
            except RunnerError as error:
                full = error.code == "STORAGE_FULL"  # then nothing runs, and waiting may help
                if full and self._orders.ending is not None:
                    return self._orders.ending
                # Unavailable, nobody knows what became of it.
                tries += not full and error.code != "UNAVAILABLE"
                if error.message != told:
                    told = error.message
                    self._show(Phase.PREPARING, told)
                    await console.tell(f"The container could not be started: {told}")
                if tries == TRIES:
                    return endings.not_started(error)
                await asyncio.sleep(RETRY_SECONDS)
        self.clock.begin()
        return container_id

    async def _began(self, container_id: str, at: datetime) -> None:
        """Write down that the script runs."""
        station = self._station
        self._started_at = at
        self._executing = True
        record = step(
            self.key,
            station.clock,
            "executing",
            elapsed=self.clock.elapsed,
            image=self._image,
            isolation=station.isolation(),
            simulated=station.simulated,
        )
        await station.ledger.running(self.key, container_id, at, self.clock.anchor(), record)
        self._stage = Stage.RUNNING
        await station.outbox.flush()

    async def _adopt(self, found: Found, console: Console) -> None:
        """Take over a container that an earlier process of the node started."""
        station = self._station
        self._image = found.image
        station.reactor.tell_calibrations()  # this process's samples may have others
        if self._stage is Stage.STARTING:
            since = found.started_at or station.clock.now()
            self.clock.begin((station.clock.now() - since).total_seconds() * station.clock.speed)
            await self._began(found.container_id, since)
        self._executing = True
        if found.state == "exited":
            return
        stands, stood = found.state == "paused", self.clock.frozen
        if stands:
            self.clock.freeze()
            self._lease.freeze()
            # Before its setpoints are back: they must not dose before the pause is over.
            await hold(station.reactor, console)
        else:
            self.clock.thaw()
        if stands != stood:  # who froze it, or let it go on, ended before that was on record
            record = step(
                self.key,
                station.clock,
                "paused" if stands else "resumed",
                elapsed=self.clock.elapsed,
            )
            await station.ledger.clock(self.key, self.clock.anchor(), record)
            await station.outbox.flush()
        for name, value in self._run.setpoints:
            if self._lease.over:  # the reactor is safe, and stays so
                return
            try:
                await station.reactor.set(name, value)
            except ContractError as error:
                await console.tell(f"A setpoint could not be restored: {error}")
        await console.tell(
            "The node was restarted. The script ran on; setpoints were restored, pumps and direct "
            "outputs were switched off."
        )
        station.recorder.post(
            EventRecord(
                t=station.clock.now(),
                mono=station.clock.monotonic(),
                experiment_id=self.key.experiment_id,
                attempt=self.key.attempt,
                elapsed=self.clock.elapsed,
                event="adopted",
                data={"setpoints": dict(self._run.setpoints)},
            )
        )
        self._inbox.say("The node was restarted: pumps and direct outputs were switched off.")

    async def _release(self, ending: Ending, console: Console) -> None:
        """Give the reactor back: the container is gone and the reactor safe when it returns."""
        station = self._station
        self.clock.stop()
        await station.ledger.ended(self.key, ending, self.clock.anchor())
        self._lease.end()
        if self._image is not None:
            await make_safe(station.reactor, station.alarms)
            if self._container is None:
                found = await find(station.runner, self.key)
                if found is not None:
                    self._container = Container(station.runner, self.key, found.container_id)
            if self._container is not None:
                await self._container.remove()
        sentence = endings.sentence(ending, self.clock.elapsed)
        logger.info("%s: %s", self.key, sentence)
        await console.tell(sentence)
        record = step(self.key, station.clock, "released", elapsed=self.clock.elapsed)
        await station.ledger.released(self.key, record)
        self._executing = False
        self._container = None
        await station.outbox.flush()

    def _ending_of(self, ended: Exit | None, complaint: str) -> Ending:
        booted_at = None
        anchor = self._run.clock
        if anchor is not None and anchor.machine_boot != machine_boot():
            booted_at = self._station.clock.now() - timedelta(seconds=clock_gettime(CLOCK_BOOTTIME))
        return endings.of_exit(
            ended, self._assignment.limits, booted_at=booted_at, complaint=complaint
        )

    def _show(self, phase: Phase, detail: str = "") -> None:
        if phase is not self._phase:
            logger.info("%s: %s", self.key, phase)
            self._since = self._station.clock.now()
        self._phase, self._detail = phase, detail
        self._station.changed()
