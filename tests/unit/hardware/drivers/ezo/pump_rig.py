import asyncio
from collections.abc import Mapping
from pathlib import Path

from broker.messages import ChannelInfo, Quantity
from hardware.channels import Channel
from hardware.drivers.ezo.link import Pace
from hardware.drivers.ezo.pump import EzoPump
from hardware.emulators.emulator import Emulator
from hardware.emulators.ezo_pump import EzoPump as EmulatedPump
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.ezo.rigs import BACKOFF

SPEED = 10.0
"""Slower than the probes: what is pumped is compared with the time it took."""


class PumpRig:
    """The pump's driver on its emulator, outside the driver's context."""

    def __init__(
        self,
        link: Path,
        *,
        speed: float = SPEED,
        grace: float = 2.0,
        ml_per_minute: float | None = None,
        reverse: bool = False,
        totals_file: Path | None = None,
        keeps_totals: bool = False,
    ) -> None:
        self.speed = speed
        self.device = EmulatedPump(keeps_totals=keeps_totals)
        self.emulator = Emulator(self.device, link=link, speed=speed)
        self.driver = EzoPump(
            "ezo-pmp",
            link,
            "media",
            ml_per_minute=ml_per_minute,
            reverse=reverse,
            totals_file=totals_file,
            pace=Pace(speed=speed, grace=grace),
            backoff=BACKOFF,
        )

    @property
    def channels(self) -> Mapping[str, Channel]:
        info = ChannelInfo(
            name="media",
            kind="pump",
            quantity=Quantity.VOLUME,
            unit="mL",
            label="Medium",
            driver=self.driver.name,
            period=1.0,
            safe_value=0.0,
        )
        return {"media": Channel(info, flow=self.driver.flow, direction="in")}

    async def advance(self, seconds: float) -> None:
        if self.driver.dosing and not self.device.running:  # on a busy machine it begins late
            await eventually(lambda: self.device.running or not self.driver.dosing, every=0.001)
        await asyncio.sleep(seconds / self.speed)

    def actual(self, channel: str) -> float:
        assert channel == "media"
        return self.device.pumped
