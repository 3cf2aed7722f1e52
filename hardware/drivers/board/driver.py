"""Our controller board as a driver: temperature, optical density, heater, stirrer, light."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hardware.drivers.board.lines import BAUDRATE, PROTOCOL, BoardReplyError, known, quantity
from hardware.drivers.board.link import BoardLink, BoardRefusedError
from hardware.drivers.hearing import Hearing
from hardware.drivers.heartbeat import Heartbeat
from hardware.drivers.interface import DriverError, Rescue
from hardware.drivers.transport import Backoff, LineSettings, SerialPort

log = logging.getLogger(__name__)

UNITS: Final = {"heater": ("%", 1), "stirring": ("rpm", 0), "light": ("%", 1)}
"""Unit and decimals of each output."""
OPTICS: Final = frozenset({"density", "signal", "reference"})
QUANTITIES: Final = frozenset({"temperature", *OPTICS, *UNITS})
_MEASURING: Final = 0.4
_MARGIN: Final = 0.15
"""Seconds beyond what the board takes until its answer is overdue."""
_BEATS: Final = 5
"""Beats in each timeout, so that two may get lost."""
_LIVE: Final = "live"


@dataclass(frozen=True, slots=True)
class Density:
    """From the photodiode to optical density: a line.

    Attributes:
        blank: mV of fresh medium.
        slope: mV for 1 OD; negative where light is lost, as in a transmission measurement.
    """

    blank: float
    slope: float

    def __post_init__(self) -> None:
        if self.slope == 0:
            raise ValueError("an optical density without a slope cannot be calibrated so")

    def __call__(self, signal: float) -> float:
        """Return the optical density for a signal in mV."""
        return (signal - self.blank) / self.slope


class ControllerBoard:
    """One board.

    Args:
        name: The driver's name.
        path: Where the board is.
        channels: Which of `QUANTITIES` is which channel; what is left out is not used.
        density: Makes optical density of the signal; needed for the quantity ``density``.
        timeout: Seconds without a beat after which the board switches its outputs off, 0.2 to 2.
        attention: Seconds for which the driver keeps outputs on after the reactor last asked it
            for something; longer than the reactor's control period.
        patience: Seconds until a reply counts as missing.
        backoff: Between tries to open the port again.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        channels: Mapping[str, str],
        *,
        density: Density | None = None,
        timeout: float = 1.5,
        attention: float = 15.0,
        patience: float = 0.3,
        backoff: Backoff | None = None,
    ) -> None:
        if unknown := sorted(channels.keys() - QUANTITIES):
            raise ValueError(f"{name}: the board has no {', '.join(unknown)}")
        if "density" in channels and density is None:
            raise ValueError(f"{name}: optical density needs a blank and a slope")
        self._name = name
        self._port = SerialPort(
            path, LineSettings(BAUDRATE), backoff=backoff, hearing=Hearing(_MEASURING + _MARGIN)
        )
        self._link = BoardLink(self._port, patience=patience)
        self._sensors = {q: channel for q, channel in channels.items() if q not in UNITS}
        self._outputs = {channel: q for q, channel in channels.items() if q in UNITS}
        self._density = density
        self._timeout = timeout
        self._heartbeat = Heartbeat(self._beat, every=timeout / _BEATS, attention=attention)
        self._wanted: dict[str, float] = {}
        self._serial: str | None = None
        self._settling = asyncio.Lock()
        self._stack = AsyncExitStack()

    @property
    def name(self) -> str:
        """The driver's name."""
        return self._name

    @property
    def rescue(self) -> Rescue:
        """Switches every output off."""
        return Rescue("hardware.drivers.board.rescue:make_safe", {"path": str(self._port.path)})

    @property
    def hearing(self) -> Hearing:
        """Whether the board answers; its beats ask it more often than its readings do."""
        return self._port.hearing

    @property
    def plugged_in(self) -> bool:
        """Whether the device's port is there."""
        return self._port.connected

    async def unplugged(self) -> None:
        """Return when the device's port is not there."""
        await self._port.lost()

    async def __aenter__(self) -> Self:
        """Open the port and greet the board, which switches every output off.

        Raises:
            DriverError: It does not answer, or speaks another version of the protocol.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._port)
            self._wanted = dict.fromkeys(self._outputs.values(), 0.0)
            self._serial = None
            await self._greet()
            stack.push_async_callback(self._switch_off)
            await stack.enter_async_context(self._heartbeat.beating(self._name))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Switch every output off and close the port."""
        await self._stack.__aexit__(kind, error, trace)

    async def read(self) -> Mapping[str, float | None]:
        """Read temperature and optical density.

        Raises:
            DriverError: The board does not answer, or it had restarted and its outputs were set
                again.
        """
        self._heartbeat.attend()
        fields = await self._link.ask("read")
        if fields.get("state") != _LIVE:
            await self._restore()
        values: dict[str, float | None] = {}
        try:
            await self._compare(fields)
            if "temperature" in self._sensors:
                values[self._sensors["temperature"]] = quantity(fields, "temperature", "C")
            if OPTICS & self._sensors.keys():
                values |= self._optics(await self._link.ask("measure", seconds=_MEASURING))
        except BoardReplyError as error:
            raise DriverError(f"the board on {self._port}: {error}") from error
        return values

    async def write(self, channel: str, value: float) -> None:
        """Set an output; see `Driver.write`.

        Raises:
            DriverError: It is not known to be in force: the board refuses or does not answer.
        """
        self._heartbeat.attend()
        if channel not in self._outputs:
            raise DriverError(f"{self._name} has no output {channel}")
        output = self._outputs[channel]
        # Before it is sent: a reading meanwhile must not bring the former value back.
        self._wanted[output] = value
        try:
            await self._set(output, value)
        except BoardRefusedError as refusal:
            if refusal.reason not in {"lost", "unarmed"}:
                self._wanted[output] = 0.0
                raise
            await self._rearm()
            await self._set(output, value)
        except DriverError:
            # The rules will say again what they want; until they do, nothing is wanted.
            self._wanted[output] = 0.0
            raise

    async def dose(self, channel: str, ml: float) -> float:  # noqa: ARG002 - it has no pumps
        """Refuse: the board has no pumps.

        Raises:
            DriverError: Always.
        """
        raise DriverError(f"{self._name} has no pump {channel}")

    async def stop(self, channel: str) -> None:
        """Refuse: the board has no pumps.

        Raises:
            DriverError: Always.
        """
        raise DriverError(f"{self._name} has no pump {channel}")

    async def begin_run(self) -> None:
        """Do nothing: the board has no run."""

    async def _greet(self) -> Mapping[str, str]:
        fields = await self._link.ask(f"hello {PROTOCOL} {self._timeout * 1000:.0f}ms")
        serial = fields.get("board")
        if self._serial is not None and serial != self._serial:
            raise DriverError(
                f"another board answers on {self._port}: plug the former in, or restart the node"
            )
        self._serial = serial
        return fields

    async def _beat(self) -> None:
        await self._link.ask("beat")

    async def _set(self, output: str, value: float) -> None:
        unit, decimals = UNITS[output]
        fields = await self._link.ask(f"set {output} {value:.{decimals}f}{unit}")
        try:
            shown = known(fields, output, unit)
        except BoardReplyError as error:
            raise DriverError(f"the board on {self._port}: {error}") from error
        if abs(shown - value) > 0.5 * 10**-decimals + 1e-9:
            raise DriverError(f"{output} is {shown:g} {unit} instead of {value:g}")

    async def _restore(self) -> None:
        """After the board restarted or had lost us: set its outputs again, and say so.

        Raises:
            DriverError: Some were on: somebody should look at its supply and its cable.
        """
        fields = await self._rearm()
        if not any(self._wanted.values()):
            return
        why = "restarted" if fields.get("reset") == "power" else "hung and was reset"
        raise DriverError(
            f"the board on {self._port} {why}, or had not heard from this host in time: "
            "its outputs were off and are set again"
        )

    async def _rearm(self) -> Mapping[str, str]:
        async with self._settling:
            fields = await self._greet()
            for output, value in self._wanted.items():
                if value:
                    await self._set_if_allowed(output, value)
        return fields

    async def _compare(self, fields: Mapping[str, str]) -> None:
        """Set again what the board has cut, as soon as it allows it."""
        for output, value in dict(self._wanted).items():
            unit, decimals = UNITS[output]
            if abs(known(fields, output, unit) - value) > 0.5 * 10**-decimals + 1e-9:
                await self._set_if_allowed(output, self._wanted[output])

    async def _set_if_allowed(self, output: str, value: float) -> None:
        try:
            await self._set(output, value)
        except BoardRefusedError as refusal:
            log.warning("%s: %s stays off: %s", self._name, output, refusal)

    def _optics(self, fields: Mapping[str, str]) -> Mapping[str, float | None]:
        clipped = known(fields, "clipped", "") != 0
        signal = None if clipped else known(fields, "signal", "mV")
        found = {
            "signal": signal,
            "reference": None if clipped else known(fields, "reference", "mV"),
            "density": None if signal is None or self._density is None else self._density(signal),
        }
        return {channel: found[q] for q, channel in self._sensors.items() if q in OPTICS}

    async def _switch_off(self) -> None:
        try:
            if self._port.connected:
                await self._link.ask("off")
        except DriverError as error:
            log.warning("%s is not known to be off, its timeout will: %s", self._name, error)
