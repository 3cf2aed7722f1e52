"""A peristaltic pump on a Pololu Tic.

A piece of a dose is a move to a position, which the Tic ends by itself; what was delivered is read
from its position, never reckoned from time. Its command timeout stops the motor when this process
hangs or dies on the way. It is fed by the loop that waits for the piece, so nothing else can keep
the motor running.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hardware.clock import Clock
from hardware.drivers.hearing import Hearing
from hardware.drivers.interface import DriverError, NotDosedError, Rescue
from hardware.drivers.tic.link import TicLink
from hardware.drivers.tic.protocol import (
    FASTEST,
    MOTION,
    SETTINGS,
    STATUS,
    VELOCITY_UNIT,
    Command,
    Fault,
    Motion,
    Settings,
    Status,
    ahead,
    moved,
    parse_motion,
    parse_settings,
    parse_status,
    quick,
    sentences,
    write_32,
)
from hardware.drivers.transport import Backoff, LineSettings, SerialPort

log = logging.getLogger(__name__)

_POLL: Final = 0.1
"""Seconds between two looks at the position."""
_LATE: Final = 1.5
"""Seconds that a piece may take beyond its volume at its flow, for starting and braking."""
_IDLE: Final = 5.0
"""Seconds after a dose until the coils are switched off."""
_TRIES: Final = 2
_MARGIN: Final = 0.05
_EVERY: Final = 0.25
"""It is silent when it has not answered twice; how often it is asked, see `Hearing`."""
_LONGEST_TIMEOUT: Final = 2000
_TROUBLE: Final = (
    Fault.MOTOR_DRIVER | Fault.LOW_VIN | Fault.KILL_SWITCH | Fault.INPUT | Fault.ERR_LINE
)
"""Errors that no command of ours clears."""
_STOPPING: Final = Fault(0xFFFF)
_HALT: Final = (quick(Command.HALT_AND_HOLD), quick(Command.ENTER_SAFE_START))


class TicPump:
    """One pump.

    Args:
        name: The driver's name.
        path: Where the Tic is.
        channel: The pump's channel.
        ml_per_microstep: From its calibration, above 0.
        flow: mL/s, at most what the Tic's own speed limit and the pump allow.
        clock: Seconds of the device's time.
        backwards: Whether the motor turns to negative positions when it doses.
        crc_for_responses: As it is set in the Tic. Without it (firmware before 1.05) a damaged
            position could be taken for a right one.
        baudrate: As it is set in the Tic.
        patience: Real seconds until an answer counts as missing.
        backoff: Between tries to open the port again.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        channel: str,
        ml_per_microstep: float,
        flow: float,
        clock: Clock,
        backwards: bool = False,
        crc_for_responses: bool = True,
        baudrate: int = 9600,
        patience: float = 0.2,
        backoff: Backoff | None = None,
    ) -> None:
        speed = flow / ml_per_microstep
        if not 0 < speed * VELOCITY_UNIT <= FASTEST:
            raise ValueError(f"{name}: {speed:g} microsteps a second are beyond the Tic")
        self._name = name
        hearing = Hearing(_TRIES * patience + _MARGIN, _EVERY)
        self._port = SerialPort(path, LineSettings(baudrate), backoff=backoff, hearing=hearing)
        self._baudrate = baudrate
        self._channel = channel
        self._ml = ml_per_microstep
        self._speed = speed
        self._sign = -1 if backwards else 1
        self._clock = clock
        self._crc = crc_for_responses
        self._link = TicLink(self._port, crc=crc_for_responses, patience=patience)
        self._checked: int | None = None
        self._stopped = False
        self._dosing = asyncio.Lock()
        self._used_at = -float("inf")

    @property
    def name(self) -> str:
        """The driver's name."""
        return self._name

    @property
    def rescue(self) -> Rescue:
        """Halts the motor and switches its coils off."""
        return Rescue(
            "hardware.drivers.tic.rescue:make_safe",
            {
                "path": str(self._port.path),
                "baudrate": self._baudrate,
                "crc": int(self._crc),
            },
        )

    @property
    def hearing(self) -> Hearing:
        """Whether the Tic answers."""
        return self._port.hearing

    @property
    def plugged_in(self) -> bool:
        """Whether the device's port is there."""
        return self._port.connected

    async def unplugged(self) -> None:
        """Return when the device's port is not there."""
        await self._port.lost()

    async def __aenter__(self) -> Self:
        """Open the port, see that the Tic is set up to be safe, and switch its coils off.

        Raises:
            DriverError: It does not answer, or its settings are not safe: it says which.
        """
        await self._port.__aenter__()
        try:
            await self._check()
            await self._release()
        except BaseException:
            await self._port.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Switch the coils off and close the port."""
        try:
            if self._port.connected:
                await self._release()
        except DriverError as problem:
            log.warning("%s is not known to stand still: %s", self._name, problem)
        finally:
            await self._port.__aexit__(kind, error, trace)

    async def read(self) -> Mapping[str, float | None]:
        """Look whether the Tic is well; it has no sensors.

        Raises:
            DriverError: It does not answer, or it says what is wrong with it.
        """
        await self._check()
        status = await self._status()
        _refuse_trouble(status)
        if status.energized and not self._dosing.locked():
            async with self._dosing:
                if self._clock.monotonic() - self._used_at > _IDLE:
                    await self._release()
        return {}

    async def write(self, channel: str, value: float) -> None:  # noqa: ARG002 - it has no outputs
        """Refuse: a Tic has no outputs.

        Raises:
            DriverError: Always.
        """
        raise DriverError(f"{self._name} has no output {channel}")

    async def dose(self, channel: str, ml: float) -> float:
        """Pump one piece; see `Driver.dose`.

        Raises:
            NotDosedError: It was not started: nothing was delivered.
            DriverError: It did not move as it should; the motor is told to stop.
        """
        self._check_channel(channel)
        self._stopped = False  # before anything is waited for: a stop from now on is meant for it
        async with self._dosing:
            try:
                await self._check()
            except DriverError as error:
                raise NotDosedError(str(error)) from error
            steps = round(ml / self._ml)
            try:
                before = await self._start(steps)
                position = await self._arrival(before, steps)
            except BaseException:
                await self._halt_whatever_comes()
                raise
            finally:
                self._used_at = self._clock.monotonic()
        made = self._sign * moved(before, position)
        # A position beyond the dose is that of a Tic that restarted on the way.
        if not -1 <= made <= steps + 1:
            raise DriverError(f"the position of {self._name} jumped: it restarted while it dosed")
        return max(made, 0) * self._ml

    async def stop(self, channel: str) -> None:
        """Halt the motor and switch its coils off.

        Raises:
            DriverError: It is not known to stand still.
        """
        self._check_channel(channel)
        self._stopped = True
        await self._release()

    async def begin_run(self) -> None:
        """Do nothing: a pump has no run."""

    async def _check(self) -> None:
        """See that the Tic is set up to be safe; again for whatever is plugged in anew."""
        if self._checked == self._port.epoch and self._port.connected:
            return
        settings = await self._link.ask(Command.GET_SETTING, SETTINGS, parse_settings)
        if problems := list(_unsafe(settings, self._crc)):
            raise DriverError(
                f"the Tic on {self._port} is not set up to be safe: {', '.join(problems)}; "
                "change that in Pololu's Tic Control Center"
            )
        self._checked = self._port.epoch

    async def _start(self, steps: int) -> int:
        """Move to a position; return the one before."""
        try:
            _refuse_trouble(await self._status(Command.GET_VARIABLE_AND_CLEAR))
        except DriverError as error:
            raise NotDosedError(str(error)) from error
        # What of a former piece may still be going on ends here, so that `before` stands.
        await self._link.tell(quick(Command.HALT_AND_HOLD))
        before = (await self._motion()).position
        if not self._stopped:
            await self._link.tell(
                write_32(Command.SET_MAX_SPEED, round(self._speed * VELOCITY_UNIT)),
                quick(Command.ENERGIZE),
                quick(Command.EXIT_SAFE_START),
                write_32(Command.SET_TARGET_POSITION, ahead(before, self._sign * steps)),
            )
        return before

    async def _arrival(self, before: int, steps: int) -> int:
        """Return the position where the motor came to stand, by itself or by `stop`."""
        target = ahead(before, self._sign * steps)
        seconds = steps / self._speed
        deadline = self._clock.monotonic() + seconds + _LATE
        while True:
            await self._clock.sleep(min(_POLL, seconds))
            motion = await self._motion(feed=not self._stopped)
            if motion.position == target and motion.velocity == 0:
                return target
            if self._stopped and motion.velocity == 0:
                return motion.position
            if motion.velocity == 0 or self._clock.monotonic() > deadline:
                _refuse_trouble(status := await self._status())
                if status.errors and not self._stopped:
                    # What occurred stays when our next command clears it: it is the reason.
                    reasons = sentences(status.errors | (status.occurred & _STOPPING))
                    raise DriverError(f"{self._name} stopped: {', '.join(reasons)}")
            if self._clock.monotonic() > deadline:
                raise DriverError(f"{self._name} did not arrive: its motor does not turn")

    async def _release(self) -> None:
        """Halt, switch the coils off, and see that it is so."""
        await self._link.tell(*_HALT, quick(Command.DEENERGIZE))
        status, motion = await self._status(), await self._motion()
        if status.energized or motion.velocity:
            await self._link.tell(*_HALT, quick(Command.DEENERGIZE))
            status, motion = await self._status(), await self._motion()
        if status.energized or motion.velocity:
            raise DriverError(f"{self._name} does not stop: cut its power")

    async def _halt_whatever_comes(self) -> None:
        """Halt when a dose failed or was cancelled; what fails then is left to the timeout."""
        halting = asyncio.ensure_future(self._link.tell(*_HALT))
        try:
            await asyncio.shield(halting)
        except asyncio.CancelledError:
            await asyncio.wait([halting])
            raise
        except DriverError as error:
            log.warning("%s could not be halted, its timeout will: %s", self._name, error)

    async def _status(self, command: Command = Command.GET_VARIABLE) -> Status:
        return await self._link.ask(command, STATUS, parse_status)

    async def _motion(self, *, feed: bool = False) -> Motion:
        if feed:
            await self._link.tell(quick(Command.RESET_COMMAND_TIMEOUT))
        return await self._link.ask(Command.GET_VARIABLE, MOTION, parse_motion)

    def _check_channel(self, channel: str) -> None:
        if channel != self._channel:
            raise DriverError(f"{self._name} has no pump {channel}")


def _refuse_trouble(status: Status) -> None:
    trouble = status.errors & _TROUBLE
    if trouble:
        raise DriverError("; ".join(sentences(trouble)))


def _unsafe(settings: Settings, crc: bool) -> "list[str]":
    """Return what about the settings is not safe, as sentences."""
    problems = {
        "its control mode is not serial": not settings.serial_control,
        "safe start is disabled": not settings.safe_start,
        "the command timeout is disabled": settings.timeout_ms == 0,
        f"the command timeout is above {_LONGEST_TIMEOUT} ms": (
            settings.timeout_ms > _LONGEST_TIMEOUT
        ),
        "CRC for commands is disabled": not settings.crc_for_commands,
        f"CRC for responses is {'disabled' if crc else 'enabled'}": (
            settings.crc_for_responses != crc
        ),
    }
    return [problem for problem, there in problems.items() if there]
