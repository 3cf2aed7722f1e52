"""The reactor: the one door to the hardware, whoever comes through it.

Every command passes the safety rules; the controllers run here, so that they go on without
script, broker or hub. Times and durations are seconds of the reactor's clock.
"""

import asyncio
import itertools
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.messages import Alarm, ChannelInfo, ContractError, ErrorCode
from hardware.announcements import Announcements, Listener, ReactorEvent
from hardware.channels import Equipment
from hardware.clock import Clock
from hardware.controllers import PERIOD, HeatControl, Thermostat
from hardware.devices import PATIENCE, Devices
from hardware.dosebook import DoseBook
from hardware.dosing import Dose, Dosing
from hardware.drivers.interface import Driver, DriverError, Rescue
from hardware.events import (
    EstopEngaged,
    EstopReleased,
    Event,
    GoOn,
    Hold,
    MakeSafe,
    Measured,
    Rest,
    RunBegun,
    Scope,
    Set,
    Tick,
    check,
)
from hardware.guard import Guard
from hardware.latecomers import forgiving
from hardware.obedience import Obedience
from hardware.polling import Polled
from hardware.refreshing import Refreshing
from hardware.ruled import Ruled
from hardware.safety import Decision, rests
from hardware.ticker import Ticker
from hardware.titrating import Titrating
from hardware.workbench import Workbench

__all__ = ["Dose", "Reactor", "ReactorEvent"]

log = logging.getLogger(__name__)


