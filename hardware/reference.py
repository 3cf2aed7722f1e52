"""The reference reactor: the simulated vial's channels, served by real devices on serial ports.

| port | device | channels |
|---|---|---|
| `board` | our controller board | temperature, od, heater, stirring, light |
| `ezo-ph`, `ezo-do` | Atlas EZO | ph, do |
| `co2` | Senseair S8 | co2 |
| `media`, `acid`, `base` | peristaltic pumps on Pololu Tics | the pump of that name |
| `waste` | Atlas EZO-PMP | waste |
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from hardware.channels import Channel, Equipment
from hardware.clock import Clock
from hardware.drivers.board.driver import ControllerBoard, Density
from hardware.drivers.ezo.link import Pace
from hardware.drivers.ezo.probes import EzoDo, EzoPh
from hardware.drivers.ezo.pump import EzoPump
from hardware.drivers.interface import Driver
from hardware.drivers.senseair.protocol import S8
from hardware.drivers.senseair.sensor import SenseairCo2
from hardware.drivers.tic.pump import TicPump
from hardware.simulation.equipment import EQUIPMENT

DENSITY: Final = Density(blank=600.0, slope=400.0)
ML_PER_MICROSTEP: Final = 0.0005
"""A roller pump with 3.2 mL a turn, 200 steps of 32 microsteps."""
TICS: Final = ("media", "acid", "base")
_BOARD: Final = {
    "temperature": "temperature",
    "density": "od",
    "heater": "heater",
    "stirring": "stirring",
    "light": "light",
}
_SERVED: Final[Mapping[str, str]] = {
    **dict.fromkeys([*_BOARD.values(), "temperature-setpoint"], "board"),
    "ph": "ezo-ph",
    "do": "ezo-do",
    "co2": "co2",
    "waste": "waste",
    **{name: name for name in TICS},
}
"""Channel → the device that serves it; nothing measures the volume."""


def reference_equipment() -> Equipment:
    """Return the channels, each with the name of its device as driver."""
    channels = [
        _served(channel, _SERVED[name])
        for name, channel in EQUIPMENT.channels.items()
        if name in _SERVED
    ]
    assert EQUIPMENT.vessel is not None  # noqa: S101 - it has one
    return Equipment.of(
        channels, vessel=replace(EQUIPMENT.vessel, sensor=None), heating=EQUIPMENT.heating
    )


def reference_drivers(directory: Path, clock: Clock, *, speed: float = 1.0) -> list[Driver]:
    """Return the drivers for ports in a directory, named as the devices are.

    Args:
        directory: Where the ports are.
        clock: The reactor's.
        speed: Seconds of the devices' time in a real one; only emulated ones' is not 1.
    """
    pace = Pace(speed=speed)
    board = ControllerBoard("board", directory / "board", _BOARD, density=DENSITY)
    flow = EQUIPMENT.channels
    return [
        board,
        EzoPh(
            "ezo-ph", directory / "ezo-ph", {"pH": "ph"}, temperature=board.temperature, pace=pace
        ),
        EzoDo(
            "ezo-do", directory / "ezo-do", {"%": "do"}, temperature=board.temperature, pace=pace
        ),
        SenseairCo2("co2", directory / "co2", channel="co2", variant=S8, clock=clock),
        EzoPump(
            "waste",
            directory / "waste",
            "waste",
            ml_per_minute=flow["waste"].flow * 60.0,
            pace=pace,
        ),
        *(
            TicPump(
                name,
                directory / name,
                channel=name,
                ml_per_microstep=ML_PER_MICROSTEP,
                flow=flow[name].flow,
                clock=clock,
            )
            for name in TICS
        ),
    ]


def _served(channel: Channel, driver: str) -> Channel:
    return replace(channel, info=channel.info.model_copy(update={"driver": driver}))
