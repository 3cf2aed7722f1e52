"""Which devices can be emulated, by the names that `bioreactor emulate` knows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hardware.emulators import ezo_probes
from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import Constant, EmulatedDevice
from hardware.emulators.ezo_pump import EzoPump
from hardware.emulators.senseair import EmulatedSenseair
from hardware.emulators.tic import EmulatedTic, TicSettings


@dataclass(frozen=True, slots=True)
class Entry:
    """A device.

    Attributes:
        what: For people.
        make: Make one that measures this quantity.
        value: What it measures if nothing is said, in `unit`.
        unit: "" where it measures nothing.
    """

    what: str
    make: Callable[[Constant], EmulatedDevice]
    value: float = 0.0
    unit: str = ""


CATALOGUE: Final[Mapping[str, Entry]] = {
    "ezo-ph": Entry("Atlas EZO pH", ezo_probes.EzoPh, 7.0, "pH"),
    "ezo-do": Entry("Atlas EZO dissolved oxygen", ezo_probes.EzoDo, 7.82, "mg/L"),
    "ezo-rtd": Entry("Atlas EZO temperature", ezo_probes.EzoRtd, 25.0, "°C"),
    "ezo-orp": Entry("Atlas EZO redox potential", ezo_probes.EzoOrp, 209.6, "mV"),
    "ezo-ec": Entry("Atlas EZO conductivity", ezo_probes.EzoEc, 1413.0, "µS/cm"),
    "ezo-co2": Entry("Atlas EZO CO2 in gas", ezo_probes.EzoCo2, 400.0, "ppm"),
    "ezo-pmp": Entry("Atlas EZO-PMP dosing pump", lambda _: EzoPump()),
    "tic": Entry(
        "Pololu Tic stepper controller, CRC on",
        lambda vin: EmulatedTic(
            TicSettings(
                max_speed=20_000_000,
                max_acceleration=1_000_000,
                crc_for_commands=True,
                crc_for_responses=True,
            ),
            vin=vin,
        ),
        12.0,
        "V",
    ),
    "senseair": Entry("Senseair S8 CO2", EmulatedSenseair, 400.0, "ppm"),
    "board": Entry(
        "controller board", lambda celsius: EmulatedBoard(temperature=celsius), 25.0, "°C"
    ),
}
