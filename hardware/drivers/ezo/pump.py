"""A driver for the EZO-PMP dosing pump.

The pump has no host timeout: what it was told it does to the end, whoever dies. So it is only ever
told volumes that end by themselves within two seconds, never ``D,*``. What was delivered is what
the pump says at the end (``*DONE``); where that is lost, its own total count tells.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from hardware.drivers.ezo.circuits import PUMP_NAMES
from hardware.drivers.ezo.device import EzoDevice
from hardware.drivers.ezo.lines import Code, Line, number
from hardware.drivers.ezo.link import (
    SHORT,
    EzoError,
    EzoGarbledError,
    EzoRefusedError,
    Pace,
)
from hardware.drivers.ezo.totals import Totals, load, save
from hardware.drivers.interface import (
    MAX_PIECE_SECONDS,
    DriverError,
    NotDosedError,
    Rescue,
    TooLittleError,
)
from hardware.drivers.transport import (
    Backoff,
    PortError,
    PortTimeoutError,
)

log = logging.getLogger(__name__)

FASTEST_ML_MIN: Final = 105.0
"""mL/min that the pump moves when told a volume only."""
SMALLEST_ML: Final = 0.5
_ROUNDING: Final = 0.011
LEAST_ML: Final = SMALLEST_ML - _ROUNDING
"""The least dose that is taken: rounded up to the pump's own."""
_EVERY: Final = 0.2
"""Seconds between two questions to a pump whose silence must be noticed."""
_LATE: Final = 0.5
"""Seconds that a dose may end late: motor and clock are 5 % off before calibration."""

_REASONS: Final = {
    "UV": "its motor has no power: switch its 12 V supply on",
    "MINVOL": f"it doses {SMALLEST_ML:g} mL at least",
    "TOOFAST": "it cannot pump so fast",
}


