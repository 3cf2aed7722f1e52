"""Watches over a running container: what is wanted of it, what it may use, how it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pydantic import JsonValue

from broker.messages import (
    Assignment,
    ContainerRecord,
    ContainerStatus,
    EventRecord,
    Parameters,
    Phase,
    PhaseRecord,
    RunLimits,
)
from node_service import endings
from node_service.console import Console
from node_service.container import Container
from node_service.inbox import Inbox
from node_service.lease import OVER, Lease
from node_service.reconcile import ParameterChange
from node_service.remedies import limits_reached
from node_service.runclock import RunClock
from node_service.runner.interface import Exit
from node_service.runs import Ending, RunKey
from node_service.safety import hold, make_safe
from node_service.steps import step
from node_service.workplace import Station

MAX_PARAMETERS: Final = 100
MAX_TEXT: Final = 1000
"""Of the changed parameters, what is told in an event."""
NOTE_SECONDS: Final = 2.0
STANDSTILLS: Final = 2
"""Measurements in a row that show a container frozen; a single one may be of a moment ago."""
LOG_SECONDS: Final = 60.0
"""How long the last of the output is waited for, once the container has ended."""


class Orders:
    """What is wanted of an attempt; of what is wanted the latest counts, of stops the first.

    Attributes:
        frozen: None: nobody said anything yet.
        assignment: With the latest parameters.
        ending: How it shall end; None: it goes on.
        grace: Seconds it gets to end by itself, where that differs from its limits.
        begun: An earlier process of the node began to stop it: however it ended then, the order
            was the reason.
        stopped: Set with `ending`.
        changed: Set with every order.
    """

    def __init__(self, assignment: Assignment, begun: Ending | None = None) -> None:
        self.frozen: bool | None = None
        self.assignment = assignment
        self.ending: Ending | None = None
        self.grace: float | None = None
        self.stopped = asyncio.Event()
        self.changed = asyncio.Event()
        self.begun = begun is not None
        if begun is not None:
            self.stop(begun)

    def steer(self, assignment: Assignment, *, frozen: bool) -> None:
        """Have it run or stand still, with the parameters of the assignment."""
        self.assignment = assignment
        self.frozen = frozen
        self.changed.set()

    def stop(self, ending: Ending, grace: float | None = None) -> None:
        """Have it end."""
        if self.ending is None:
            self.ending = ending
            self.grace = grace
            self.stopped.set()
            self.changed.set()


class Supervision:
    """Of one container, from its start or its adoption to its end.

    Args:
        assignment: Whose parameters the script knows.
        frozen: Whether the container stands still.
        show: Tells the phase and a sentence about it.
    """

    def __init__(
        self,
        station: Station,
        key: RunKey,
        container: Container,
        *,
        assignment: Assignment,
        orders: Orders,
        clock: RunClock,
        console: Console,
        lease: Lease,
        inbox: Inbox,
        frozen: bool,
        show: Callable[[Phase, str], None],
    ) -> None:
        self._station = station
        self._key = key
        self._container = container
        self._assignment = assignment
        self._orders = orders
        self._clock = clock
        self._console = console
        self._lease = lease
        self._inbox = inbox
        self._frozen = frozen
        self._show = show
        self._turning = False
        self._standstills = 0
        self._warned: set[str] = set()

    @property
    def _limits(self) -> RunLimits:
        return self._assignment.limits

    async def run(
        self, begin: Callable[[], Awaitable[None]], ending_of: Callable[[Exit | None], Ending]
    ) -> Ending:
        """Return how it ended: the container has ended, all it said is journaled.

        Args:
            begin: Awaited before all else but the guard over the reactor: what is written down
                of a container that runs already may have to wait for room on the disk.
            ending_of: Says what the container's end means where nobody ordered it.
        """
        async with asyncio.TaskGroup() as tasks:
            exited = tasks.create_task(self._container.exit(), name="exit")
            guarding = tasks.create_task(self._guard(exited), name="guard")
            self._lease.thaw()
            await begin()
            output = tasks.create_task(self._container.follow(self._console), name="output")
            watching = tasks.create_task(self._container.watch(self._measured), name="status")
            limiting = tasks.create_task(self._watch_limits(), name="limits")
            exited.add_done_callback(lambda _: self._orders.changed.set())
            ordered = await self._follow_orders(exited)
            limiting.cancel()
            watching.cancel()
            self._clock.stop()
            await guarding
            ended = await exited
            _, late = await asyncio.wait({output}, timeout=LOG_SECONDS)
            if late:
                output.cancel()
                await self._console.tell("The engine did not give the last of the output.")
        if ordered is None:
            return ending_of(ended)
        return ordered.model_copy(update={"exit_code": None if ended is None else ended.exit_code})

    async def _guard(self, exited: asyncio.Task[Exit | None]) -> None:
        """Make the reactor safe once the script has ended or shall end.

        Whoever follows the orders may be waiting for an engine, or for room on the disk.
        """
        stopped = asyncio.create_task(self._orders.stopped.wait())
        try:
            await asyncio.wait({exited, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        ending = self._orders.ending
        self._lease.end(OVER if ending is None or ending.error is None else ending.error)
        await make_safe(self._station.reactor, self._station.alarms)

    async def _follow_orders(self, exited: asyncio.Task[Exit | None]) -> Ending | None:
        """Return when it has ended: the ending that was ordered, None if it ended by itself."""
        while True:
            self._orders.changed.clear()
            if exited.done():
                return self._orders.ending if self._orders.begun else None
            if self._orders.ending is not None:
                await self._stop(self._orders.ending)
                return self._orders.ending
            await self._take_parameters()
            frozen = self._orders.frozen
            if frozen is not None and frozen != self._frozen:
                self._turning = True
                await (self._freeze() if frozen else self._thaw())
                self._turning = False
                continue
            if self._standstills >= STANDSTILLS:
                await self._let_go_on()
                continue
            await self._orders.changed.wait()

    async def _stop(self, ending: Ending) -> None:
        self._show(Phase.STOPPING, ending.error.message if ending.error else "")
        grace = self._limits.grace if self._orders.grace is None else self._orders.grace
        async with asyncio.TaskGroup() as tasks:
            noting = tasks.create_task(self._note_stop(ending))
            # Why it ends is written down first, unless the disk takes too long.
            await asyncio.wait({noting}, timeout=NOTE_SECONDS)
            await self._container.stop(grace)

    async def _note_stop(self, ending: Ending) -> None:
        if not self._orders.begun:
            record = self._step("stopping", ending)
            await self._station.ledger.stopping(self._key, ending, record)
        await self._station.outbox.flush()

    async def _freeze(self) -> None:
        """Freeze script and clock; the reactor holds: pumps stop, setpoints stay."""
        self._show(Phase.PAUSING, "")
        self._lease.freeze()
        async with asyncio.TaskGroup() as tasks:
            # Waits neither for the engine nor keeps it waiting.
            tasks.create_task(hold(self._station.reactor, self._console))
            await self._container.freeze()
            self._clock.freeze()
            self._frozen = True
        await self._station.ledger.clock(self._key, self._clock.anchor(), self._step("paused"))
        await self._station.outbox.flush()
        self._show(Phase.FROZEN, "")

    async def _thaw(self) -> None:
        self._show(Phase.RESUMING, "")
        before = self._clock.frozen_for
        self._clock.thaw()
        await self._station.ledger.clock(self._key, self._clock.anchor(), self._step("resumed"))
        self._inbox.say(
            f"The experiment was paused; {before:.0f} s in pauses are not counted by its clock. "
            "Pumps and direct outputs were stopped, setpoints were kept."
        )
        self._frozen = False
        self._station.reactor.go_on()
        self._lease.thaw()
        await self._container.thaw()
        await self._station.outbox.flush()
        self._show(Phase.EXECUTING, "")

    async def _let_go_on(self) -> None:
        """Hold while a container stands still that somebody else froze; what is desired counts."""
        self._lease.freeze()
        await hold(self._station.reactor, self._console)
        await self._console.tell(
            "The container was frozen by somebody else than its node, which let it go on; pumps "
            "and direct outputs were stopped meanwhile. Experiments are paused in the portal."
        )
        await self._container.thaw()
        self._standstills = 0
        self._inbox.say("The script stood still: pumps and direct outputs were stopped.")
        self._station.reactor.go_on()
        self._lease.thaw()

    async def _take_parameters(self) -> None:
        """Give the script the parameters that the assignment has now."""
        latest = self._orders.assignment
        change = ParameterChange.between(self._assignment.parameters, latest.parameters)
        if not change:
            return
        # On record before the script can look: else it would be told to have seen them earlier.
        self._station.recorder.post(
            EventRecord(
                t=self._clock.clock.now(),
                mono=self._clock.clock.monotonic(),
                experiment_id=self._key.experiment_id,
                attempt=self._key.attempt,
                elapsed=self._clock.elapsed,
                event="parameters",
                data={
                    "changed": _short(change.changed),
                    "removed": list(change.removed),
                    "revision": latest.revision,
                },
            )
        )
        self._inbox.change(latest.parameters, change.changed, latest.revision)
        self._assignment = self._assignment.model_copy(
            update={"parameters": latest.parameters, "revision": latest.revision}
        )
        await self._station.ledger.save_parameters(self._key, self._assignment)

    async def _watch_limits(self) -> None:
        """Order the end when the run takes too long, or its script says nothing for too long."""
        while True:
            left = self._limits.max_duration - self._clock.elapsed
            if left <= 0:
                self._orders.stop(endings.over_time(self._limits))
                return
            if self._limits.max_silence is not None:
                quiet = self._limits.max_silence - self._lease.silent_for
                if quiet <= 0:
                    self._orders.stop(endings.silent(self._limits))
                    return
                left = min(left, quiet)
            # Frozen, the clock stands still, and what is left is looked at again after as long.
            await self._clock.clock.sleep(left)

    async def _measured(self, measured: ContainerStatus) -> None:
        # An engine does not tell how much a container printed; its console knows.
        status = measured.model_copy(
            update={
                "log_bytes": self._console.position.bytes,
                "cpu_limit": self._limits.cpus,
                "pids_limit": self._limits.pids,
                "results_limit": self._limits.results,
                "log_limit": self._limits.log,
            }
        )
        self._container.status = status
        self._station.changed()
        wanted = self._frozen or self._turning or status.state != "paused"
        self._standstills = 0 if wanted else self._standstills + 1
        if self._standstills >= STANDSTILLS:
            self._orders.changed.set()
        for warning in limits_reached(status, self._limits):
            if warning not in self._warned:
                self._warned.add(warning)
                await self._console.tell(warning)
        self._station.recorder.post(
            ContainerRecord(
                t=self._clock.clock.now(),
                mono=self._clock.clock.monotonic(),
                experiment_id=self._key.experiment_id,
                attempt=self._key.attempt,
                elapsed=self._clock.elapsed,
                status=status,
            )
        )

    def _step(self, phase: str, ending: Ending | None = None) -> PhaseRecord:
        return step(
            self._key,
            self._clock.clock,
            phase,
            elapsed=self._clock.elapsed,
            error=None if ending is None else ending.error,
        )


def _short(parameters: Parameters) -> dict[str, JsonValue]:
    """Return parameters for the record; texts that would fill it are cut off."""
    return {
        name[:MAX_TEXT]: value[:MAX_TEXT] if isinstance(value, str) else value
        for name, value in list(parameters.items())[:MAX_PARAMETERS]
    }
