"""A whole reactor of emulated devices around one simulated vial, and the file that describes it.

| port | device | channels |
|---|---|---|
| `board` | our controller board | temperature, od, heater, stirring, light |
| `ezo-ph`, `ezo-do` | Atlas EZO | ph, do |
| `gas` | Senseair S8 | co2 |
| `media`, `acid`, `base` | peristaltic pumps on Pololu Tics | the pump of that name |
| `waste` | Atlas EZO-PMP | waste |
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hardware.clock import RealClock
from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import EmulatedDevice, Emulator, Source
from hardware.emulators.ezo_probes import EzoDo, EzoPh
from hardware.emulators.ezo_pump import EzoPump
from hardware.emulators.senseair import EmulatedSenseair
from hardware.emulators.tic import EmulatedTic, TicSettings
from hardware.simulation.vial import SimulatedVial

FILE: Final = "reactor.toml"
_TEMPLATE: Final = Path(__file__).with_name("bench.toml")
_TICS: Final = ("media", "acid", "base")
_ML_PER_MICROSTEP: Final = 0.0005
_BLANK, _PER_OD = 600.0, 400.0
"""mV of the culture's photodiode; as the template says, and so the pumps' volume."""
_SATURATED: Final = 9.09
"""mg/L that an EZO-DO calls 100 %."""
_BRIGHT: Final = 1500.0
"""mV of the reference photodiode."""


class BenchVial:
    """A simulated vial between emulated devices: pumps are looked at whenever anybody looks."""

    def __init__(self, vial: SimulatedVial) -> None:
        self.vial = vial
        self._taps: dict[str, Callable[[], float]] = {}
        self._poured: dict[str, float] = {}

    def connect(self, pump: str, total: Callable[[], float]) -> None:
        """Connect a pump; `total` says what it has moved since it was made, mL."""
        self._taps[pump] = total
        self._poured[pump] = total()

    def source(self, sensor: str, scale: Callable[[float], float] = float) -> Source:
        """Return what a device measures of the vial."""

        def look() -> float:
            self._live()
            return scale(self.vial.sense()[sensor])

        return look

    def volume(self) -> float:
        """Return what the vial truly holds, mL; for tests."""
        self._live()
        return self.vial.culture.volume

    def act(self, output: str, value: float) -> None:
        """Have a device's output act on the vial."""
        self._live()
        self.vial.act(output, value)

    def _live(self) -> None:
        totals = {pump: total() for pump, total in self._taps.items()}
        moved = {pump: max(0.0, total - self._poured[pump]) for pump, total in totals.items()}
        if self.vial.live(moved):
            self._poured = totals


class Bench:
    """All devices, each on a pseudo terminal; used as an async context manager.

    Args:
        directory: Where the ports appear, named as the devices are, and `FILE`.
        seed: Of the vial.
    """

    def __init__(self, directory: Path, *, seed: int = 1) -> None:
        self.vial = BenchVial(SimulatedVial(RealClock(), seed=seed))
        look = self.vial.source
        self.board = EmulatedBoard(
            temperature=look("temperature"),
            signal=look("od", lambda od: _BLANK + _PER_OD * od),
            reference=lambda: _BRIGHT,
            driven=self.vial.act,
        )
        self.pumps: Mapping[str, EmulatedTic] = {name: EmulatedTic(_settings()) for name in _TICS}
        self.waste = EzoPump(keeps_totals=True)
        devices: Mapping[str, EmulatedDevice] = {
            "board": self.board,
            "ezo-ph": EzoPh(look("ph"), true_temperature=look("temperature")),
            "ezo-do": EzoDo(look("do", lambda percent: percent / 100.0 * _SATURATED)),
            "gas": EmulatedSenseair(look("co2")),
            "waste": self.waste,
            **self.pumps,
        }
        self.emulators: Mapping[str, Emulator] = {
            name: Emulator(device, link=directory / name) for name, device in devices.items()
        }
        self.file = directory / FILE
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Plug everything in, and describe it in `file` unless somebody has one there.

        Raises:
            OSError: The file cannot be written.
        """
        async with AsyncExitStack() as stack:
            for emulator in self.emulators.values():
                await stack.enter_async_context(emulator)
            self._stack = stack.pop_all()
        for name, tic in self.pumps.items():
            self.vial.connect(name, _pumped(tic))
        self.vial.connect("waste", lambda: self.waste.pumped)
        if not self.file.exists():
            ports = str(self.file.parent.absolute())
            self.file.write_text(_TEMPLATE.read_text("utf-8").replace("PORTS", ports), "utf-8")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unplug everything."""
        await self._stack.aclose()


def _settings() -> TicSettings:
    return TicSettings(
        max_speed=20_000_000,
        max_acceleration=1_000_000,
        crc_for_commands=True,
        crc_for_responses=True,
    )


def _pumped(tic: EmulatedTic) -> Callable[[], float]:
    return lambda: tic.steps() * _ML_PER_MICROSTEP
