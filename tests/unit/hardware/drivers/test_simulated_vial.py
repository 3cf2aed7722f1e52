from collections.abc import Mapping

import pytest

from hardware.channels import Channel
from hardware.clock import ManualClock
from hardware.drivers.interface import Driver
from hardware.simulation.equipment import DRIVER, EQUIPMENT
from hardware.simulation.vial import SimulatedVial
from tests.unit.hardware.drivers.contract import DriverContract, Rig


class VialRig:
    def __init__(self) -> None:
        self._clock = ManualClock()
        self._vial = SimulatedVial(self._clock, seed=7)

    @property
    def driver(self) -> Driver:
        return self._vial

    @property
    def channels(self) -> Mapping[str, Channel]:
        return {
            name: channel
            for name, channel in EQUIPMENT.channels.items()
            if channel.info.driver == DRIVER
        }

    async def advance(self, seconds: float) -> None:
        await self._clock.advance(seconds)

    def actual(self, channel: str) -> float:
        return self._vial.actual(channel)


class TestSimulatedVial(DriverContract):
    @pytest.fixture
    def rig(self) -> Rig:
        return VialRig()
