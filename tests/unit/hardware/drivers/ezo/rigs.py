"""Every EZO probe's driver on its emulator."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker.messages import ChannelInfo, ChannelLimits, Quantity
from hardware.channels import Channel
from hardware.drivers.ezo.circuits import CO2, DO, EC, ORP, PH, RTD, Circuit
from hardware.drivers.ezo.link import Pace
from hardware.drivers.ezo.probes import EzoCo2, EzoDo, EzoEc, EzoOrp, EzoPh, EzoRtd
from hardware.drivers.ezo.sensor import EzoSensor, Temperature
from hardware.drivers.transport import Backoff
from hardware.emulators import ezo_probes as emulated
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.ezo import Firmware
from hardware.emulators.ezo_probes import EzoProbe

SPEED = 100.0
PACE = Pace(speed=SPEED, grace=2.0)
IMPATIENT = Pace(speed=SPEED, grace=0.12)
BACKOFF = Backoff(first=0.005, longest=0.02)


@dataclass(frozen=True)
class Kind:
    """One circuit: its driver, its emulator, and what is measured."""

    driver: type[EzoSensor]
    emulator: type[EzoProbe]
    circuit: Circuit
    value: float
    channels: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        return next(iter(self.channels.values()))


KINDS: Mapping[str, Kind] = {
    "ezo-ph": Kind(EzoPh, emulated.EzoPh, PH, 7.125, {"pH": "ph"}),
    "ezo-do": Kind(EzoDo, emulated.EzoDo, DO, 7.82, {"mg": "do-mg", "%": "do"}),
    "ezo-rtd": Kind(EzoRtd, emulated.EzoRtd, RTD, 25.104, {"T": "temperature"}),
    "ezo-orp": Kind(EzoOrp, emulated.EzoOrp, ORP, 209.6, {"ORP": "orp"}),
    "ezo-ec": Kind(EzoEc, emulated.EzoEc, EC, 1413.0, {"EC": "ec", "SG": "sg"}),
    "ezo-co2": Kind(EzoCo2, emulated.EzoCo2, CO2, 400.0, {"CO2": "co2"}),
}


class ProbeRig:
    """A probe's driver on its emulator, outside the driver's context."""

    def __init__(
        self,
        name: str,
        link: Path,
        *,
        firmware: Firmware | None = None,
        temperature: Temperature | None = None,
        pace: Pace = PACE,
    ) -> None:
        self.kind = KINDS[name]
        self.source = Constant(self.kind.value)
        self.device = self.kind.emulator(self.source, firmware)
        self.emulator = Emulator(self.device, link=link, speed=SPEED)
        self.driver = self.kind.driver(
            name,
            link,
            self.kind.channels,
            temperature=temperature,
            pace=pace,
            backoff=BACKOFF,
        )

    @property
    def channels(self) -> Mapping[str, Channel]:
        return {
            channel: _channel(self.driver.name, channel, self.kind.circuit.output(key))
            for key, channel in self.kind.channels.items()
        }

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)

    def actual(self, channel: str) -> float:
        raise AssertionError(f"a probe has no output {channel}")

    async def value(self) -> float | None:
        """The first output."""
        return (await self.driver.read())[self.kind.first]


def _channel(driver: str, name: str, output: object) -> Channel:
    low, high = getattr(output, "low", 0.0), getattr(output, "high", 1.0)
    return Channel(
        ChannelInfo(
            name=name,
            kind="sensor",
            quantity=Quantity.OTHER,
            unit="1",
            label=name,
            driver=driver,
            period=1.0,
            limits=ChannelLimits(minimum=low, maximum=high),
        )
    )


MakeRig = Callable[..., ProbeRig]
