"""A reactor that a file describes, on emulated devices."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hardware.clock import RealClock
from hardware.drivers.interface import DriverError
from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.ezo_probes import EzoPh
from hardware.reactors import configured_reactor
from tests.support.waiting import eventually

FILE = """\
label = "Bench 1"

[devices.board]
driver = "board"
port = "{ports}/board"
blank_mv = 600.0
mv_per_od = 400.0

[devices.ph-probe]
driver = "ezo-ph"
port = "{ports}/ph"
temperature = "temperature"
speed = 100.0

[channels]
temperature = {{ device = "board", what = "temperature", maximum = 60.0 }}
od = {{ device = "board", what = "density" }}
heater = {{ device = "board", what = "heater" }}
stirring = {{ device = "board", what = "stirring" }}
ph = {{ device = "ph-probe" }}

[controllers.temperature-setpoint]
kind = "thermostat"
sensor = "temperature"
output = "heater"
trip = 45.0
reset = 43.0
"""


class Bench:
    """Emulated devices and what they are driven to."""

    def __init__(self, ports: Path) -> None:
        self.temperature, self.driven = Constant(30.0), dict[str, float]()
        board = EmulatedBoard(
            temperature=self.temperature, signal=Constant(800.0), driven=self.driven.__setitem__
        )
        self.emulators = (
            Emulator(board, link=ports / "board"),
            Emulator(EzoPh(Constant(7.125)), link=ports / "ph", speed=100.0),
        )
        self.file = ports / "reactor.toml"
        self.file.write_text(FILE.format(ports=ports))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(tmp_path)
    async with AsyncExitStack() as stack:
        for emulator in found.emulators:
            await stack.enter_async_context(emulator)
        yield found


async def test_it_measures_heats_and_stops_heating(bench: Bench, tmp_path: Path) -> None:
    reactor, label = configured_reactor(RealClock(), bench.file, directory=tmp_path / "devices")
    assert label == "Bench 1"
    async with reactor:
        values = await reactor.read()
        assert values["temperature"] == pytest.approx(30.0, abs=0.3)
        assert values["od"] == pytest.approx(0.47, abs=0.1)  # 800 mV, less 12 in the dark
        assert values["ph"] == 7.125
        assert reactor.latest("temperature") == values["temperature"]  # compensates the probe
        await reactor.set("stirring", 600.0)
        await reactor.set("temperature-setpoint", 37.0)
        await eventually(lambda: bench.driven.get("heater", 0.0) > 50.0)
        assert bench.driven["stirring"] == pytest.approx(600.0, abs=2.0)
        bench.temperature.value = 46.0
        await eventually(lambda: bench.driven["heater"] == 0.0)
        assert any(alarm.id == "over-temperature" for alarm in reactor.alarms)
    assert bench.driven["stirring"] == 0.0


async def test_a_device_that_is_not_there_is_named(bench: Bench, tmp_path: Path) -> None:
    here = FILE.format(ports=tmp_path)
    bench.file.write_text(here.replace(f"{tmp_path}/ph", f"{tmp_path}/no"))
    reactor, _ = configured_reactor(RealClock(), bench.file, directory=tmp_path / "devices")
    async with reactor:  # it only measures, and may come later
        await eventually(lambda: any("/no is not there" in a.message for a in reactor.alarms))
        values = await reactor.read()
        assert values["ph"] is None
        assert values["temperature"] is not None
    bench.file.write_text(here.replace(f"{tmp_path}/board", f"{tmp_path}/no"))
    reactor, _ = configured_reactor(RealClock(), bench.file, directory=tmp_path / "devices")
    with pytest.raises(DriverError, match="/no is not there: is the device plugged in"):
        async with reactor:
            pass