class EzoPump(EzoDevice):
    """One pump on one port.

    Args:
        name: The driver's name, as in `ChannelInfo.driver`.
        path: The port, best one of ``/dev/serial/by-id/``.
        channel: The pump's channel. Its `Channel.flow` is `flow`, its least dose 0.5 mL.
        ml_per_minute: How fast; None: as fast as it can.
        full_speed: mL/min that it truly moves as fast as it can: weigh it, for with a thin tube it
            is half of the maker's, and then the longest dose must be half as well.
        reverse: It pumps the other way.
        totals_file: Where its total is kept over restarts; None: nowhere.
        pace: How long things take.
        backoff: Between tries to open the port again.
        open_within: Seconds that entering waits for the port to be there.

    Raises:
        ValueError: It cannot pump so fast, or not move its least dose within two seconds.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        channel: str,
        *,
        ml_per_minute: float | None = None,
        full_speed: float = FASTEST_ML_MIN,
        reverse: bool = False,
        totals_file: Path | None = None,
        pace: Pace | None = None,
        backoff: Backoff | None = None,
        open_within: float = 3.0,
    ) -> None:
        least = SMALLEST_ML / MAX_PIECE_SECONDS * 60.0
        speed = full_speed if ml_per_minute is None else ml_per_minute
        if not (least <= speed <= full_speed <= FASTEST_ML_MIN):
            raise ValueError(
                f"{name} can pump {least:g} to {min(full_speed, FASTEST_ML_MIN):g} mL/min in doses "
                f"that end within {MAX_PIECE_SECONDS:g} s, not {speed:g}"
            )
        super().__init__(
            name,
            path,
            names=PUMP_NAMES,
            pace=pace,
            seconds=SHORT,
            every=_EVERY,
            backoff=backoff,
            open_within=open_within,
            heard=self._hear,
        )
        self.channel = channel
        self._minutes_per_ml = None if ml_per_minute is None else 1.0 / ml_per_minute
        self.flow = speed / 60.0
        self._sign = "-" if reverse else ""
        self._ended = asyncio.Event()
        self._done: float | None = None
        self._rebooted = False
        self._dosing = False
        self._begun = False
        self._stopped = False
        self._totals_file = totals_file
        self._known: Totals | None = None

    @property
    def rescue(self) -> Rescue:
        """How the watchdog stops the pump."""
        return Rescue(
            "hardware.drivers.ezo.rescue:stop_pump",
            {"path": str(self._port.path), "speed": self._pace.speed},
        )

    @property
    def dosing(self) -> bool:
        """Whether a dose is under way."""
        return self._dosing

    @property
    def totals(self) -> Totals:
        """What the pump has moved in all, and how much of it no dose told of."""
        return Totals() if self._known is None else self._known

    async def __aenter__(self) -> Self:
        """Open the port; a pump that runs is stopped.

        Raises:
            DriverError: The port is not there, no pump answers, or it would start by itself.
        """
        if self._totals_file is not None:
            self._known = await asyncio.to_thread(load, self._totals_file)
        return await super().__aenter__()

    async def read(self) -> Mapping[str, float | None]:
        """Return nothing, having seen that the pump is there and what it counts.

        Raises:
            DriverError: It is not.
        """
        if self._dosing:
            await self._link.ask("D,?", "D")
        else:
            await self._ready()
            await self._count()
        return {}

    async def write(self, channel: str, value: float) -> None:
        """Refuse: a pump doses."""
        raise DriverError(f"{self.name} only doses: {channel} cannot be set to {value:g}")

    async def dose(self, channel: str, ml: float) -> float:
        """Pump one piece of a dose and return when it ended; see `Driver.dose`.

        Raises:
            NotDosedError: The pump cannot, or refused.
            DriverError: It is not known what was delivered.
        """
        self._check(channel)
        seconds = ml / self.flow
        if not ml >= LEAST_ML or seconds > MAX_PIECE_SECONDS * 1.001:
            why = TooLittleError if ml < LEAST_ML else NotDosedError
            raise why(
                f"{self.name} can dose {SMALLEST_ML:g} to {self.flow * MAX_PIECE_SECONDS:.3g} mL "
                f"at a time, not {ml:g} mL"
            )
        self._dosing, self._stopped = True, False
        try:
            await self._ready()
            return await self._pump(max(ml, SMALLEST_ML), seconds)
        except asyncio.CancelledError:
            await self._halt_quietly()
            raise
        finally:
            self._dosing = False

    async def stop(self, channel: str) -> None:
        """Stop the pump, whatever it is doing.

        Raises:
            DriverError: It is not known to have stopped.
        """
        self._check(channel)
        self._stopped = True
        await self._halt()

    async def calibrate(self, measured_ml: float) -> None:
        """Tell what the last dose truly was.

        Raises:
            DriverError: It cannot be, or is not known to be taken.
        """
        if not 0 < measured_ml < 1e4:  # noqa: PLR2004 - NaN too
            raise EzoError(f"a dose cannot have been {measured_ml:g} mL")
        await self._ready()
        await self._link.order(f"Cal,{measured_ml:.2f}")

    async def clear_calibration(self) -> None:
        """Forget the calibration.

        Raises:
            DriverError: It is not known to be forgotten.
        """
        await self._ready()
        await self._link.order("Cal,clear")

    async def calibration(self) -> int:
        """Return how it is calibrated: 0 not, 1 by volume, 2 by time, 3 both.

        Raises:
            DriverError: It does not say.
        """
        await self._ready()
        return int(await self._link.ask_number("Cal,?", "CAL"))

    async def motor_volts(self) -> float:
        """Return the voltage of the motor's supply; it needs 10.8 V.

        Raises:
            DriverError: It does not say.
        """
        await self._ready()
        return await self._link.ask_number("PV,?", "PV")

    def _check(self, channel: str) -> None:
        if channel != self.channel:
            raise DriverError(f"{self.name} has no pump {channel}")

    async def _prepare(self) -> None:
        """Look that it is a pump, stands still, and does not start by itself."""
        await self._link.start()
        if await self._link.ask_number("Dstart,?", "DSTART") != 0:
            raise EzoError(f"{self.name} pumps when it gets power: switch that off (Dstart,0)")
        if (
            await self._link.ask_number("D,?", "D") != 0
            or await self._link.ask_number("P,?", "P") != 0
        ):
            await self._halt()
        await self._count()

    async def _count(self) -> None:
        """Read the pump's own count, and note what no dose told of."""
        count = abs(await self._link.ask_number("ATV,?", "ATV"))
        before = Totals(counted=count) if self._known is None else self._known
        self._known = before.seen(count)
        if (untold := self._known.untold - before.untold) > 0:
            log.warning("%s moved %.2f mL that no dose told of", self.name, untold)
            await self._keep()

    async def _pump(self, ml: float, seconds: float) -> float:
        before, opening = self.totals, self._port.epoch
        self._begun = False
        time = "" if self._minutes_per_ml is None else f",{ml * self._minutes_per_ml:.4f}"
        try:
            if not await self._link.order(f"D,{self._sign}{ml:.2f}{time}", allowed=self._begin):
                return 0.0
            await self._until_ended(seconds + _LATE)
        except EzoRefusedError as error:
            raise NotDosedError(f"{self.name}: {_reason(error)}") from error
        except (EzoGarbledError, PortError) as error:
            if not self._begun:
                raise NotDosedError(f"{self.name}: {error}") from error
            log.warning("%s: %s; looking at what it has moved", self.name, error)
        delivered = self._done
        if delivered is not None and 0 <= delivered <= ml + _ROUNDING:
            self._known = self.totals.dosed(delivered)
        else:
            delivered = await self._ascertain(before, ml, opening)
        await self._keep()
        return delivered

    def _begin(self) -> bool:
        """Whether a dose may begin now: nobody has stopped it meanwhile."""
        self._done, self._rebooted = None, False
        self._ended.clear()
        self._begun = not self._stopped
        return self._begun

    async def _until_ended(self, seconds: float) -> None:
        listening = asyncio.create_task(self._listen(), name=f"{self.name}-listening")
        try:
            async with asyncio.timeout(self._pace.real(seconds)):
                await self._ended.wait()
        except TimeoutError:
            log.warning(
                "%s does not say that its dose has ended: is it slower than %.0f mL/min?",
                self.name,
                60.0 * self.flow,
            )
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                await self._link.listen()
            except PortTimeoutError:
                continue  # half a line
            except PortError:
                self._ended.set()  # what was delivered is looked at when it is there again

    async def _ascertain(self, before: Totals, ml: float, opening: int) -> float:
        """Find out what a dose has moved that was heard to begin or to end by nobody.

        Raises:
            DriverError: It cannot be found out.
        """
        prepared, self._prepared = self._prepared, None  # nothing is begun until it stands still
        if opening != self._port.epoch:
            await self._ready()
        if await self._link.ask_number("D,?", "D") != 0:
            await self._halt()
        count = abs(await self._link.ask_number("ATV,?", "ATV"))
        self._prepared = prepared if opening == self._port.epoch else self._prepared
        moved = count - before.counted
        # Without power it may have forgotten its count: then no difference tells nothing.
        forgetful = self._rebooted or opening != self._port.epoch
        if not (_ROUNDING if forgetful else -_ROUNDING) <= moved <= ml + _ROUNDING:
            self._known = before.seen(count)
            raise EzoError(f"{self.name} was interrupted: it is not known what it has pumped")
        moved = min(max(moved, 0.0), ml)
        self._known = Totals(count, before.moved + moved, before.untold)
        return moved

    async def _halt(self) -> None:
        """Stop at once, in step or not, and know that it stands still.

        Raises:
            DriverError: It is not known to stand still.
        """
        try:
            await self._link.say("X", SHORT, _is_done)
        except (PortTimeoutError, EzoGarbledError) as error:
            log.info("%s: %s; asking whether it runs", self.name, error)
        else:
            return
        if await self._link.ask_number("D,?", "D") != 0:
            await self._link.say("X", SHORT, _is_done)

    async def _halt_quietly(self) -> None:
        try:
            await self._halt()
        except DriverError as error:
            log.warning("%s is not known to have stopped: %s", self.name, error)

    async def _keep(self) -> None:
        if self._totals_file is None or self._known is None:
            return
        try:
            await asyncio.to_thread(save, self._totals_file, self._known)
        except OSError as error:
            log.warning("%s: its total could not be kept: %s", self.name, error)

    def _hear(self, code: Code) -> None:
        if code.name == "DONE":
            value = number(code.fields[0]) if code.fields else None
            self._done = None if value is None else abs(value)
            self._ended.set()
        elif code.name in {"RS", "RE"}:
            self._rebooted = True
            self._ended.set()  # without power it has stopped


def _is_done(line: Line) -> bool:
    return isinstance(line, Code) and line.name == "DONE"


def _reason(error: EzoRefusedError) -> str:
    return next((_REASONS[c.name] for c in error.reasons if c.name in _REASONS), str(error))