class Reactor:
    """A reactor's channels under the safety rules.

    Used as an async context manager: entering opens the drivers, makes everything safe and
    starts the control loop; leaving makes everything safe and closes the drivers.

    Args:
        equipment: Channels, vessel and heating.
        drivers: They serve the equipment's channels.
        clock: Whose seconds count.
        thermostat: Follows the heating's setpoint; one with the equipment's gains if left out.
        doses_file: Where what the pumps moved and the vessel holds is kept over restarts; None:
            nowhere.
        workbench: Where people change calibrations and vial; None: nowhere.
    """

    def __init__(
        self,
        equipment: Equipment,
        drivers: Sequence[Driver],
        clock: Clock,
        *,
        thermostat: Thermostat | None = None,
        doses_file: Path | None = None,
        workbench: Workbench | None = None,
    ) -> None:
        self.clock = clock
        self._equipment = equipment
        self._devices = Devices(equipment, forgiving(equipment, drivers, clock), clock)
        if thermostat is None:
            thermostat = Thermostat(None if equipment.heating is None else equipment.heating.gains)
        self._heat = HeatControl(equipment, thermostat)
        self._book = DoseBook(doses_file, equipment, clock)
        self._announcements = Announcements(clock)
        self._tasks = asyncio.TaskGroup()
        self._ticker = Ticker(clock, self._tasks, self._tick)
        self._rules = Ruled(equipment, clock, self._announcements, self._ticker.plan)
        self._alive: Callable[[float], None] = lambda _: None
        self._obedience = Obedience(
            equipment,
            self._devices,
            lambda channel: self._rules.state.outputs[channel].value,
            self._progress,
        )
        self._guard = Guard(
            self._devices,
            self._announcements,
            stop_all=self._stop_all,
            rest=self._rest,
            look=self._look,
            begin=self._begin_if_open,
        )
        self._dosing = Dosing(
            equipment,
            self._devices,
            clock,
            self._announcements,
            self._book,
            self._rules.apply,
            admitted=self._guard.admit,
            stopped=self._obedience.stopped,
        )
        self._refreshing = Refreshing(
            equipment,
            workbench,
            self._book,
            self._announcements,
            apply=self._rules.apply,
            state=lambda: self._rules.state,
        )
        self._titrating = Titrating(equipment, self._dosing, self._announcements, self._begin)
        self._stack = AsyncExitStack()
        self._open = False
        self._asked = itertools.count(1)
        self._set: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        """Open the drivers, make everything safe and start the control loop.

        A device that only measures may be missing: it has an alarm, and is opened when it comes.

        Raises:
            DriverError: A device that moves or heats something does not answer.
            ExceptionGroup: Not everything is known to be safe.
        """
        self._rules.begin(await asyncio.to_thread(self._book.load))
        async with AsyncExitStack() as stack:
            stack.callback(lambda: self._alive(math.inf))
            await self._devices.open(stack)
            stack.push_async_callback(self._devices.close)
            await self.make_safe()
            stack.push_async_callback(self.make_safe)
            await self._tasks.__aenter__()
            # Not told of an error on its way: it would wrap what is not its own.
            stack.push_async_callback(self._tasks.__aexit__, None, None, None)
            lasting = [self._begin(self._control(), "reactor-control")]
            lasting += [self._begin(w, "reactor-watch") for w in self._guard.watches()]
            stack.callback(self._close)
            stack.callback(self._ticker.close)
            for task in lasting:
                stack.callback(task.cancel)
            stack.callback(self._guard.close)
            stack.callback(self._titrating.end)
            self._stack = stack.pop_all()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Make everything safe and close the drivers.

        Raises:
            ExceptionGroup: Not everything is known to be safe.
        """
        return await self._stack.__aexit__(kind, error, trace)

    @property
    def channels(self) -> Mapping[str, ChannelInfo]:
        """What everybody may know of the channels, with the calibrations in force."""
        return {name: channel.info for name, channel in self._equipment.channels.items()}

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What people should look at now."""
        return self._announcements.alarms

    @property
    def safe(self) -> bool:
        """Whether every output has its safe value, as written, and no pump runs.

        Not before everything was made safe for the first time: what another process left on is on.
        """
        return self._obedience.complete and self._rules.at_rest

    @property
    def unfit(self) -> str | None:
        """Why no run should begin; None: it may.

        A device is lost or a sensor lies, or something was not seen to obey.
        """
        why = self._guard.unfit
        if why is None and (pending := self._obedience.pending):
            return f"not known to be safe: {', '.join(sorted(pending))}"
        return why

    @property
    def safe_within_reach(self) -> bool:
        """Whether all is done that can be: what is not known to be safe has been lost.

        No run begins before it is back and has obeyed.
        """
        lost = self._guard.given_up
        return all(
            self._equipment.channels[name].info.driver in lost for name in self._obedience.pending
        )

    def on_event(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with everything that happens; return what ends that.

        It is called on the event loop and must not block.
        """
        return self._announcements.listen(listener)

    @property
    def rescues(self) -> Mapping[str, Rescue]:
        """How another process makes the devices safe when this one is dead, by driver."""
        found = {driver.name: driver.rescue for driver in self._devices.drivers}
        return {name: rescue for name, rescue in found.items() if rescue is not None}

    def on_progress(self, alive: Callable[[float], None]) -> None:
        """Have the control loop give signs of life.

        Args:
            alive: Called with the real seconds within which it is called again, for as long as
                the reactor is open and the loop does not hang; with infinity when it has closed.
        """
        self._alive = alive

    def setpoints(self) -> Mapping[str, float]:
        """Return the setpoints that are not at their safe value."""
        return self._rules.setpoints()

    async def begin_run(self) -> None:
        """Begin a new run: total volumes count from zero; a simulation gets a fresh vial.

        What a vessel without a sensor holds stays what it is: nobody says that it was changed.
        """
        await self.refresh()
        self._rules.apply(RunBegun())
        for driver in self._devices.drivers:
            await driver.begin_run()
        self._devices.forget()
        self._announcements.doubts({})  # what is doubted is told anew, for this run
        await self._book.keep(self._rules.state)
        await self._measure()
        self._announcements.emit("run")
        self._refreshing.tell_calibrations()

    async def refresh(self) -> None:
        """Take up new calibrations and a new vial; never called while a run goes on."""
        await self._refreshing.refresh()

    def tell_calibrations(self) -> None:
        """Put on record which calibrations hold, before samples of a run that is taken up again."""
        self._refreshing.tell_calibrations()

    def latest(self, channel: str) -> float | None:
        """Return a sensor's last value, without asking the device; None: not sound, or stale."""
        return self._rules.latest(channel)

    async def read(self) -> Mapping[str, float | None]:
        """Return all channels: what sensors measure, what outputs are set to.

        A pump's value is what it moved in this run, mL. None where a sensor gives no sound value.
        """
        values = {**await self._measure(), **self._rules.commanded()}
        return {name: values.get(name) for name in self.channels}

    def is_off(self, channel: str, value: float) -> bool:
        """Whether a value is the one that an output has when nobody is in control."""
        known = self._equipment.channels.get(channel)
        return known is not None and known.output and value == known.safe

    async def set(self, channel: str, value: float, *, duration: float | None = None) -> float:
        """Set an output or a setpoint.

        Args:
            channel: Its name.
            value: In the channel's unit.
            duration: Seconds until it goes to its safe value by itself; direct outputs need one.

        Returns:
            The value in force; where the channel's slew is limited, the one it is moving to.

        Raises:
            ContractError: UNKNOWN_CHANNEL, NOT_AN_ACTUATOR, OUT_OF_RANGE, MALFORMED (no
                duration), LIMIT, INTERLOCK, ESTOP: nothing was changed. HARDWARE: the device did
                not obey, its output is made safe as soon as it answers.
        """
        self._check_open()
        asked = next(self._asked)
        known = self._equipment.channels.get(channel)
        if known is not None and known.output and value != known.safe:
            await self._admit(channel, asked, setpoint=known.info.kind == "setpoint")
        check(self._rules.apply(Set(channel, float(value), duration)).refusal)
        self._set[channel] = asked
        known = self._equipment.channels[channel]
        try:
            # What rests is told when it goes on: nothing has changed for its device.
            if value == known.safe or not rests(known, self._rules.state.rests):
                await self._obedience.write(channel)
        except DriverError as error:
            self._rules.apply(Set(channel, known.safe))
            raise ContractError(
                ErrorCode.HARDWARE, f"{channel}: {error}", "look at the device and its cable"
            ) from error
        target = self._rules.state.outputs[channel].target
        self._announcements.emit(
            "set", channel, target, {} if duration is None else {"duration": duration}
        )
        return target

    async def dose(
        self,
        channel: str,
        ml: float,
        *,
        begin: Callable[[], Awaitable[None]] | None = None,
        call: str | None = None,
    ) -> Dose:
        """Pump a volume; returns when it is delivered.

        A dose that is stopped on the way (hold, make_safe) returns with less delivered; one that
        still waits for an earlier dose of its pump then is refused, with the limit `stopped`.

        Args:
            channel: A pump.
            ml: mL, above 0.
            begin: Is awaited before anything moves; not for a dose that is refused.
            call: Id of whoever asked, for the event that tells what was dosed.

        Raises:
            ContractError: UNKNOWN_CHANNEL, NOT_AN_ACTUATOR, OUT_OF_RANGE, LIMIT, INTERLOCK,
                ESTOP: `details` say which limit and what is left of it, and `delivered_ml`, 0
                unless it struck on the way. HARDWARE: all of the dose is counted as delivered.
        """
        self._check_open()
        self._guard.check()
        stops = self._rules.state.stops
        return await self._dosing.dose(channel, ml, stops=stops, begin=begin, call=call)

    async def hold(self) -> None:
        """Pause: pumps and direct outputs stop, controllers keep their setpoints.

        Controllers that dose wait, until `go_on` or until everything is made safe.

        Raises:
            ExceptionGroup: Of `DriverError`, for devices that did not obey. They are tried again
                by the control loop.
        """
        await self._stop_all(Hold(), "hold")

    def go_on(self) -> None:
        """End a pause: controllers may dose again."""
        self._rules.apply(GoOn())

    async def make_safe(self) -> None:
        """Bring every channel to its safe value, whatever fails.

        Raises:
            ExceptionGroup: Of `DriverError`, one for each channel that is not known to be safe.
                Those are tried again by the control loop.
        """
        await self._stop_all(MakeSafe(), "safe")

    async def emergency_stop(self, reason: str) -> None:
        """Make everything safe and refuse every command until released.

        Raises:
            ExceptionGroup: As `make_safe`; the stop is engaged all the same.
        """
        await self._stop_all(EstopEngaged(reason), "estop")

    def release_emergency_stop(self) -> None:
        """Allow commands again; everything stays safe until commanded."""
        self._rules.apply(EstopReleased())
        self._announcements.emit("estop-released")

    async def _admit(self, channel: str, asked: int, *, setpoint: bool) -> None:
        """Return when an output may be commanded; a setpoint may while a device is silent."""
        if setpoint:
            self._guard.check(setpoint=True)
            return
        stops = self._rules.state.stops
        await self._guard.admit()
        if stops != self._rules.state.stops:
            raise ContractError(
                ErrorCode.INTERLOCK,
                "everything was stopped while this waited for a device that does not answer",
                "command it again",
                limit="stopped",
            )
        if self._set.get(channel, asked) > asked:
            raise ContractError(
                ErrorCode.INTERLOCK,
                f"{channel} was commanded again while this waited for a device that does not "
                "answer",
                "the later command is in force",
                limit="superseded",
            )

    def _check_open(self) -> None:
        if not self._open:
            raise ContractError(
                ErrorCode.UNAVAILABLE, "the reactor is switched off", "start the node"
            )

    def _close(self) -> None:
        self._open = False

    def _begin(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        return self._tasks.create_task(work, name=name)

    def _begin_if_open(self, work: Coroutine[None, None, None], name: str) -> None:
        if self._open:
            self._begin(work, name)
        else:
            work.close()

    async def _stop_all(self, event: Event, name: str) -> None:
        decision = self._rules.apply(event)
        self._obedience.owe(decision.writes, decision.stops)
        self._guard.interrupt()
        self._announcements.emit(name)
        if errors := await self._carry_out(decision):
            raise ExceptionGroup("not every channel is known to be safe", errors)

    def _rest(self, scope: Scope | None) -> None:
        decision = self._rules.apply(Rest(scope))
        self._obedience.owe(decision.writes, decision.stops)
        self._begin_if_open(self._carry_out_quietly(decision), "reactor-rest")

    async def _carry_out(self, decision: Decision) -> list[Exception]:
        """Tell all devices side by side; return what failed, which the control loop tries again."""
        tries = [self._obedience.write(channel) for channel in decision.writes]
        tries += [self._obedience.stop(channel) for channel in decision.stops]
        results = await asyncio.gather(*tries, return_exceptions=True)
        return [result for result in results if isinstance(result, Exception)]

    async def _carry_out_quietly(self, decision: Decision) -> None:
        for error in await self._carry_out(decision):
            log.warning("not everything is known to rest: %s", error)

    async def _measure(self) -> Mapping[str, float | None]:
        values, new = await self._devices.read()
        await self._take(new)
        return values

    async def _look(self, polled: Polled) -> None:
        """Read one device now."""
        await polled.look()
        await self._take(polled.news())

    async def _take(self, new: Mapping[str, float | None]) -> None:
        """Take readings in, and what the devices say of themselves."""
        writes = self._rules.apply(Measured(new)).writes if new else {}
        self._guard.heed()
        await self._obedience.write_quietly(writes)

    async def _control(self) -> None:
        at = self.clock.monotonic()
        while True:
            self._progress()
            await self._measure()
            decision = self._rules.apply(
                self._heat.follow(self._rules.state, self.clock.monotonic())
            )
            await self._obedience.again(decision.writes)
            if not self._rules.state.held and not self._guard.holds:
                self._titrating.follow(self._rules.state, self.clock.monotonic())
            at = max(at + PERIOD, self.clock.monotonic())
            self._progress()
            await self.clock.sleep(at - self.clock.monotonic())

    def _progress(self) -> None:
        """Give a sign of life: the next thing done takes so long at the most."""
        self._alive(PATIENCE + PERIOD / min(1.0, self.clock.speed))

    async def _tick(self) -> None:
        await self._obedience.write_quietly(self._rules.apply(Tick()).writes)
