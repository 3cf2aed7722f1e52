import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.drivers.ezo.circuits import PH, RTD
from hardware.drivers.ezo.lines import Answer, Code, Noise, NoOutput, Values, parse
from hardware.drivers.interface import DriverError
from hardware.emulators.faults import Fault
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.ezo.pump_rig import PumpRig
from tests.unit.hardware.drivers.ezo.rigs import IMPATIENT, SPEED, ProbeRig
from tests.unit.hardware.drivers.faults import MeasuringFaults


class TestProbes(MeasuringFaults):
    @pytest.fixture(params=["ezo-ph", "ezo-do"])
    async def rig(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ProbeRig]:
        rig = ProbeRig(request.param, tmp_path / "usb", pace=IMPATIENT)
        async with rig.emulator:
            yield rig


@pytest.fixture
async def pump(tmp_path: Path) -> AsyncIterator[PumpRig]:
    rig = PumpRig(tmp_path / "usb", speed=SPEED, grace=0.15, keeps_totals=True)
    async with rig.emulator:
        yield rig


async def dose(rig: PumpRig, ml: float) -> float | None:
    """What the driver says of a dose; None that it does not know."""
    try:
        return await rig.driver.dose("media", ml)
    except DriverError:
        return None


@pytest.mark.parametrize("fault", sorted(set(Fault) - {Fault.CORRUPT, Fault.STUCK}))
async def test_a_dose_is_told_as_it_was_or_not_at_all(pump: PumpRig, fault: Fault) -> None:
    async with pump.driver as driver:
        for _ in range(2):
            before = pump.device.pumped
            pump.emulator.faults.slow_seconds = 0.3 * SPEED
            pump.emulator.inject(fault)
            told = await dose(pump, 2.0)
            pump.emulator.clear()
            await eventually(lambda: not pump.device.running)
            moved = pump.device.pumped - before
            assert moved <= 2.0 + 1e-6
            if told is not None:
                assert told == pytest.approx(moved, abs=0.02)

        async def ready() -> bool:
            try:
                await driver.read()
            except DriverError:
                return False
            return True

        await eventually(ready)
        assert await driver.dose("media", 1.0) == 1.0
        told_of = driver.totals.moved
        assert told_of == pytest.approx(pump.device.pumped, abs=0.05)  # all of it, whoever told


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.GARBAGE, Fault.UNPLUG])
async def test_a_pump_that_is_not_known_to_stand_says_so(pump: PumpRig, fault: Fault) -> None:
    async with pump.driver as driver:
        pump.emulator.inject(fault)
        try:
            await driver.stop("media")
        except DriverError:
            pump.emulator.clear()
        else:
            assert fault is Fault.GARBAGE  # its answer could be made out all the same
        assert not pump.device.running


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_mean_something(raw: bytes) -> None:
    assert isinstance(parse(raw), Code | Answer | Values | NoOutput | Noise)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=12), st.integers(0, 5), st.floats(0, 14))
def test_noise_in_a_reading_does_not_make_another_value(noise: bytes, at: int, ph: float) -> None:
    """Unless it happens to be made of digits, which no protocol without a check sum can tell."""
    text = f"{ph:.3f}".encode()
    line = parse(text[:at] + noise + text[at:])
    if isinstance(line, Values) and len(line.texts) == 1 and PH.outputs[0].takes(line.texts[0]):
        assert noise.strip(b"0123456789.-") == b""


@settings(deadline=None)
@given(st.floats(-126, 1254), st.integers(1, 3))
def test_a_reading_that_lost_its_end_is_none(celsius: float, lost: int) -> None:
    text = f"{celsius:.3f}"[:-lost]
    line = parse(text.encode())
    assert not isinstance(line, Values) or not RTD.outputs[0].takes(line.texts[0])


async def test_a_flood_of_random_lines_yields_nothing_that_was_not_sent(
    tmp_path: Path,
) -> None:
    rig = ProbeRig("ezo-ph", tmp_path / "usb", pace=IMPATIENT)
    chance = random.Random(7)  # noqa: S311 - a test
    async with rig.emulator, rig.driver:

        async def flood() -> None:
            while True:
                length = chance.randint(1, 60)
                noise = bytes(b for b in chance.randbytes(length) if b not in b"0123456789")
                rig.emulator.send(noise + chance.choice([b"", b"\r"]))
                await asyncio.sleep(0.002)

        flooding = asyncio.create_task(flood())
        try:
            for _ in range(30):
                rig.source.value = round(chance.uniform(4.0, 9.0), 3)
                try:
                    assert await rig.value() == rig.source.value
                except DriverError:
                    continue
        finally:
            flooding.cancel()
        await eventually(rig.driver.read)
