from collections.abc import Mapping
from pathlib import Path

import pytest

from hardware.channels import Channel
from hardware.clock import ManualClock
from hardware.drivers.interface import Driver
from hardware.simulation.actuators import load
from hardware.simulation.equipment import DRIVER, EQUIPMENT
from hardware.simulation.vial import SimulatedVial
from tests.unit.hardware.drivers.contract import DriverContract, Rig


class VialRig:
    def __init__(self, directory: Path) -> None:
        self._clock = ManualClock()
        self._outputs = directory / "outputs.json"
        self._vial = SimulatedVial(self._clock, seed=7, state_file=directory / "culture.json")

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
        field = {"heater": "duty", "stirring": "stirring", "light": "light"}.get(channel)
        if field is None:
            return self._vial.actual(channel)
        outputs = load(self._outputs)
        return 0.0 if outputs is None else float(getattr(outputs.now, field))


class TestSimulatedVial(DriverContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        return VialRig(tmp_path)
